"""seal: the format is Tink's, every split of the input gives the same object, and random access is exact."""

from __future__ import annotations

import io
import itertools
import random

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from strongroom.errors import IntegrityError, LimitExceeded
from strongroom.store import seal

KEY = bytes(range(32))
RANDOM = bytes(range(100, 100 + seal.RANDOM_BYTES))
BOUND = seal.associated_data(seal.OBJECT_KIND, b"0123456789abcdef")
SMALL_SEGMENT = 128  # first segment holds 72 plain bytes, every other one 112
EDGES = [0, 1, 71, 72, 73, 183, 184, 185, 72 + 5 * 112, 1000]


def tink_aead(key: bytes, segment_bytes: int) -> streaming_aead.StreamingAead:
    """Tink's own implementation with our key: the independent reader and writer."""
    streaming_aead.register()
    params = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=segment_bytes, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    inner = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, params=params, key_value=key)
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add()
    entry.key_id, entry.status, entry.output_prefix_type = 1, tink_pb2.ENABLED, tink_pb2.RAW
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = inner.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return handle.primitive(streaming_aead.StreamingAead)


class _Kept(io.BytesIO):
    """Tink closes what it wrote to; the bytes are wanted afterwards."""

    def close(self) -> None:
        pass


def seal_in_pieces(plain: bytes, cuts: list[int], segments_out: int) -> bytes:
    drained: list[bytes] = []
    buffers = [memoryview(bytearray(SMALL_SEGMENT * segments_out)) for _ in range(2)]

    def drain(filled: memoryview) -> memoryview:
        drained.append(bytes(filled))
        return buffers[len(drained) % 2]

    sealer = seal.Sealer(KEY, BOUND, RANDOM, memoryview(bytearray(SMALL_SEGMENT)), buffers[0], drain)
    places = [0, *sorted(min(cut, len(plain)) for cut in cuts), len(plain)]
    scratch = bytearray(len(plain))
    for start, end in itertools.pairwise(places):
        scratch[: end - start] = plain[start:end]
        sealer.write(memoryview(scratch)[: end - start])
        scratch[:] = bytes(len(scratch))  # the caller's buffer is the caller's again
    rest = bytes(sealer.finish())  # may drain once more
    return b"".join(drained) + rest


@pytest.mark.parametrize("size", EDGES)
def test_tink_opens_what_we_seal(size: int) -> None:
    plain = random.Random(size).randbytes(size)
    sealed = seal.seal(KEY, BOUND, RANDOM, plain, SMALL_SEGMENT)
    assert tink_aead(KEY, SMALL_SEGMENT).new_decrypting_stream(io.BytesIO(sealed), BOUND).read() == plain


@pytest.mark.parametrize("size", EDGES)
def test_we_open_what_tink_sealed(size: int) -> None:
    plain = random.Random(size).randbytes(size)
    kept = _Kept()
    with tink_aead(KEY, SMALL_SEGMENT).new_encrypting_stream(kept, BOUND) as stream:
        stream.write(plain)
    assert len(kept.getvalue()) == seal.sealed_length(size, SMALL_SEGMENT)
    assert seal.unseal(KEY, BOUND, kept.getvalue(), SMALL_SEGMENT) == plain


def test_tink_opens_the_segment_size_in_use() -> None:
    plain = random.Random(1).randbytes(525_000)
    sealed = seal.seal(KEY, BOUND, RANDOM, plain)
    reader = tink_aead(KEY, seal.SEGMENT_BYTES).new_decrypting_stream(io.BytesIO(sealed), BOUND)
    assert reader.read() == plain


def test_layout() -> None:
    sealed = seal.seal(KEY, BOUND, RANDOM, b"x" * 200, SMALL_SEGMENT)
    assert sealed[:40] == b"\x28" + RANDOM
    assert len(sealed) == 40 + 200 + 3 * 16


@settings(max_examples=150, deadline=None)
@given(
    size=st.one_of(st.sampled_from(EDGES), st.integers(0, 1500)),
    cuts=st.lists(st.integers(0, 1500), max_size=8),
    segments_out=st.integers(1, 4),
)
def test_any_split_gives_the_same_object(size: int, cuts: list[int], segments_out: int) -> None:
    plain = random.Random(size).randbytes(size)
    sealed = seal_in_pieces(plain, cuts, segments_out)
    assert sealed == seal.seal(KEY, BOUND, RANDOM, plain, SMALL_SEGMENT)
    assert seal.unseal(KEY, BOUND, sealed, SMALL_SEGMENT) == plain


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 1500), offset=st.integers(0, 1499))
def test_every_byte_is_found_through_its_segment_alone(size: int, offset: int) -> None:
    offset %= size
    plain = random.Random(size).randbytes(size)
    sealed = seal.seal(KEY, BOUND, RANDOM, plain, SMALL_SEGMENT)
    opener = seal.Opener(KEY, BOUND, sealed[: seal.HEADER_BYTES], len(sealed), SMALL_SEGMENT)
    assert opener.size == size
    number, within = opener.locate(offset)
    start, end = opener.span(number)
    assert opener.open_segment(number, sealed[start:end])[within] == plain[offset]


def test_no_plain_byte_in_the_output_buffer() -> None:
    seen: list[bytes] = []
    out = memoryview(bytearray(SMALL_SEGMENT * 2))

    def drain(filled: memoryview) -> memoryview:
        seen.append(bytes(filled))
        return filled

    sealer = seal.Sealer(KEY, BOUND, RANDOM, memoryview(bytearray(SMALL_SEGMENT)), out, drain)
    for _ in range(50):
        sealer.write(b"DOE^JANE" * 3)
        assert b"DOE^JANE" not in bytes(out)
    sealer.finish()
    assert b"DOE^JANE" not in b"".join([*seen, bytes(out)])


@pytest.mark.parametrize("size", [*range(57), 129, 144, 256 + 16])
def test_impossible_sizes_are_refused(size: int) -> None:
    header = b"\x28" + RANDOM
    if size == 56:
        assert seal.Opener(KEY, BOUND, header, size, SMALL_SEGMENT).size == 0
    else:
        with pytest.raises(IntegrityError):
            seal.Opener(KEY, BOUND, header, size, SMALL_SEGMENT)


@pytest.mark.parametrize("header", [b"", b"\x28", b"\x27" + RANDOM, b"\x28" + RANDOM + b"\0"])
def test_a_foreign_header_is_refused(header: bytes) -> None:
    with pytest.raises(IntegrityError):
        seal.Opener(KEY, BOUND, header, 100, SMALL_SEGMENT)


def test_too_many_segments_are_refused_on_both_sides() -> None:
    with pytest.raises(IntegrityError):
        seal.Opener(KEY, BOUND, b"\x28" + RANDOM, SMALL_SEGMENT * ((1 << 32) + 1), SMALL_SEGMENT)
    sealer = seal.Sealer(
        KEY, BOUND, RANDOM, memoryview(bytearray(SMALL_SEGMENT)), memoryview(bytearray(SMALL_SEGMENT)), lambda out: out
    )
    sealer._number = 1 << 32  # 2**32 segments cannot be written in a test
    with pytest.raises(LimitExceeded):
        sealer.write(b"x" * 1000)


@pytest.mark.parametrize(
    ("key", "noise", "plain", "out"),
    [
        (KEY[:16], RANDOM, 128, 128),
        (KEY, RANDOM[:-1], 128, 128),
        (KEY, RANDOM, 128, 200),
        (KEY, RANDOM, 56, 56),
    ],
)
def test_wrong_lengths_are_refused(key: bytes, noise: bytes, plain: int, out: int) -> None:
    with pytest.raises(ValueError):
        seal.Sealer(key, BOUND, noise, memoryview(bytearray(plain)), memoryview(bytearray(out)), lambda full: full)


def test_bindings_differ_by_kind_and_id() -> None:
    ids = [bytes(16), bytes(15) + b"\1"]
    assert len({seal.associated_data(kind, one) for kind in (b"object", b"quarantine") for one in ids}) == 4
    for kind, one in ((b"", ids[0]), (b"a\0b", ids[0]), (b"object", b"short")):
        with pytest.raises(ValueError):
            seal.associated_data(kind, one)
