"""A scope is what somebody on the list of signers has signed, byte by byte, or it is nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, OutOfScope
from strongroom.probe.permits.signing import (
    Signer,
    add_signer,
    head_signature_holds,
    load_key,
    read_public_key,
    read_signers,
    require_signed,
    sign_head,
    sign_scope,
    signature_path,
    write_new_key,
    write_signature,
)

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
SCOPE = b"format = 1\n"


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, tuple[Signer, ...]]:
    """A signed scope file, and the list with its signer."""
    signer = write_new_key(tmp_path / "key", "", "Jo Doe")
    scope = tmp_path / "scope.toml"
    scope.write_bytes(SCOPE)
    write_signature(scope, sign_scope(SCOPE, load_key(tmp_path / "key", ""), NOW))
    return scope, (signer,)


def test_a_signed_scope_is_taken_and_says_by_whom(signed: tuple[Path, tuple[Signer, ...]]) -> None:
    scope, signers = signed
    found = require_signed(scope, signers)
    assert (found.raw, found.signer.comment, found.signed_at) == (SCOPE, "Jo Doe", "2026-11-22T12:00:00+00:00")


def test_an_unsigned_scope_is_none(tmp_path: Path, signed: tuple[Path, tuple[Signer, ...]]) -> None:
    scope, signers = signed
    signature_path(scope).unlink()
    with pytest.raises(OutOfScope, match=r"is not signed: strongroom probe sign .* --key KEY"):
        require_signed(scope, signers)


@pytest.mark.parametrize("altered", [SCOPE + b"\n", SCOPE.replace(b"1", b"2"), b""])
def test_a_scope_altered_by_a_byte_is_none(signed: tuple[Path, tuple[Signer, ...]], altered: bytes) -> None:
    scope, signers = signed
    scope.write_bytes(altered)
    with pytest.raises(OutOfScope, match="was altered after it was signed"):
        require_signed(scope, signers)


def test_a_signature_by_a_key_that_is_not_listed_is_none(
    signed: tuple[Path, tuple[Signer, ...]], tmp_path: Path
) -> None:
    scope, _ = signed
    stranger = write_new_key(tmp_path / "other", "", "")
    with pytest.raises(OutOfScope, match="not in the list of signers"):
        require_signed(scope, (stranger,))


@pytest.mark.parametrize("name", ["key", "signed_at", "scope_sha256", "signature", "format"])
def test_no_part_of_a_signature_can_be_changed(signed: tuple[Path, tuple[Signer, ...]], name: str) -> None:
    scope, signers = signed
    values = json.loads(signature_path(scope).read_text())
    values[name] = ("A" if values[name][0] != "A" else "B") + values[name][1:]
    signature_path(scope).write_text(json.dumps(values))
    with pytest.raises(OutOfScope):
        require_signed(scope, signers)


def test_a_signature_under_another_keys_name_does_not_hold(
    signed: tuple[Path, tuple[Signer, ...]], tmp_path: Path
) -> None:
    scope, signers = signed
    write_new_key(tmp_path / "evil", "", "")
    values = json.loads(sign_scope(SCOPE, load_key(tmp_path / "evil", ""), NOW))
    signature_path(scope).write_text(json.dumps(values | {"key": signers[0].fingerprint}))
    with pytest.raises(OutOfScope, match="does not hold"):
        require_signed(scope, signers)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 50_000, '{"key": 1}', '{"format": "x", "signature": "%"}', "\x00"]
)
def test_what_is_no_signature_is_none(signed: tuple[Path, tuple[Signer, ...]], text: str) -> None:
    scope, signers = signed
    signature_path(scope).write_text(text)
    with pytest.raises(OutOfScope, match="is no signature"):
        require_signed(scope, signers)


def test_a_key_file_is_its_owners_and_is_never_overwritten(tmp_path: Path) -> None:
    write_new_key(tmp_path / "key", "", "")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key").read_bytes()
    for name in ("key", "key.pub"):
        with pytest.raises(ConfigError, match="exists already"):
            write_new_key(tmp_path / "key", "", "")
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(before)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="may be read by others: chmod 600"):
        load_key(tmp_path / "key", "")


def test_a_key_under_a_passphrase_opens_with_it_alone(tmp_path: Path) -> None:
    signer = write_new_key(tmp_path / "key", "correct horse", "")
    assert load_key(tmp_path / "key", "correct horse").public_key().public_bytes_raw() == signer.raw
    with pytest.raises(ConfigError, match="the passphrase is wrong"):
        load_key(tmp_path / "key", "battery")
    with pytest.raises(ConfigError, match="needs a passphrase: set STRONGROOM_PASSPHRASE"):
        load_key(tmp_path / "key", "")
    write_new_key(tmp_path / "bare", "", "")
    with pytest.raises(ConfigError, match="has no passphrase"):
        load_key(tmp_path / "bare", "battery")


def test_a_signer_is_added_once_and_read_again(tmp_path: Path) -> None:
    one = write_new_key(tmp_path / "one", "", "Jo Doe, CISO")
    two = write_new_key(tmp_path / "two", "", "")
    listed = tmp_path / "config" / "signers"
    for signer in (one, two, one):
        add_signer(listed, signer)
    assert read_signers(listed) == (one, two)
    assert read_public_key(tmp_path / "one.pub") == one
    assert listed.stat().st_mode & 0o777 == 0o600


def test_a_list_whose_last_line_is_open_is_added_to_all_the_same(tmp_path: Path) -> None:
    one, two = (write_new_key(tmp_path / name, "", "") for name in ("one", "two"))
    listed = tmp_path / "signers"
    listed.write_text(one.line())
    listed.chmod(0o600)
    add_signer(listed, two)
    assert {each.raw for each in read_signers(listed)} == {one.raw, two.raw}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no signer"),
        ("# nobody\n", "names no signer"),
        ("ssh-ed25519 AAAA me\n", "line 1 is no public key"),
        ("# a\nstrongroom-probe-key AAAA\n", "line 2 is no public key"),
        ("strongroom-probe-key\n", "line 1 is no public key"),
        ("\xff\xfe", "line 1 is no public key"),
    ],
)
def test_a_list_of_signers_that_is_wrong_is_refused_as_a_whole(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "signers").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_signers(tmp_path / "signers")


def test_a_list_that_others_may_write_to_counts_for_nothing(tmp_path: Path) -> None:
    add_signer(tmp_path / "signers", write_new_key(tmp_path / "one", "", ""))
    (tmp_path / "signers").chmod(0o622)
    with pytest.raises(ConfigError, match="others may write to it: chmod go-w"):
        read_signers(tmp_path / "signers")
    with pytest.raises(ConfigError, match=r"strongroom probe trust KEY\.pub"):
        read_signers(tmp_path / "none")


def test_a_signature_on_a_log_is_good_for_that_run_and_head_alone(tmp_path: Path) -> None:
    signer = write_new_key(tmp_path / "key", "", "")
    signature = sign_head(load_key(tmp_path / "key", ""), "run-1", "a" * 64)
    assert head_signature_holds(signer, "run-1", "a" * 64, signature)
    assert not head_signature_holds(signer, "run-2", "a" * 64, signature)
    assert not head_signature_holds(signer, "run-1", "b" * 64, signature)
    assert not head_signature_holds(signer, "run-1", "a" * 64, "%")


def test_a_signature_on_a_log_is_none_on_a_scope(signed: tuple[Path, tuple[Signer, ...]], tmp_path: Path) -> None:
    scope, signers = signed
    values = json.loads(signature_path(scope).read_text())
    signature = sign_head(load_key(tmp_path / "key", ""), values["signed_at"], values["scope_sha256"])
    signature_path(scope).write_text(json.dumps(values | {"signature": signature}))
    with pytest.raises(OutOfScope, match="does not hold"):
        require_signed(scope, signers)
