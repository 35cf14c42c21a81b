"""Receipts: one record with the proof that it is in a log, checked with nothing but the archive's public key. Pure.

docs/trail-format.md, section 5. Nothing here reads a file or a database, so that whoever holds a receipt need not have
the archive.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

import msgspec

from strongroom.errors import ConfigError, IntegrityError, LimitExceeded
from strongroom.trail.note import Note, Verifier, accepted_by, origin_of, parse_notes
from strongroom.trail.record import MAX_RECORD_BYTES, Record, parse_record
from strongroom.trail.tree import HASH_BYTES, leaf_hash, verify_inclusion

MAX_RECEIPT_BYTES: Final = 4 * MAX_RECORD_BYTES
MAX_PROOF_HASHES: Final = 64
FORMAT_VERSION: Final = 2
_FIRST_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word counts: the archive's id and every key that its checkpoints were ever signed with."""

    archive_id: str
    verifiers: tuple[Verifier, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was recorded. ``seq`` is None if it is about the log as a whole."""

    log: str
    seq: int | None
    what: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that one record is in a log. Everything in it is a claim until ``check_receipt`` has said otherwise.

    ``note`` is a checkpoint file: the note of the record's log, and perhaps those of other logs that were signed with
    it. ``timestamp`` is an RFC 3161 response about exactly that text, b"" if there is none. ``key`` names the key that
    signed, as ``name+hash``, and is "" in a receipt of version 1.
    """

    seq: int
    raw: bytes
    proof: tuple[bytes, ...]
    note: str
    key: str = ""
    timestamp: bytes = b""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    note: str
    proof: list[str]
    record: str
    seq: int
    v: int = _FIRST_VERSION
    key: str = ""
    leaf: str = ""
    timestamp: str = ""


_encode = msgspec.json.Encoder(order="sorted").encode


def key_id(verifier: Verifier) -> str:
    """What a receipt calls a key: its name, a plus sign and the hash that stands in its signature lines."""
    return f"{verifier.name}+{verifier.key_hash.hex()}"


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the receipt as one line of JSON, keys sorted, without a line feed; parse_receipt is its inverse."""
    return _encode(
        _Line(
            note=receipt.note,
            proof=[item.hex() for item in receipt.proof],
            record=receipt.raw.decode(),
            seq=receipt.seq,
            v=FORMAT_VERSION if receipt.key else _FIRST_VERSION,
            key=receipt.key,
            leaf=leaf_hash(receipt.raw).hex() if receipt.key else "",
            timestamp=b64encode(receipt.timestamp).decode(),
        )
    )


def parse_receipt(data: bytes) -> Receipt:
    """Return the receipt in ``data``; nothing but its form is verified. Raises IntegrityError."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise IntegrityError(f"receipt of {len(data)} bytes, over {MAX_RECEIPT_BYTES}")
    try:
        line = msgspec.json.decode(data, type=_Line)
        return _parse(line)
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
        raise IntegrityError("not a receipt") from error


def _parse(line: _Line) -> Receipt:
    proof = tuple(map(bytes.fromhex, line.proof))
    if len(proof) > MAX_PROOF_HASHES or any(len(item) != HASH_BYTES for item in proof):
        raise IntegrityError("not a receipt: its proof is not of hashes")
    if [item.hex() for item in proof] != line.proof:
        raise IntegrityError("not a receipt: a hash is not spelled in lower-case hexadecimal")
    raw, timestamp = line.record.encode(), b64decode(line.timestamp, validate=True)
    if b64encode(timestamp).decode() != line.timestamp:
        raise IntegrityError("not a receipt: base64 in another spelling")
    if line.v == _FIRST_VERSION:
        if line.key or line.leaf or line.timestamp:
            raise IntegrityError("not a receipt of version 1")
    elif line.v != FORMAT_VERSION or not line.key:
        raise IntegrityError("not a receipt of this version")
    elif line.leaf != leaf_hash(raw).hex():
        raise IntegrityError("the receipt's leaf hash is not that of its record")
    return Receipt(line.seq, raw, proof, line.note, line.key, timestamp)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a receipt proves: the record, under the checkpoint of ``note``, signed with the key of ``verifier``."""

    record: Record
    note: Note
    verifier: Verifier


def check_receipt(receipt: Receipt, trust: Trust) -> tuple[Record | None, list[Finding]]:
    """Return the record that the receipt proves and no finding, or None and what is wrong with the receipt."""
    try:
        return require_proven(receipt, trust).record, []
    except IntegrityError as error:
        return None, [Finding("", receipt.seq, str(error))]


def check_with_key(receipt: Receipt, pem: bytes) -> Proven:
    """What the receipt proves to somebody who has the archive's public key (PEM) and nothing else of the archive.

    Raises ConfigError if ``pem`` is no Ed25519 public key, IntegrityError if the receipt does not verify.
    """
    Verifier.from_pem("strongroom", pem)
    note = _note_of(receipt, parse_record(receipt.raw))
    archive_id = note.checkpoint.origin.split("/")[1]
    verifiers = []
    for name in {line.name for line in note.signatures}:
        try:
            verifiers.append(Verifier.from_pem(name, pem))
        except ConfigError:
            continue  # no name that an archive gives its key
    return require_proven(receipt, Trust(archive_id, tuple(verifiers)))


def require_proven(receipt: Receipt, trust: Trust) -> Proven:
    """What the receipt proves. Raises IntegrityError with what is wrong with it."""
    record = parse_record(receipt.raw)
    note = _note_of(receipt, record)
    what = check_note(note, trust, record.log)
    if what is not None:
        raise IntegrityError(f"the checkpoint {what}")
    verifier = next(each for each in trust.verifiers if each.accepts(note))
    if receipt.key not in ("", key_id(verifier)):
        raise IntegrityError("the receipt names another key than the one that signed its checkpoint")
    stated = note.checkpoint
    included = verify_inclusion(leaf_hash(receipt.raw), receipt.seq, stated.size, receipt.proof, stated.root)
    if record.seq != receipt.seq or not included:
        raise IntegrityError("the record is not in the log that the checkpoint states")
    return Proven(record, note, verifier)


def _note_of(receipt: Receipt, record: Record) -> Note:
    try:
        notes = [note for note in parse_notes(receipt.note) if note.checkpoint.log == record.log]
    except LimitExceeded as error:
        raise IntegrityError(str(error)) from None
    if len(notes) != 1:
        raise IntegrityError("the checkpoint is of another log")
    return notes[0]


def check_note(note: Note, trust: Trust, log: str) -> str | None:
    """What keeps a note from counting for a log of the archive, in words; None if nothing does."""
    if note.checkpoint.origin != origin_of(trust.archive_id, log):
        return "is of another archive or log"
    return None if accepted_by(note, trust.verifiers) else "is not signed by a key of this archive"
