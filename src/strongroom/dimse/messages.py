"""The DIMSE messages (DICOM PS3.7 9.3 and 10.3).

Each is a frozen dataclass, and its declaration is the table that ``command_set`` parses and encodes by: a field's name
says which command element it is, and a field without a default is mandatory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from strongroom.types import Uid

RESPONSE_BIT: Final = 0x8000
"""Bit 15 of the Command Field tells a response from a request (PS3.7 E.1)."""

PRIORITY_MEDIUM: Final = 0
PRIORITY_HIGH: Final = 1
PRIORITY_LOW: Final = 2


@dataclass(frozen=True, slots=True)
class CStoreRq:
    """C-STORE-RQ (PS3.7 9.3.1.1): a composite object follows as the data set.

    ``affected_sop_instance_uid`` off the wire is a Uid only if it is one: else it is the text that came, cut to 64
    printable characters. One bad object is answered as such, and does not cost the peer the rest of its queue.
    """

    COMMAND_FIELD: ClassVar[int] = 0x0001
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: Uid
    affected_sop_instance_uid: Uid | str
    priority: int = PRIORITY_MEDIUM
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class CStoreRsp:
    """C-STORE-RSP (PS3.7 9.3.1.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8001
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    affected_sop_instance_uid: Uid | None = None
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class CFindRq:
    """C-FIND-RQ (PS3.7 9.3.2.1): an identifier follows."""

    COMMAND_FIELD: ClassVar[int] = 0x0020
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: Uid
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class CFindRsp:
    """C-FIND-RSP (PS3.7 9.3.2.2): an identifier follows while the status is pending."""

    COMMAND_FIELD: ClassVar[int] = 0x8020
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    has_dataset: bool = False
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class CGetRq:
    """C-GET-RQ (PS3.7 9.3.3.1): an identifier follows."""

    COMMAND_FIELD: ClassVar[int] = 0x0010
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: Uid
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class CGetRsp:
    """C-GET-RSP (PS3.7 9.3.3.2): the identifier that may follow lists the failed SOP instances."""

    COMMAND_FIELD: ClassVar[int] = 0x8010
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    has_dataset: bool = False
    remaining_sub_operations: int | None = None
    completed_sub_operations: int | None = None
    failed_sub_operations: int | None = None
    warning_sub_operations: int | None = None
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class CMoveRq:
    """C-MOVE-RQ (PS3.7 9.3.4.1): an identifier follows."""

    COMMAND_FIELD: ClassVar[int] = 0x0021
    has_dataset: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: Uid
    move_destination: str
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class CMoveRsp:
    """C-MOVE-RSP (PS3.7 9.3.4.2): the identifier that may follow lists the failed SOP instances."""

    COMMAND_FIELD: ClassVar[int] = 0x8021
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    has_dataset: bool = False
    remaining_sub_operations: int | None = None
    completed_sub_operations: int | None = None
    failed_sub_operations: int | None = None
    warning_sub_operations: int | None = None
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class CEchoRq:
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0030
    has_dataset: ClassVar[bool] = False
    message_id: int
    affected_sop_class_uid: Uid


@dataclass(frozen=True, slots=True)
class CEchoRsp:
    """C-ECHO-RSP (PS3.7 9.3.5.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8030
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class CCancelRq:
    """C-CANCEL-RQ (PS3.7 9.3.2.3, 9.3.3.3, 9.3.4.3): it has no response of its own."""

    COMMAND_FIELD: ClassVar[int] = 0x0FFF
    has_dataset: ClassVar[bool] = False
    message_id_being_responded_to: int


@dataclass(frozen=True, slots=True)
class NEventReportRq:
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0100
    message_id: int
    affected_sop_class_uid: Uid
    affected_sop_instance_uid: Uid
    event_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True)
class NEventReportRsp:
    """N-EVENT-REPORT-RSP (PS3.7 10.3.1.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8100
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    affected_sop_instance_uid: Uid | None = None
    event_type_id: int | None = None
    has_dataset: bool = False
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class NActionRq:
    """N-ACTION-RQ (PS3.7 10.3.4.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0130
    message_id: int
    requested_sop_class_uid: Uid
    requested_sop_instance_uid: Uid
    action_type_id: int
    has_dataset: bool = False


@dataclass(frozen=True, slots=True)
class NActionRsp:
    """N-ACTION-RSP (PS3.7 10.3.4.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8130
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    affected_sop_instance_uid: Uid | None = None
    action_type_id: int | None = None
    has_dataset: bool = False
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class NSetRq:
    """N-SET-RQ (PS3.7 10.3.3.1): a modification list follows.

    It is sent, never parsed: Strongroom asks for it elsewhere and does not have it, so what comes in is an
    UnsupportedRq.
    """

    COMMAND_FIELD: ClassVar[int] = 0x0120
    has_dataset: ClassVar[bool] = True
    message_id: int
    requested_sop_class_uid: Uid
    requested_sop_instance_uid: Uid


@dataclass(frozen=True, slots=True)
class NSetRsp:
    """N-SET-RSP (PS3.7 10.3.3.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8120
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    affected_sop_instance_uid: Uid | None = None
    has_dataset: bool = False
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None


@dataclass(frozen=True, slots=True)
class UnsupportedRq:
    """A request of an operation that Strongroom does not serve: N-GET, N-SET, N-CREATE, N-DELETE, or an unknown one.

    It carries what is needed to take in its data set and to answer status 0211H.
    """

    command_field: int
    message_id: int
    affected_sop_class_uid: Uid | None = None
    requested_sop_class_uid: Uid | None = None
    has_dataset: bool = False


@dataclass(frozen=True, slots=True)
class UnsupportedRsp:
    """The answer to an UnsupportedRq, see ``to``. It is sent, never parsed."""

    has_dataset: ClassVar[bool] = False
    command_field: int
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: Uid | None = None
    offending_elements: tuple[int, ...] = ()
    error_comment: str = ""
    error_id: int | None = None

    @classmethod
    def to(cls, request: UnsupportedRq, status: int) -> UnsupportedRsp:
        """Return the response to ``request``: its command field with bit 15 set, its message id."""
        return cls(request.command_field | RESPONSE_BIT, request.message_id, status, request.affected_sop_class_uid)


Request = CStoreRq | CFindRq | CGetRq | CMoveRq | CEchoRq | NEventReportRq | NActionRq | NSetRq | UnsupportedRq
Response = (
    CStoreRsp | CFindRsp | CGetRsp | CMoveRsp | CEchoRsp | NEventReportRsp | NActionRsp | NSetRsp | UnsupportedRsp
)
Message = Request | Response | CCancelRq
