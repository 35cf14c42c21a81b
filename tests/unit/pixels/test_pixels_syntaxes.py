"""The table of transfer syntaxes: it holds together, and the workers do what it says."""

from __future__ import annotations

from strongroom.dicom.dictionary import TRANSFER_SYNTAXES
from strongroom.pixels import codecs
from strongroom.pixels import syntaxes as uid


def test_the_table_holds_together() -> None:
    for row in uid.CODECS.values():
        assert row.uid in TRANSFER_SYNTAXES
        assert row.library
        assert row.decodes or not row.encodes
        assert bool(row.compression_method) == (row.is_lossy and row.encodes)
        for inner in row.contains:
            assert uid.CODECS[inner].family == row.family
        assert TRANSFER_SYNTAXES[row.uid].encapsulated == (row.uid not in uid.NATIVE)


def test_there_is_code_for_what_the_table_says() -> None:
    decoded = {row.uid for row in uid.CODECS.values() if row.decodes} - uid.NATIVE
    encoded = {row.uid for row in uid.CODECS.values() if row.encodes} - uid.NATIVE
    assert decoded == set(codecs._DECODERS)
    assert encoded == {*codecs._ENCODERS, uid.RLE}


def test_what_web_services_must_not_send_is_never_a_target() -> None:
    for source in uid.CODECS:
        assert not {uid.IMPLICIT, uid.BIG_ENDIAN} & set(uid.targets_of(source)) - {source}


def test_targets_begin_with_what_is_stored_and_end_with_what_loses() -> None:
    targets = uid.targets_of(uid.JPEG_LS)
    assert targets[0] == uid.JPEG_LS
    losses = [uid.CODECS[each].is_lossy for each in targets]
    assert losses == sorted(losses)
    assert uid.targets_of("1.2.840.10008.1.2.4.102") == ("1.2.840.10008.1.2.4.102",)


def test_what_can_be_rendered() -> None:
    assert uid.can_render(uid.HTJ2K)
    assert not uid.can_render("1.2.840.10008.1.2.4.107")
    assert not uid.can_transcode("1.2.840.10008.1.2.4.107", uid.EXPLICIT)
    assert uid.can_transcode("1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.107")
