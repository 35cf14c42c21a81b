"""The items of the associate PDUs: walking them, and those of user information (PS3.8 annex D, PS3.7 D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from strongroom.errors import LocalProtocolError, MalformedDataset, RemoteProtocolError
from strongroom.types import Uid
from strongroom.ul.limits import UlLimits

INVALID_PARAMETER_VALUE = 6
"""Provider abort reason of everything that does not parse (PS3.8 table 9-26)."""

_ITEM = struct.Struct(">BxH")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TWO_U16 = struct.Struct(">HH")

MAXIMUM_LENGTH = 0x51
IMPLEMENTATION_CLASS_UID = 0x52
ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
ROLE_SELECTION = 0x54
IMPLEMENTATION_VERSION_NAME = 0x55
EXTENDED_NEGOTIATION = 0x56
COMMON_EXTENDED_NEGOTIATION = 0x57
USER_IDENTITY = 0x58
USER_IDENTITY_RESPONSE = 0x59


class UserIdentityType(IntEnum):
    """How the user is named (PS3.7 D.3.3.7.1)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection of one SOP class: the roles of the association *requestor* (PS3.7 D.3.3.4)."""

    sop_class_uid: Uid
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """SOP class extended negotiation; ``information`` is opaque here (PS3.7 D.3.3.5)."""

    sop_class_uid: Uid
    information: bytes


@dataclass(frozen=True, slots=True)
class CommonExtendedNegotiation:
    """SOP class common extended negotiation: what general class a new one can be stored as (PS3.7 D.3.3.6)."""

    sop_class_uid: Uid
    service_class_uid: Uid
    related_general_sop_class_uids: tuple[Uid, ...] = ()


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """User identity of the requestor (PS3.7 D.3.3.7). The fields are secrets or name a person: no repr shows them."""

    identity_type: UserIdentityType
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    positive_response_requested: bool = False


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item of an A-ASSOCIATE-RQ or -AC (PS3.8 9.3.2.3, 9.3.3.3).

    ``max_pdu_body_bytes`` is the largest P-DATA-TF body its sender takes, 0 for no limit. ``common_extended`` and
    ``user_identity`` exist in a request only, ``user_identity_response`` in an acceptance only.
    """

    max_pdu_body_bytes: int = 0
    implementation_class_uid: Uid | None = None
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = field(default=None, repr=False)


def malformed(message: str) -> RemoteProtocolError:
    """Return the error for a PDU with a wrong parameter."""
    return RemoteProtocolError(message, abort_reason=INVALID_PARAMETER_VALUE)


def parse_uid(raw: memoryview | bytes, what: str) -> Uid:
    """Return the UID in ``raw``. Raises RemoteProtocolError naming ``what``."""
    if len(raw) > 65:  # 64 characters and a padding byte
        raise malformed(f"{what}: {len(raw)} bytes are too long for a UID")
    try:
        return Uid.parse(str(raw, "ascii"))
    except (UnicodeDecodeError, MalformedDataset):
        raise malformed(f"{what}: not a UID") from None


def walk_items(body: memoryview, max_items: int, what: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and value of each item in ``body``; the values are views into it.

    Raises:
        RemoteProtocolError: an item reaches over the end, or there are more than ``max_items``.
    """
    at, end = 0, len(body)
    for _ in range(max_items):
        if at == end:
            return
        if end - at < 4:
            raise malformed(f"{what}: {end - at} stray bytes after the last item")
        item_type, length = _ITEM.unpack_from(body, at)
        at += 4
        if length > end - at:
            raise malformed(f"{what}: item {item_type:02X}H of {length} bytes in {end - at}")
        yield item_type, body[at : at + length]
        at += length
    if at != end:
        raise malformed(f"{what}: more than {max_items} items")


def encode_item(item_type: int, value: bytes) -> bytes:
    """Return the item. Raises LocalProtocolError if ``value`` is longer than its length field can say."""
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"item {item_type:02X}H of {len(value)} bytes does not fit its length field")
    return _ITEM.pack(item_type, len(value)) + value


def _take(value: memoryview, at: int, what: str) -> tuple[memoryview, int]:
    """Return the 16-bit length-prefixed field at ``at`` and the offset after it."""
    if len(value) - at < 2:
        raise malformed(f"{what}: cut off before a length")
    length = _U16.unpack_from(value, at)[0]
    end = at + 2 + length
    if end > len(value):
        raise malformed(f"{what}: field of {length} bytes in {len(value) - at - 2}")
    return value[at + 2 : end], end


def _prefixed(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"field of {len(value)} bytes does not fit its length field")
    return _U16.pack(len(value)) + value


def _parse_maximum_length(value: memoryview, _limits: UlLimits) -> int:
    if len(value) != 4:
        raise malformed("maximum length item: length is not 4")
    return int(_U32.unpack(value)[0])


def _parse_implementation_class(value: memoryview, _limits: UlLimits) -> Uid:
    return parse_uid(value, "implementation class UID")


def _parse_version_name(value: memoryview, _limits: UlLimits) -> str:
    text = str(value, "latin-1").rstrip("\0 ")
    if len(text) > 16 or not (text.isascii() and (text.isprintable() or not text)):
        raise malformed("implementation version name: not 1 to 16 printable characters")
    return text


def _parse_asynchronous(value: memoryview, _limits: UlLimits) -> tuple[int, int]:
    if len(value) != 4:
        raise malformed("asynchronous operations window item: length is not 4")
    invoked, performed = _TWO_U16.unpack(value)
    return invoked, performed


def _parse_role(value: memoryview, _limits: UlLimits) -> RoleSelection:
    raw_uid, at = _take(value, 0, "role selection")
    if len(value) != at + 2 or value[at] > 1 or value[at + 1] > 1:
        raise malformed("role selection: two roles of 0 or 1 must end the item")
    return RoleSelection(parse_uid(raw_uid, "role selection"), value[at] == 1, value[at + 1] == 1)


def _parse_extended(value: memoryview, _limits: UlLimits) -> ExtendedNegotiation:
    raw_uid, at = _take(value, 0, "extended negotiation")
    return ExtendedNegotiation(parse_uid(raw_uid, "extended negotiation"), bytes(value[at:]))


def _parse_common_extended(value: memoryview, limits: UlLimits) -> CommonExtendedNegotiation:
    what = "common extended negotiation"
    raw_sop_class, at = _take(value, 0, what)
    raw_service_class, at = _take(value, at, what)
    raw_related, _ = _take(value, at, what)  # what follows is reserved and not looked at
    related: list[Uid] = []
    at = 0
    while at < len(raw_related):
        if len(related) == limits.max_related_sop_classes:
            raise malformed(f"{what}: more than {limits.max_related_sop_classes} related SOP classes")
        raw_uid, at = _take(raw_related, at, what)
        related.append(parse_uid(raw_uid, what))
    return CommonExtendedNegotiation(parse_uid(raw_sop_class, what), parse_uid(raw_service_class, what), tuple(related))


def _parse_user_identity(value: memoryview, _limits: UlLimits) -> UserIdentity:
    if len(value) < 6:
        raise malformed(f"user identity: {len(value)} bytes are too few")
    if not 1 <= value[0] <= 5 or value[1] > 1:
        raise malformed("user identity: unknown type or response flag")
    primary, at = _take(value, 2, "user identity")
    secondary, at = _take(value, at, "user identity")
    if at != len(value):
        raise malformed("user identity: stray bytes after the secondary field")
    if secondary and value[0] != UserIdentityType.USERNAME_AND_PASSCODE:
        raise malformed("user identity: a secondary field belongs to type 2 only")
    return UserIdentity(UserIdentityType(value[0]), bytes(primary), bytes(secondary), value[1] == 1)


def _parse_user_identity_response(value: memoryview, _limits: UlLimits) -> bytes:
    response, at = _take(value, 0, "user identity response")
    if at != len(value):
        raise malformed("user identity response: stray bytes")
    return bytes(response)


# Sub-item type -> field of UserInformation, its parser, and whether it may come more than once.
_Parser = Callable[[memoryview, UlLimits], object]
_EITHER: dict[int, tuple[str, _Parser, bool]] = {
    MAXIMUM_LENGTH: ("max_pdu_body_bytes", _parse_maximum_length, False),
    IMPLEMENTATION_CLASS_UID: ("implementation_class_uid", _parse_implementation_class, False),
    ASYNCHRONOUS_OPERATIONS_WINDOW: ("asynchronous_operations", _parse_asynchronous, False),
    ROLE_SELECTION: ("role_selections", _parse_role, True),
    IMPLEMENTATION_VERSION_NAME: ("implementation_version_name", _parse_version_name, False),
    EXTENDED_NEGOTIATION: ("extended", _parse_extended, True),
}
_IN_REQUEST = _EITHER | {
    COMMON_EXTENDED_NEGOTIATION: ("common_extended", _parse_common_extended, True),
    USER_IDENTITY: ("user_identity", _parse_user_identity, False),
}
_IN_ACCEPTANCE = _EITHER | {
    USER_IDENTITY_RESPONSE: ("user_identity_response", _parse_user_identity_response, False),
}


def parse_user_information(body: memoryview, limits: UlLimits, *, is_request: bool) -> UserInformation:
    """Return the user information in the item value ``body``; sub-items of unknown type are skipped (PS3.8 9.3.1).

    Raises:
        RemoteProtocolError: a known sub-item is malformed, comes twice, or the mandatory maximum length is missing.
    """
    parsers = _IN_REQUEST if is_request else _IN_ACCEPTANCE
    single: dict[str, object] = {}
    lists: dict[str, list[object]] = {}
    for item_type, value in walk_items(body, limits.max_user_items, "user information"):
        known = parsers.get(item_type)
        if known is None:
            continue
        name, parse, repeats = known
        if repeats:
            lists.setdefault(name, []).append(parse(value, limits))
        elif name in single:
            raise malformed(f"user information: item {item_type:02X}H comes twice")
        else:
            single[name] = parse(value, limits)
    if "max_pdu_body_bytes" not in single:
        raise malformed("user information: no maximum length item")
    fields = single | {name: tuple(values) for name, values in lists.items()}
    return UserInformation(**fields)  # type: ignore[arg-type]  # each parser returns the type of the field it is tabled with


def encode_user_information(user: UserInformation) -> bytes:
    """Return the sub-items of ``user`` in ascending type order, as PS3.7 D.3.3 prints them."""
    items = [encode_item(MAXIMUM_LENGTH, _U32.pack(user.max_pdu_body_bytes))]
    if user.implementation_class_uid is not None:
        items.append(encode_item(IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode("ascii")))
    if user.asynchronous_operations is not None:
        items.append(encode_item(ASYNCHRONOUS_OPERATIONS_WINDOW, _TWO_U16.pack(*user.asynchronous_operations)))
    for role in user.role_selections:
        value = _prefixed(role.sop_class_uid.encode("ascii")) + bytes((role.scu, role.scp))
        items.append(encode_item(ROLE_SELECTION, value))
    if user.implementation_version_name:
        items.append(encode_item(IMPLEMENTATION_VERSION_NAME, user.implementation_version_name.encode("ascii")))
    for extended in user.extended:
        value = _prefixed(extended.sop_class_uid.encode("ascii")) + extended.information
        items.append(encode_item(EXTENDED_NEGOTIATION, value))
    for common in user.common_extended:
        related = b"".join(_prefixed(uid.encode("ascii")) for uid in common.related_general_sop_class_uids)
        value = _prefixed(common.sop_class_uid.encode("ascii")) + _prefixed(common.service_class_uid.encode("ascii"))
        items.append(encode_item(COMMON_EXTENDED_NEGOTIATION, value + _prefixed(related)))
    if user.user_identity is not None:
        identity = user.user_identity
        value = bytes((identity.identity_type, identity.positive_response_requested))
        value += _prefixed(identity.primary) + _prefixed(identity.secondary)
        items.append(encode_item(USER_IDENTITY, value))
    if user.user_identity_response is not None:
        items.append(encode_item(USER_IDENTITY_RESPONSE, _prefixed(user.user_identity_response)))
    return b"".join(items)
