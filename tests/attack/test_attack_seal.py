"""Attacks on a sealed object by somebody who can write to the disk: each must end in IntegrityError."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.errors import IntegrityError
from strongroom.store import seal
from strongroom.store.blobs import SealedBlobStore, new_object_id

SEGMENT = 128
KEY = bytes(range(32))
ID = bytes(range(16))
BOUND = seal.associated_data(seal.OBJECT_KIND, ID)
PLAIN = random.Random(7).randbytes(600)
SEALED = seal.seal(KEY, BOUND, os.urandom(seal.RANDOM_BYTES), PLAIN, SEGMENT)


def refused(sealed: bytes, key: bytes = KEY, bound_to: bytes = BOUND) -> None:
    with pytest.raises(IntegrityError):
        seal.unseal(key, bound_to, sealed, SEGMENT)


def test_the_object_opens_if_nobody_touches_it() -> None:
    assert seal.unseal(KEY, BOUND, SEALED, SEGMENT) == PLAIN


def test_every_byte_flipped() -> None:
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1 << (place % 8)
        refused(bytes(changed))


def test_cut_anywhere() -> None:
    for length in range(len(SEALED)):
        refused(SEALED[:length])


def test_made_longer() -> None:
    refused(SEALED + b"\0")
    refused(SEALED + SEALED[-SEGMENT:])
    refused(SEALED + bytes(SEGMENT))


def test_segments_swapped_repeated_dropped() -> None:
    pieces = [SEALED[at : at + SEGMENT] for at in range(0, len(SEALED), SEGMENT)]
    for one in range(1, len(pieces)):
        refused(b"".join(pieces[:one] + pieces[one + 1 :]))
        refused(b"".join([*pieces[:one], pieces[one], *pieces[one:]]))
        for other in range(one + 1, len(pieces) - 1):
            moved = pieces.copy()
            moved[one], moved[other] = moved[other], moved[one]
            refused(b"".join(moved))


def test_segment_of_another_object_under_the_same_key() -> None:
    other = seal.seal(KEY, BOUND, os.urandom(seal.RANDOM_BYTES), PLAIN, SEGMENT)
    refused(SEALED[:SEGMENT] + other[SEGMENT : 2 * SEGMENT] + SEALED[2 * SEGMENT :])
    refused(other[: seal.HEADER_BYTES] + SEALED[seal.HEADER_BYTES :])


def test_opened_as_another_object_kind_or_with_another_key() -> None:
    refused(SEALED, bound_to=seal.associated_data(seal.OBJECT_KIND, bytes(16)))
    refused(SEALED, bound_to=seal.associated_data(b"quarantine", ID))
    refused(SEALED, key=bytes(32))


class TestOnDisk:
    """The same through the store, at the segment size in use."""

    @pytest.fixture
    def stored(self, tmp_path: Path) -> tuple[SealedBlobStore, list[bytes], Path]:
        store = SealedBlobStore(tmp_path)
        ids = [new_object_id(1_700_000_000_000, bytes([n]) * 10) for n in range(2)]
        for one in ids:
            writer = store.create(one, KEY)
            writer.write(random.Random(3).randbytes(5 * seal.SEGMENT_BYTES))
            writer.commit()
        return store, ids, tmp_path

    def test_files_swapped(self, stored: tuple[SealedBlobStore, list[bytes], Path]) -> None:
        store, (one, other), _ = stored
        os.replace(store.path(one), store.path(other))
        reader = store.open(other, KEY)
        with pytest.raises(IntegrityError):
            reader.read(0, 10)
        reader.close()

    def test_cut_between_segments_is_found_by_whoever_reads_to_the_end(
        self, stored: tuple[SealedBlobStore, list[bytes], Path]
    ) -> None:
        store, (one, _), _ = stored
        os.truncate(store.path(one), 2 * seal.SEGMENT_BYTES)
        reader = store.open(one, KEY)
        assert reader.read(0, 10)
        for offset in (reader.size - 1, reader.size, reader.size + 10):
            with pytest.raises(IntegrityError):
                reader.read(offset, 10)
            with pytest.raises(IntegrityError):
                list(reader.chunks(offset))
        with pytest.raises(IntegrityError):
            list(reader.chunks())
        reader.close()

    def test_cut_while_open(self, stored: tuple[SealedBlobStore, list[bytes], Path]) -> None:
        store, (one, _), _ = stored
        reader = store.open(one, KEY)
        os.truncate(store.path(one), 3 * seal.SEGMENT_BYTES)
        with pytest.raises(IntegrityError):
            list(reader.chunks())
        reader.close()

    def test_pieces_of_what_was_cut_or_changed(self, stored: tuple[SealedBlobStore, list[bytes], Path]) -> None:
        store, (one, other), _ = stored
        os.truncate(store.path(one), 2 * seal.SEGMENT_BYTES)
        with open(store.path(other), "r+b") as file:
            file.seek(3 * seal.SEGMENT_BYTES + 5)
            file.write(b"damage")
        for each in (one, other):
            reader = store.open(each, KEY)
            with pytest.raises(IntegrityError):
                next(reader.pieces())
            reader.close()

    def test_an_object_replaced_by_an_empty_one(self, stored: tuple[SealedBlobStore, list[bytes], Path]) -> None:
        store, (one, _), _ = stored
        with open(store.path(one), "r+b") as file:
            file.truncate(56)
        reader = store.open(one, KEY)
        assert reader.size == 0
        with pytest.raises(IntegrityError):
            list(reader.chunks())
        with pytest.raises(IntegrityError):
            list(reader.pieces(b"before"))
        with pytest.raises(IntegrityError):
            reader.read(0, 1)
        reader.close()

    def test_a_link_in_the_place_of_an_object_is_not_followed(
        self, stored: tuple[SealedBlobStore, list[bytes], Path]
    ) -> None:
        store, (one, other), root = stored
        os.replace(store.path(one), root / "elsewhere")
        os.symlink(root / "elsewhere", store.path(one))
        with pytest.raises(IntegrityError):
            store.open(one, KEY)
        assert [found for found, _ in store.ids()] == [other]
        assert len(list(store.foreign())) == 2

    @pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir])
    def test_something_else_in_the_place_of_an_object(self, plant: Callable[[str], None], tmp_path: Path) -> None:
        store = SealedBlobStore(tmp_path)
        one = new_object_id(1, bytes(10))
        os.makedirs(os.path.dirname(store.path(one)))
        plant(store.path(one))
        with pytest.raises(IntegrityError):
            store.open(one, KEY)
        assert not list(store.ids())
        assert len(list(store.foreign())) == 1
