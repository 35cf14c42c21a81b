"""Time stamps of a real authority, and everything that is none."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.authority import Authority, new_authority
from strongroom.errors import ConfigError, IntegrityError
from strongroom.trail.stamp import (
    MAX_RESPONSE_BYTES,
    check_answer,
    check_stamp,
    new_request,
    parse_certificates,
    read_certificates,
)

MESSAGE = b"strongroom/a1/main\n17\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority") / "one")


@pytest.fixture(scope="module")
def answer(authority: Authority) -> bytes:
    return authority.reply(new_request(MESSAGE).raw)


def test_a_stamp_says_when_and_by_whom(authority: Authority) -> None:
    request = new_request(MESSAGE)
    stamp = check_answer(authority.reply(request.raw), request, read_certificates(authority.root))
    assert abs(stamp.time - datetime.now(UTC)) < timedelta(minutes=1)
    assert (stamp.authority, stamp.policy) == ("CN=tsa", "1.3.6.1.4.1.99999.1")
    assert stamp.serial > 0


def test_openssl_verifies_what_is_kept(authority: Authority, answer: bytes, tmp_path: Path) -> None:
    (tmp_path / "stamp.tsr").write_bytes(answer)
    (tmp_path / "message").write_bytes(MESSAGE)
    command = ["openssl", "ts", "-verify", "-in", "stamp.tsr", "-data", "message", "-CAfile", str(authority.root)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "Verification: OK"


def test_another_message(authority: Authority, answer: bytes) -> None:
    for certificates in ((), read_certificates(authority.root)):
        with pytest.raises(IntegrityError, match="something else"):
            check_stamp(answer, MESSAGE + b"x", certificates)


def test_the_answer_to_another_request(authority: Authority, answer: bytes) -> None:
    with pytest.raises(IntegrityError, match="another request"):
        check_answer(answer, new_request(MESSAGE), read_certificates(authority.root))


def test_another_authority(authority: Authority, answer: bytes, tmp_path: Path) -> None:
    other = new_authority(tmp_path / "one")  # of the same name
    with pytest.raises(IntegrityError, match="not signed by the authority that is trusted"):
        check_stamp(answer, MESSAGE, read_certificates(other.root))
    assert check_stamp(answer, MESSAGE, read_certificates(authority.root) + read_certificates(other.root))


@pytest.mark.parametrize(
    ("dates", "why"),
    [(("20200101000000Z", "20210101000000Z"), "expired"), (("20500101000000Z", "20510101000000Z"), "not yet valid")],
)
def test_a_certificate_that_was_not_good_at_the_time(authority: Authority, dates: tuple[str, str], why: str) -> None:
    name = f"stamper-{dates[0][:4]}"
    authority.issue(name, "stamper", *dates)
    request = new_request(MESSAGE)
    with pytest.raises(IntegrityError, match=why):
        check_answer(authority.reply(request.raw, name), request, read_certificates(authority.root))


def test_a_refusal(authority: Authority) -> None:
    # SHA-384 is not among what this authority takes.
    refused = authority.folder / "refused.tsq"
    command = ["openssl", "ts", "-query", "-digest", "00" * 48, "-sha384", "-out", str(refused)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(IntegrityError, match="refused, with status 2"):
        check_stamp(authority.reply(refused.read_bytes()), MESSAGE, ())


def test_no_changed_answer_states_anything_else(authority: Authority, answer: bytes) -> None:
    certificates = read_certificates(authority.root)
    honest = check_stamp(answer, MESSAGE, certificates)
    for at in range(len(answer)):
        changed = answer[:at] + bytes([answer[at] ^ 0x55]) + answer[at + 1 :]
        try:
            # Some bytes around the token are not signed, and say nothing.
            assert check_stamp(changed, MESSAGE, certificates) == honest
        except IntegrityError:
            continue


@pytest.mark.parametrize("cut", [0, 1, 5, 100, -1])
def test_what_is_cut_is_none(answer: bytes, cut: int) -> None:
    with pytest.raises(IntegrityError):
        check_stamp(answer[:cut], MESSAGE, ())


@pytest.mark.parametrize("junk", [b"\x30\x80" * 30_000, b"x" * (MAX_RESPONSE_BYTES + 1), b"\x30\x03\x02\x01\x00"])
def test_junk_is_none(junk: bytes) -> None:
    with pytest.raises(IntegrityError):
        check_stamp(junk, MESSAGE, ())


def test_files_that_hold_no_root(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no certificate"):
        parse_certificates(b"nothing")
    with pytest.raises(ConfigError, match="root CA"):
        read_certificates(authority.folder / "tsa.pem")
    with pytest.raises(ConfigError, match="cannot read"):
        read_certificates(tmp_path / "absent")
    with pytest.raises(ConfigError, match="more than 32"):
        parse_certificates(authority.root.read_bytes() * 33)
