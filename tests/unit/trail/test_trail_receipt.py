"""Receipts: any record of any tree verifies with the public key alone, and nothing that was touched does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.archive.model import Action, Event, Outcome
from strongroom.errors import ConfigError, IntegrityError
from strongroom.trail.note import Checkpoint, Signer, encode_notes
from strongroom.trail.receipt import (
    MAX_RECEIPT_BYTES,
    Receipt,
    check_with_key,
    encode_receipt,
    key_id,
    parse_receipt,
)
from strongroom.trail.record import encode_event, format_time
from strongroom.trail.tree import inclusion_proof, leaf_hash, root_of
from strongroom.types import Principal

SIGNER, OTHER = Signer("strongroom-a1", bytes(32)), Signer("strongroom-a1", bytes([2]) * 32)
PEM = SIGNER.verifier.to_pem()
TIME = datetime(2026, 3, 1, 12, 30, 5, 7, tzinfo=UTC)
EVENT = Event(Action.STORE, Outcome.SUCCESS, Principal("CT1"), {"sop_uid": "1.2.3", "sha256": "ab" * 32})


def record(seq: int, log: str = "serve") -> bytes:
    return encode_event(EVENT, log, seq, format_time(TIME), seq.to_bytes(16, "big"))


def note(size: int, log: str = "serve", signer: Signer = SIGNER, archive: str = "a1") -> str:
    leaves = [leaf_hash(record(seq, log)) for seq in range(size)]
    return signer.sign(Checkpoint(f"strongroom/{archive}/{log}", size, root_of(leaves), TIME))


def receipt(seq: int, size: int) -> Receipt:
    leaves = [leaf_hash(record(each)) for each in range(size)]
    proof = inclusion_proof(lambda start, stop: leaves[start:stop], seq, size)
    return Receipt(seq, record(seq), tuple(proof), note(size), key_id(SIGNER.verifier))


@given(st.integers(1, 260).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))))
def test_any_record_of_any_tree_verifies(place: tuple[int, int]) -> None:
    made = receipt(*place)
    read = parse_receipt(encode_receipt(made))
    assert read == made
    proven = check_with_key(read, PEM)
    assert (proven.record.seq, proven.record.event) == (place[0], EVENT)
    assert proven.note.checkpoint.size == place[1]


@given(st.data())
def test_nothing_verifies_under_the_proof_of_another_leaf(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 64))
    one, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    mine, theirs = receipt(one, size), receipt(other, size)
    for changed in (
        replace(mine, proof=theirs.proof),
        replace(mine, raw=theirs.raw),
        replace(mine, raw=theirs.raw, seq=other),
        replace(mine, seq=other),
        replace(mine, proof=mine.proof[:-1]),
        replace(mine, proof=mine.proof[1:]),
        replace(mine, proof=(*mine.proof, mine.proof[-1])),
    ):
        if changed == theirs or changed.proof == mine.proof == theirs.proof:
            continue
        with pytest.raises(IntegrityError):
            check_with_key(changed, PEM)


def test_every_bit_of_a_receipt_counts() -> None:
    honest = encode_receipt(receipt(4, 11))
    for at in range(len(honest)):
        for bit in range(8):
            changed = bytearray(honest)
            changed[at] ^= 1 << bit
            with pytest.raises(IntegrityError):
                check_with_key(parse_receipt(bytes(changed)), PEM)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda line: None,
        lambda line: [line],
        lambda line: line | {"more": 1},
        lambda line: line | {"v": 3},
        lambda line: line | {"v": 1},
        lambda line: line | {"seq": -1},
        lambda line: line | {"seq": 5.5},
        lambda line: line | {"seq": 2**70},
        lambda line: line | {"key": ""},
        lambda line: line | {"key": "strongroom-a1+00000000"},
        lambda line: line | {"leaf": "00" * 32},
        lambda line: line | {"leaf": line["leaf"].upper()},
        lambda line: line | {"proof": [item.upper() for item in line["proof"]]},
        lambda line: line | {"proof": ["00" * 32] * 65},
        lambda line: line | {"proof": ["00"] * 3},
        lambda line: line | {"note": line["note"].replace("\n11\n", "\n12\n")},
        lambda line: line | {"note": note(11, signer=OTHER)},
        lambda line: line | {"note": note(11, log="local")},
        lambda line: line | {"note": note(4)},
        lambda line: line | {"note": encode_notes([line["note"], line["note"]])},
        lambda line: line | {"note": ""},
        lambda line: line | {"timestamp": "AA=A"},
        lambda line: line | {"timestamp": "AB=="},
        lambda line: {key: value for key, value in line.items() if key != "leaf"},
        lambda line: {key: value for key, value in line.items() if key != "record"},
    ],
)  # fmt: skip
def test_a_field_that_was_edited(change: Change) -> None:
    line = json.loads(encode_receipt(receipt(4, 11)))
    with pytest.raises(IntegrityError):
        check_with_key(parse_receipt(json.dumps(change(line)).encode()), PEM)


def test_the_notes_of_other_logs_may_stand_beside_it() -> None:
    text = encode_notes([note(3, log="https-1"), note(11), note(2, log="local")])
    assert check_with_key(replace(receipt(4, 11), note=text), PEM).note.checkpoint.log == "serve"


def test_version_1_is_read_still() -> None:
    made = replace(receipt(4, 11), key="")
    written = encode_receipt(made)
    assert sorted(json.loads(written)) == ["note", "proof", "record", "seq"]
    assert check_with_key(parse_receipt(written), PEM).record.seq == 4


def test_another_key_than_the_archives() -> None:
    with pytest.raises(IntegrityError, match="not signed by a key"):
        check_with_key(receipt(4, 11), OTHER.verifier.to_pem())
    with pytest.raises(ConfigError, match="not a public key"):
        check_with_key(receipt(4, 11), b"nothing")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"proof":' + b"[" * 100_000,
        b'{"record":' + b'{"a":' * 50_000,
        b'{"note":"' + b"x" * MAX_RECEIPT_BYTES,
        b"\xff\xfe",
        b'{"note":"\\ud800","proof":[],"record":"\\ud800","seq":0}',
        json.dumps({"note": "a\n\nb\n" * 20_000, "proof": [], "record": record(0).decode(), "seq": 0}).encode(),
    ],
)
def test_hostile_bytes_are_no_receipt(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        check_with_key(parse_receipt(data), PEM)


def test_verifying_needs_nothing_of_the_archive() -> None:
    """Whoever verifies imports no store, no database, no server."""
    code = (
        "import sys, strongroom.admin.offline as _;"
        "rooms = ('store', 'app', 'net', 'config', 'archive.ingest', 'trail.log', 'trail.verify');"
        "bad = [m for m in sys.modules if m.startswith(tuple('strongroom.' + r for r in rooms))];"
        "bad += [m for m in ('sqlalchemy', 'sqlcipher3', 'ssl') if m in sys.modules];"
        "sys.exit(' '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
