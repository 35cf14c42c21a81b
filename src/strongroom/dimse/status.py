"""DIMSE status codes as data: what each is called, of which kind it is, and the clause that says so.

PS3.7 annex C gives the codes that every service has. PS3.4 adds some for each service class, and the same number may
mean different things in two of them, so a name is looked up by service.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class StatusKind(StrEnum):
    """The five classes of status (PS3.7 C.1 to C.5)."""

    SUCCESS = "success"
    PENDING = "pending"
    CANCEL = "cancel"
    WARNING = "warning"
    FAILURE = "failure"


class Service(StrEnum):
    """Where a status code has its meaning; GENERAL codes are valid in all."""

    GENERAL = "general"
    STORAGE = "storage"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMITMENT = "commitment"


class Status(IntEnum):
    """The codes that Strongroom sends, or acts upon when it gets them."""

    SUCCESS = 0x0000
    PENDING = 0xFF00
    PENDING_WARNING = 0xFF01
    CANCEL = 0xFE00
    COERCION_OF_DATA_ELEMENTS = 0xB000
    ELEMENTS_DISCARDED = 0xB006
    DATASET_DOES_NOT_MATCH_SOP_CLASS_WARNING = 0xB007
    SUB_OPERATIONS_COMPLETE_WITH_FAILURES = 0xB000  # an alias: C-MOVE's and C-GET's reading of the same number
    RESPONSE_LIMIT_REACHED = 0xB001
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_CALCULATE_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUB_OPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATASET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    UNABLE_TO_PROCESS = 0xC000
    CANNOT_UNDERSTAND = 0xC000  # an alias: Storage's reading of the same number
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_TRANSACTION_UID = 0x0131
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One line of the standard's tables: the codes ``first`` to ``last`` mean ``meaning`` in ``service``."""

    first: int
    last: int
    kind: StatusKind
    meaning: str
    service: Service
    clause: str


def _general(code: int, kind: StatusKind, meaning: str, clause: str) -> StatusEntry:
    return StatusEntry(code, code, kind, meaning, Service.GENERAL, clause)


_S, _P, _C, _W, _F = StatusKind
_STORAGE, _FIND, _MOVE, _GET = Service.STORAGE, Service.FIND, Service.MOVE, Service.GET
_B_2_3, _C_4_1, _C_4_2, _C_4_3 = "PS3.4 B.2.3", "PS3.4 C.4.1.1.4", "PS3.4 C.4.2.1.5", "PS3.4 C.4.3.1.4"

STATUS_TABLE: Final[tuple[StatusEntry, ...]] = (
    _general(0x0000, _S, "success", "PS3.7 C.1"),
    _general(0xFF00, _P, "pending", "PS3.7 C.2"),
    _general(0xFE00, _C, "cancel", "PS3.7 C.3"),
    _general(0x0001, _W, "requested optional attributes are not supported", "PS3.7 C.4"),
    _general(0x0107, _W, "attribute list error", "PS3.7 C.4"),
    _general(0x0116, _W, "attribute value out of range", "PS3.7 C.4"),
    _general(0x0105, _F, "no such attribute", "PS3.7 C.5"),
    _general(0x0106, _F, "invalid attribute value", "PS3.7 C.5"),
    _general(0x0110, _F, "processing failure", "PS3.7 C.5"),
    _general(0x0111, _F, "duplicate SOP instance", "PS3.7 C.5"),
    _general(0x0112, _F, "no such SOP instance", "PS3.7 C.5"),
    _general(0x0113, _F, "no such event type", "PS3.7 C.5"),
    _general(0x0114, _F, "no such argument", "PS3.7 C.5"),
    _general(0x0115, _F, "invalid argument value", "PS3.7 C.5"),
    _general(0x0117, _F, "invalid SOP instance", "PS3.7 C.5"),
    _general(0x0118, _F, "no such SOP class", "PS3.7 C.5"),
    _general(0x0119, _F, "class-instance conflict", "PS3.7 C.5"),
    _general(0x0120, _F, "missing attribute", "PS3.7 C.5"),
    _general(0x0121, _F, "missing attribute value", "PS3.7 C.5"),
    _general(0x0122, _F, "refused: SOP class not supported", "PS3.7 C.5"),
    _general(0x0123, _F, "no such action", "PS3.7 C.5"),
    _general(0x0124, _F, "refused: not authorized", "PS3.7 C.5"),
    _general(0x0210, _F, "duplicate invocation", "PS3.7 C.5"),
    _general(0x0211, _F, "unrecognized operation", "PS3.7 C.5"),
    _general(0x0212, _F, "mistyped argument", "PS3.7 C.5"),
    _general(0x0213, _F, "resource limitation", "PS3.7 C.5"),
    StatusEntry(0xA700, 0xA7FF, _F, "refused: out of resources", _STORAGE, _B_2_3),
    StatusEntry(0xA900, 0xA9FF, _F, "data set does not match SOP class", _STORAGE, _B_2_3),
    StatusEntry(0xC000, 0xCFFF, _F, "cannot understand", _STORAGE, _B_2_3),
    StatusEntry(0xB000, 0xB000, _W, "coercion of data elements", _STORAGE, _B_2_3),
    StatusEntry(0xB006, 0xB006, _W, "elements discarded", _STORAGE, _B_2_3),
    StatusEntry(0xB007, 0xB007, _W, "data set does not match SOP class", _STORAGE, _B_2_3),
    StatusEntry(0xA700, 0xA700, _F, "refused: out of resources", _FIND, _C_4_1),
    StatusEntry(0xA710, 0xA710, _F, "invalid prior record key", _FIND, _C_4_1),
    StatusEntry(0xA900, 0xA900, _F, "identifier does not match SOP class", _FIND, _C_4_1),
    StatusEntry(0xB001, 0xB001, _W, "matching reached the response limit", _FIND, _C_4_1),
    StatusEntry(0xC000, 0xCFFF, _F, "unable to process", _FIND, _C_4_1),
    StatusEntry(0xFE00, 0xFE00, _C, "matching terminated due to cancel request", _FIND, _C_4_1),
    StatusEntry(0xFF00, 0xFF00, _P, "matches are continuing, current match is supplied", _FIND, _C_4_1),
    StatusEntry(0xFF01, 0xFF01, _P, "matches are continuing, optional keys were not supported", _FIND, _C_4_1),
    StatusEntry(0xA701, 0xA701, _F, "refused: unable to calculate number of matches", _MOVE, _C_4_2),
    StatusEntry(0xA702, 0xA702, _F, "refused: unable to perform sub-operations", _MOVE, _C_4_2),
    StatusEntry(0xA801, 0xA801, _F, "refused: move destination unknown", _MOVE, _C_4_2),
    StatusEntry(0xA900, 0xA900, _F, "identifier does not match SOP class", _MOVE, _C_4_2),
    StatusEntry(0xB000, 0xB000, _W, "sub-operations complete, one or more failures or warnings", _MOVE, _C_4_2),
    StatusEntry(0xC000, 0xCFFF, _F, "unable to process", _MOVE, _C_4_2),
    StatusEntry(0xFE00, 0xFE00, _C, "sub-operations terminated due to cancel", _MOVE, _C_4_2),
    StatusEntry(0xFF00, 0xFF00, _P, "sub-operations are continuing", _MOVE, _C_4_2),
    StatusEntry(0xA701, 0xA701, _F, "refused: unable to calculate number of matches", _GET, _C_4_3),
    StatusEntry(0xA702, 0xA702, _F, "refused: unable to perform sub-operations", _GET, _C_4_3),
    StatusEntry(0xA900, 0xA900, _F, "identifier does not match SOP class", _GET, _C_4_3),
    StatusEntry(0xB000, 0xB000, _W, "sub-operations complete, one or more failures or warnings", _GET, _C_4_3),
    StatusEntry(0xC000, 0xCFFF, _F, "unable to process", _GET, _C_4_3),
    StatusEntry(0xFE00, 0xFE00, _C, "sub-operations terminated due to cancel", _GET, _C_4_3),
    StatusEntry(0xFF00, 0xFF00, _P, "sub-operations are continuing", _GET, _C_4_3),
    StatusEntry(0x0131, 0x0131, _F, "duplicate transaction UID", Service.COMMITMENT, "PS3.4 J.3"),
)
"""The general codes and those of the services that Strongroom has."""

_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def classify(status: int) -> StatusKind:
    """Return the class of a status code, by its number alone (PS3.7 annex C). An unknown code is a failure."""
    if status == 0:
        return StatusKind.SUCCESS
    if status in (Status.PENDING, Status.PENDING_WARNING):
        return StatusKind.PENDING
    if status == Status.CANCEL:
        return StatusKind.CANCEL
    if status in _WARNINGS or status >> 12 == 0xB:
        return StatusKind.WARNING
    return StatusKind.FAILURE


def is_pending(status: int) -> bool:
    """Return whether further responses to the same request follow."""
    return status & 0xFFFE == 0xFF00


def describe(status: int, service: Service = Service.GENERAL) -> StatusEntry:
    """Return what ``status`` means in ``service``; an unknown code is described by its class alone."""
    general = None
    for entry in STATUS_TABLE:
        if entry.first <= status <= entry.last:
            if entry.service is service:
                return entry
            if entry.service is Service.GENERAL:
                general = entry
    return general or _general(status, classify(status), f"status {status:04X}", "PS3.7 C")
