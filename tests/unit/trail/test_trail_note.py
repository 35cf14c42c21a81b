"""Checkpoint notes: C2SP's published example, strict parsing, and who is believed."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.errors import ConfigError, IntegrityError, LimitExceeded, LocalProtocolError
from strongroom.trail.note import (
    Checkpoint,
    Signer,
    Verifier,
    accepted_by,
    encode_notes,
    origin_of,
    parse_note,
    parse_notes,
)

TIME = datetime(2026, 3, 1, 12, 30, 5, 7, tzinfo=UTC)
STATED = Checkpoint(origin_of("a1", "main"), 17, bytes(range(32)), TIME)
SIGNER = Signer("strongroom/a1", bytes(range(32)))
NOTE = SIGNER.sign(STATED)
OTHER = Signer("strongroom/a1", bytes(32))


def test_a_note_reads_as_the_format_page_says():
    lines = NOTE.split("\n")
    assert lines[:5] == [
        "strongroom/a1/main",
        "17",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "time 2026-03-01T12:30:05.000007Z",
        "",
    ]
    mark, name, payload = lines[5].split(" ")
    assert (mark, name, len(base64.b64decode(payload)), lines[6:]) == ("—", "strongroom/a1", 4 + 64, [""])


def test_the_key_hash_is_that_of_the_published_note_key():
    # The key pair that Go's sumdb/note, from which C2SP's signed note stems, documents and tests with.
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    published = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert Signer("PeterNeumann", seed).verifier.to_verifier_key() == published


def test_what_is_read_is_what_was_signed():
    note = parse_note(NOTE)
    assert (note.checkpoint, note.checkpoint.log) == (STATED, "main")
    assert SIGNER.verifier.accepts(note)
    assert not OTHER.verifier.accepts(note)
    assert accepted_by(note, [OTHER.verifier, SIGNER.verifier])
    assert not accepted_by(note, [])


def test_an_outsider_verifies_with_nothing_but_the_pem():
    verifier = Verifier.from_pem("strongroom/a1", SIGNER.verifier.to_pem())
    assert verifier.accepts(parse_note(NOTE))
    body, _, line = NOTE.partition("\n\n")
    signature = base64.b64decode(line.split(" ")[2])[4:]
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    key.verify(signature, body.encode() + b"\n")


def test_openssl_verifies_a_note(tmp_path):
    body, _, line = NOTE.partition("\n\n")
    (tmp_path / "key.pem").write_bytes(SIGNER.verifier.to_pem())
    (tmp_path / "body").write_bytes(body.encode() + b"\n")
    (tmp_path / "sig").write_bytes(base64.b64decode(line.split(" ")[2])[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "body"]
    try:
        done = subprocess.run([*command, "-sigfile", "sig"], cwd=tmp_path, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr


def test_every_bit_of_the_signed_text_counts():
    for at, char in enumerate(NOTE.partition("\n\n")[0]):
        for other in ("0", "A", "\n", chr(ord(char) ^ 1)):
            changed = NOTE[:at] + other + NOTE[at + 1 :]
            if other == char:
                continue
            try:
                note = parse_note(changed)
            except IntegrityError:
                continue
            assert not SIGNER.verifier.accepts(note), changed


def test_a_witness_may_cosign_and_is_not_mistaken_for_the_archive():
    witness = "— witness.example/w1 " + base64.b64encode(b"1234" + bytes(72)).decode() + "\n"
    assert SIGNER.verifier.accepts(parse_note(NOTE + witness))
    assert not SIGNER.verifier.accepts(parse_note(NOTE.partition("\n\n")[0] + "\n\n" + witness))


def test_a_key_of_the_right_name_and_hash_but_another_signature_is_not_believed():
    payload = base64.b64encode(SIGNER.verifier.key_hash + bytes(64)).decode()
    forged = NOTE.partition("\n\n")[0] + f"\n\n— strongroom/a1 {payload}\n"
    assert not SIGNER.verifier.accepts(parse_note(forged))


@pytest.mark.parametrize(
    "change",
    [
        lambda note: "",
        lambda note: note[:-1],
        lambda note: note + "\n",
        lambda note: note.partition("\n\n")[0] + "\n\n",
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note.replace("\n17\n", "\n017\n"),
        lambda note: note.replace("\n17\n", "\n+17\n"),
        lambda note: note.replace("\n17\n", "\n１７\n"),
        lambda note: note.replace("\n17\n", "\n9007199254740992\n"),
        lambda note: note.replace("\n17\n", "\n" + "9" * 5000 + "\n"),
        lambda note: note.replace("Hh8=", "Hh9="),
        lambda note: note.replace("Hh8=", "Hg=="),
        lambda note: note.replace("Hh8=", "H h8="),
        lambda note: note.replace("strongroom/a1/main\n", "strongroom/main\n"),
        lambda note: note.replace("strongroom/a1/main\n", "strongroom/a1/../main\n"),
        lambda note: note.replace("time ", "date "),
        lambda note: note.replace("000007Z", "Z"),
        lambda note: note.replace("Z\n\n", "Z\nmore\n\n"),
        lambda note: note.replace("— ", "- "),
        lambda note: note.replace("— strongroom/a1", "— strongroom/a1+x"),
        lambda note: note.replace("— strongroom/a1 ", "— "),
        lambda note: note + "— x AAAA\n",
        lambda note: note + "— x QUFBQUE=\n" * 16,
        lambda note: note + "x" * 9000,
        lambda note: note + "— x é\n",
        lambda note: note + "— x \ud800\n",
    ],
)
def test_what_is_not_exactly_a_note_is_refused(change):
    with pytest.raises(IntegrityError):
        parse_note(change(NOTE))


def test_a_file_holds_several_notes():
    notes = [SIGNER.sign(Checkpoint(origin_of("a1", log), 3, bytes(32), TIME)) for log in ("main", "web", "watch")]
    text = encode_notes(notes)
    assert [note.text for note in parse_notes(text)] == notes
    assert [note.checkpoint.log for note in parse_notes(text)] == ["main", "web", "watch"]
    assert parse_notes(NOTE)[0].checkpoint == STATED
    for broken in ("", "\n", text + "\n", text[:-1], text + notes[0], "junk\n\n" + text, text.partition("\n\n")[0]):
        with pytest.raises(IntegrityError):
            parse_notes(broken)
    with pytest.raises(LimitExceeded):
        parse_notes(text * 10_000)


def test_keys_and_names_that_cannot_be_are_refused():
    for archive, log in (("", "x"), ("a/b", "x"), ("a\n", "x"), ("a", "x y"), ("a", ""), ("a", "x" * 65), ("a", "x\n")):
        with pytest.raises(LocalProtocolError):
            origin_of(archive, log)
    for name, key in (("a b", bytes(32)), ("", bytes(32)), ("a+b", bytes(32)), ("é", bytes(32)), ("a", bytes(31))):
        with pytest.raises(ConfigError):
            Signer(name, key)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    for pem in (b"", b"junk", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with pytest.raises(ConfigError):
            Verifier.from_pem("a", pem)


def test_a_checkpoint_that_could_not_be_read_back_is_never_signed():
    with pytest.raises(IntegrityError):
        SIGNER.sign(Checkpoint("elsewhere\n9", 17, bytes(32), TIME))
