"""Command sets: exact bytes, and both directions against an independent encoder."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from strongroom.dimse import (
    CCancelRq,
    CEchoRq,
    CEchoRsp,
    CFindRq,
    CFindRsp,
    CGetRq,
    CGetRsp,
    CMoveRq,
    CMoveRsp,
    CStoreRq,
    CStoreRsp,
    Message,
    NActionRq,
    NActionRsp,
    NEventReportRq,
    NEventReportRsp,
    NSetRq,
    NSetRsp,
    UnsupportedRq,
    UnsupportedRsp,
    command_set,
    encode_command,
    parse_command,
)
from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.types import Uid

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
INSTANCE = Uid("1.2.826.0.1.3680043.8.498.1")
FIND = Uid("1.2.840.10008.5.1.4.1.2.2.1")
COMMIT = Uid("1.2.840.10008.1.20.1")
VERIFICATION = Uid("1.2.840.10008.1.1")

COUNTS = {
    "NumberOfRemainingSuboperations": 4,
    "NumberOfCompletedSuboperations": 3,
    "NumberOfFailedSuboperations": 2,
    "NumberOfWarningSuboperations": 1,
}
ERRORS = {"OffendingElement": [0x00080018, 0x00100020], "ErrorComment": "no", "ErrorID": 77}

# Each message beside the same one in pydicom's words (command elements by keyword).
PAIRS: list[tuple[Message, dict[str, Any]]] = [
    (
        CStoreRq(7, CT, INSTANCE, 2, "MOVER", 12),
        {
            "AffectedSOPClassUID": CT,
            "CommandField": 0x0001,
            "MessageID": 7,
            "Priority": 2,
            "CommandDataSetType": 1,
            "AffectedSOPInstanceUID": INSTANCE,
            "MoveOriginatorApplicationEntityTitle": "MOVER",
            "MoveOriginatorMessageID": 12,
        },
    ),
    (
        CStoreRsp(7, 0xA700, CT, INSTANCE, (0x00080018, 0x00100020), "no", 77),
        {
            "AffectedSOPClassUID": CT,
            "CommandField": 0x8001,
            "MessageIDBeingRespondedTo": 7,
            "CommandDataSetType": 0x0101,
            "Status": 0xA700,
            "AffectedSOPInstanceUID": INSTANCE,
            **ERRORS,
        },
    ),
    (
        CFindRq(65535, FIND),
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x0020,
            "MessageID": 65535,
            "Priority": 0,
            "CommandDataSetType": 1,
        },
    ),
    (
        CFindRsp(1, 0xFF00, FIND, True),
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x8020,
            "MessageIDBeingRespondedTo": 1,
            "CommandDataSetType": 1,
            "Status": 0xFF00,
        },
    ),
    (
        CGetRq(1, FIND, 1),
        {"AffectedSOPClassUID": FIND, "CommandField": 0x0010, "MessageID": 1, "Priority": 1, "CommandDataSetType": 1},
    ),
    (
        CGetRsp(1, 0xB000, FIND, True, 4, 3, 2, 1),
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x8010,
            "MessageIDBeingRespondedTo": 1,
            "CommandDataSetType": 1,
            "Status": 0xB000,
            **COUNTS,
        },
    ),
    (
        CMoveRq(1, FIND, "WORKSTATION"),
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x0021,
            "MessageID": 1,
            "Priority": 0,
            "CommandDataSetType": 1,
            "MoveDestination": "WORKSTATION",
        },
    ),
    (
        CMoveRsp(1, 0xFF00, FIND, False, 4, 3, 2, 1),
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x8021,
            "MessageIDBeingRespondedTo": 1,
            "CommandDataSetType": 0x0101,
            "Status": 0xFF00,
            **COUNTS,
        },
    ),
    (
        CEchoRq(1, VERIFICATION),
        {"AffectedSOPClassUID": VERIFICATION, "CommandField": 0x30, "MessageID": 1, "CommandDataSetType": 0x0101},
    ),
    (
        CEchoRsp(1, 0, VERIFICATION),
        {
            "AffectedSOPClassUID": VERIFICATION,
            "CommandField": 0x8030,
            "MessageIDBeingRespondedTo": 1,
            "CommandDataSetType": 0x0101,
            "Status": 0,
        },
    ),
    (CCancelRq(9), {"CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 9, "CommandDataSetType": 0x0101}),
    (
        NEventReportRq(3, COMMIT, INSTANCE, 2, True),
        {
            "AffectedSOPClassUID": COMMIT,
            "CommandField": 0x0100,
            "MessageID": 3,
            "CommandDataSetType": 1,
            "AffectedSOPInstanceUID": INSTANCE,
            "EventTypeID": 2,
        },
    ),
    (
        NEventReportRsp(3, 0x0110, COMMIT, INSTANCE, 2, False, error_id=1),
        {
            "AffectedSOPClassUID": COMMIT,
            "CommandField": 0x8100,
            "MessageIDBeingRespondedTo": 3,
            "CommandDataSetType": 0x0101,
            "Status": 0x0110,
            "ErrorID": 1,
            "AffectedSOPInstanceUID": INSTANCE,
            "EventTypeID": 2,
        },
    ),
    (
        NActionRq(3, COMMIT, INSTANCE, 1, True),
        {
            "RequestedSOPClassUID": COMMIT,
            "CommandField": 0x0130,
            "MessageID": 3,
            "CommandDataSetType": 1,
            "RequestedSOPInstanceUID": INSTANCE,
            "ActionTypeID": 1,
        },
    ),
    (
        NActionRsp(3, 0, COMMIT, INSTANCE, 1),
        {
            "AffectedSOPClassUID": COMMIT,
            "CommandField": 0x8130,
            "MessageIDBeingRespondedTo": 3,
            "CommandDataSetType": 0x0101,
            "Status": 0,
            "AffectedSOPInstanceUID": INSTANCE,
            "ActionTypeID": 1,
        },
    ),
    (
        NSetRsp(3, 0x0112, COMMIT, INSTANCE),
        {
            "AffectedSOPClassUID": COMMIT,
            "CommandField": 0x8120,
            "MessageIDBeingRespondedTo": 3,
            "CommandDataSetType": 0x0101,
            "Status": 0x0112,
            "AffectedSOPInstanceUID": INSTANCE,
        },
    ),
]


def foreign_bytes(keywords: dict[str, Any]) -> bytes:
    """Encode a command set with pynetdicom, group length included."""
    command = Dataset()
    for keyword, value in keywords.items():
        setattr(command, keyword, value)
    body = encode(command, True, True)
    assert body is not None
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def with_length(body: bytes) -> bytes:
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


@pytest.mark.parametrize(("message", "keywords"), PAIRS, ids=lambda value: type(value).__name__)
def test_reads_what_another_implementation_writes(message: Message, keywords: dict[str, Any]) -> None:
    assert parse_command(foreign_bytes(keywords)) == message


@pytest.mark.parametrize(("message", "keywords"), PAIRS, ids=lambda value: type(value).__name__)
def test_writes_what_another_implementation_reads(message: Message, keywords: dict[str, Any]) -> None:
    raw = encode_command(message)
    command = decode(BytesIO(raw), True, True)
    assert command.CommandGroupLength == len(raw) - 12
    del command.CommandGroupLength
    assert {element.keyword: element.value for element in command} == keywords


def test_a_request_that_is_only_sent_is_read_by_another_implementation_and_never_by_us() -> None:
    raw = encode_command(NSetRq(3, COMMIT, INSTANCE))
    command = decode(BytesIO(raw), True, True)
    assert (command.CommandField, command.MessageID, command.CommandDataSetType) == (0x0120, 3, 1)
    assert (command.RequestedSOPClassUID, command.RequestedSOPInstanceUID) == (COMMIT, INSTANCE)
    assert parse_command(raw) == UnsupportedRq(0x0120, 3, None, COMMIT, True)


def test_the_bytes_of_a_c_echo_response_are_those_of_the_standard() -> None:
    expected = bytes.fromhex(
        "00000000 04000000 42000000"  # group length 66
        "00000200 12000000 312e322e3834302e31303030382e312e3100"  # affected SOP class UID, padded with a null
        "00000001 02000000 3080"  # command field
        "00002001 02000000 0100"  # message id being responded to
        "00000008 02000000 0101"  # no data set
        "00000009 02000000 0000"  # status
    )
    assert encode_command(CEchoRsp(1, 0, VERIFICATION)) == expected


@pytest.mark.parametrize("command_field", [0x0110, 0x0120, 0x0140, 0x0150, 0x0777])
def test_an_operation_that_is_not_ours_keeps_what_its_answer_needs(command_field: int) -> None:
    raw = foreign_bytes(
        {"RequestedSOPClassUID": CT, "CommandField": command_field, "MessageID": 5, "CommandDataSetType": 1}
    )
    request = parse_command(raw)
    assert isinstance(request, UnsupportedRq)
    assert request == UnsupportedRq(command_field, 5, None, CT, True)
    answer = UnsupportedRsp.to(request, 0x0211)
    command = decode(BytesIO(encode_command(answer)), True, True)
    assert (command.CommandField, command.MessageIDBeingRespondedTo) == (command_field | 0x8000, 5)
    assert (command.Status, command.CommandDataSetType) == (0x0211, 0x0101)


def test_unknown_and_retired_elements_are_skipped() -> None:
    plain = encode_command(CEchoRq(1, VERIFICATION))[12:]
    with_extras = struct.pack("<HHIH", 0, 0x0001, 2, 9) + plain + struct.pack("<HHIH", 0, 0x5110, 2, 9)
    assert parse_command(with_length(with_extras)) == CEchoRq(1, VERIFICATION)


def test_an_ae_title_loses_its_padding_and_what_cannot_be_shown() -> None:
    raw = foreign_bytes(
        {
            "AffectedSOPClassUID": FIND,
            "CommandField": 0x0021,
            "MessageID": 1,
            "Priority": 0,
            "CommandDataSetType": 1,
            "MoveDestination": "PLACEHOLDER12345",
        }
    ).replace(b"PLACEHOLDER12345", b"  A\x1b[31m\xc3\x9f      ")
    request = parse_command(raw)
    assert isinstance(request, CMoveRq)
    assert request.move_destination == "A?[31m??"


def test_a_long_error_comment_is_cut_when_read_and_when_written() -> None:
    comment = "x" * 63 + "ä" + "y" * 100
    raw = encode_command(CEchoRsp(1, 0x0110, error_comment=comment))
    answer = parse_command(raw)
    assert isinstance(answer, CEchoRsp)
    assert answer.error_comment == "x" * 63 + "?"
    long_raw = with_length(
        b"".join(
            struct.pack("<HHIH", 0, tag, 2, v) for tag, v in [(0x100, 0x8030), (0x120, 1), (0x800, 0x101), (0x900, 1)]
        )
        + struct.pack("<HHI", 0, 0x0902, 70)
        + b"z" * 70
    )
    answer = parse_command(long_raw)
    assert isinstance(answer, CEchoRsp)
    assert answer.error_comment == "z" * 64


@pytest.mark.parametrize(
    "message",
    [
        CEchoRq(65536, VERIFICATION),
        CEchoRsp(1, -1),
        CEchoRq(1, Uid("1.2.é")),
        CMoveRq(1, FIND, "A" * 17),
        CMoveRq(1, FIND, "ß"),
    ],
)
def test_a_value_that_does_not_fit_is_our_own_mistake(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        encode_command(message)


def test_a_sop_class_is_read_the_same_however_often_and_however_padded() -> None:
    def request(sop_class: bytes) -> bytes:
        elements = [(0x0002, sop_class), (0x0100, b"\x30\0"), (0x0110, b"\1\0"), (0x0800, b"\1\1")]
        body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
        return struct.pack("<HHII", 0, 0, 4, len(body)) + body

    for padding in (b"\0", b" ", b"\0" * 101):
        for _ in range(2):
            assert parse_command(request(CT.encode() + padding)) == CEchoRq(1, CT)
    for wrong in (b"1.2..3\0\0", b"1.2.3\\4", b"1" * 66):
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                parse_command(request(wrong))
    assert 0 < command_set._remembered_ui.cache_info().currsize <= command_set.MAX_REMEMBERED_UIDS
