"""User information: every sub-item against hand-made bytes, PS3.8 annex D and PS3.7 annex D.3.3."""

import struct

import pytest
from ul_wire import CT, MAXIMUM_LENGTH, VERIFICATION, item

from strongroom.errors import LocalProtocolError, RemoteProtocolError
from strongroom.types import Uid
from strongroom.ul import (
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    RoleSelection,
    UlLimits,
    UserIdentity,
    UserIdentityType,
    UserInformation,
)
from strongroom.ul.items import encode_user_information, parse_user_information

LIMITS = UlLimits()
MAXIMUM = {"max_pdu_body_bytes": 16384}


def parse(raw, is_request=True, limits=LIMITS):
    return parse_user_information(memoryview(raw), limits, is_request=is_request)


def prefixed(value):
    return struct.pack(">H", len(value)) + value


CT_FIELD = prefixed(CT.encode())
IDENTITY = b"\2\1" + prefixed(b"jdoe") + prefixed(b"pa55")

IN_REQUEST = {
    "maximum length 0": (item(0x51, bytes(4)), UserInformation()),
    "names": (
        MAXIMUM_LENGTH + item(0x52, b"1.2.3") + item(0x55, b"NAME_1"),
        UserInformation(implementation_class_uid=Uid("1.2.3"), implementation_version_name="NAME_1", **MAXIMUM),
    ),
    "window": (
        MAXIMUM_LENGTH + item(0x53, struct.pack(">HH", 0, 7)),
        UserInformation(asynchronous_operations=(0, 7), **MAXIMUM),
    ),
    "roles": (
        MAXIMUM_LENGTH + item(0x54, CT_FIELD + b"\0\1") + item(0x54, prefixed(VERIFICATION.encode()) + b"\1\0"),
        UserInformation(
            role_selections=(RoleSelection(CT, False, True), RoleSelection(VERIFICATION, True, False)), **MAXIMUM
        ),
    ),
    "extended": (
        MAXIMUM_LENGTH + item(0x56, CT_FIELD + b"\2\0\1"),
        UserInformation(extended=(ExtendedNegotiation(CT, b"\2\0\1"),), **MAXIMUM),
    ),
    "common extended": (
        MAXIMUM_LENGTH + item(0x57, CT_FIELD + prefixed(b"1.2.840.10008.4.2") + prefixed(prefixed(b"1.5") * 2)),
        UserInformation(
            common_extended=(CommonExtendedNegotiation(CT, Uid("1.2.840.10008.4.2"), (Uid("1.5"), Uid("1.5"))),),
            **MAXIMUM,
        ),
    ),
    "identity": (
        MAXIMUM_LENGTH + item(0x58, IDENTITY),
        UserInformation(
            user_identity=UserIdentity(UserIdentityType.USERNAME_AND_PASSCODE, b"jdoe", b"pa55", True), **MAXIMUM
        ),
    ),
}


@pytest.mark.parametrize("name", IN_REQUEST)
def test_each_item_is_read_and_written_byte_for_byte(name):
    raw, value = IN_REQUEST[name]
    assert parse(raw) == value
    assert encode_user_information(value) == raw


@pytest.mark.parametrize("identity_type", range(1, 6))
def test_every_identity_type_is_read(identity_type):
    raw = MAXIMUM_LENGTH + item(0x58, bytes((identity_type, 0)) + prefixed(b"who") + prefixed(b""))
    assert parse(raw).user_identity == UserIdentity(UserIdentityType(identity_type), b"who")


def test_the_response_to_an_identity_belongs_to_an_acceptance():
    raw = MAXIMUM_LENGTH + item(0x59, prefixed(b"ticket"))
    assert parse(raw, is_request=False).user_identity_response == b"ticket"
    assert encode_user_information(UserInformation(user_identity_response=b"ticket", **MAXIMUM)) == raw
    assert parse(raw).user_identity_response is None
    assert parse(MAXIMUM_LENGTH + item(0x58, b"junk"), is_request=False).user_identity is None


def test_unknown_items_are_skipped():
    assert parse(item(0x5A, b"new") + MAXIMUM_LENGTH + item(0xFF, b"") * 3) == UserInformation(**MAXIMUM)


def test_reserved_bytes_after_the_related_classes_are_not_looked_at():
    raw = MAXIMUM_LENGTH + item(0x57, CT_FIELD + prefixed(b"1.2") + prefixed(b"") + b"reserved")
    assert parse(raw).common_extended == (CommonExtendedNegotiation(CT, Uid("1.2")),)


def test_padding_of_names_is_no_part_of_them():
    user = parse(MAXIMUM_LENGTH + item(0x52, b"1.2.3\0") + item(0x55, b"NAME \0"))
    assert (user.implementation_class_uid, user.implementation_version_name) == ("1.2.3", "NAME")


CROOKED = {
    "empty": b"",
    "no maximum length": item(0x52, b"1.2"),
    "maximum length of 3 bytes": item(0x51, bytes(3)),
    "maximum length twice": MAXIMUM_LENGTH * 2,
    "identity twice": MAXIMUM_LENGTH + item(0x58, IDENTITY) * 2,
    "class UID of letters": MAXIMUM_LENGTH + item(0x52, b"one"),
    "version name of 17": MAXIMUM_LENGTH + item(0x55, b"A" * 17),
    "version name with a line end": MAXIMUM_LENGTH + item(0x55, b"A\nB"),
    "version name that is no ASCII": MAXIMUM_LENGTH + item(0x55, b"\xe9"),
    "window of 5 bytes": MAXIMUM_LENGTH + item(0x53, bytes(5)),
    "role without roles": MAXIMUM_LENGTH + item(0x54, CT_FIELD),
    "role of 2": MAXIMUM_LENGTH + item(0x54, CT_FIELD + b"\2\0"),
    "SCP role of 2": MAXIMUM_LENGTH + item(0x54, CT_FIELD + b"\0\2"),
    "role with a tail": MAXIMUM_LENGTH + item(0x54, CT_FIELD + b"\1\0\0"),
    "role UID over the end": MAXIMUM_LENGTH + item(0x54, b"\xff\xff1.2"),
    "extended cut in its length": MAXIMUM_LENGTH + item(0x56, b"\0"),
    "extended with an empty UID": MAXIMUM_LENGTH + item(0x56, b"\0\0abc"),
    "common without a service class": MAXIMUM_LENGTH + item(0x57, CT_FIELD),
    "common with a related UID over its list": MAXIMUM_LENGTH
    + item(0x57, CT_FIELD + prefixed(b"1.2") + prefixed(b"\0\x091.5")),
    "identity of 5 bytes": MAXIMUM_LENGTH + item(0x58, b"\1\0\0\1a"),
    "identity of type 0": MAXIMUM_LENGTH + item(0x58, b"\0\0" + prefixed(b"a") + prefixed(b"")),
    "identity of type 6": MAXIMUM_LENGTH + item(0x58, b"\6\0" + prefixed(b"a") + prefixed(b"")),
    "identity with flag 2": MAXIMUM_LENGTH + item(0x58, b"\1\2" + prefixed(b"a") + prefixed(b"")),
    "identity with a tail": MAXIMUM_LENGTH + item(0x58, IDENTITY + b"x"),
    "identity with a primary over the end": MAXIMUM_LENGTH + item(0x58, b"\2\0\xff\xffabcd"),
    "passcode where none belongs": MAXIMUM_LENGTH + item(0x58, b"\1\0" + prefixed(b"a") + prefixed(b"b")),
}


@pytest.mark.parametrize("name", CROOKED)
def test_a_crooked_item_is_refused(name):
    with pytest.raises(RemoteProtocolError) as refused:
        parse(CROOKED[name])
    assert refused.value.abort_reason == 6


@pytest.mark.parametrize("value", [prefixed(b"abc") + b"x", b"\0", b"\0\4abc"])
def test_a_crooked_response_is_refused(value):
    with pytest.raises(RemoteProtocolError):
        parse(MAXIMUM_LENGTH + item(0x59, value), is_request=False)


def test_the_number_of_items_is_capped():
    limits = UlLimits(max_user_items=4)
    role = item(0x54, CT_FIELD + b"\1\1")
    assert len(parse(MAXIMUM_LENGTH + role * 3, limits=limits).role_selections) == 3
    with pytest.raises(RemoteProtocolError, match="more than 4 items"):
        parse(MAXIMUM_LENGTH + role * 4, limits=limits)


def test_the_number_of_related_classes_is_capped():
    raw = MAXIMUM_LENGTH + item(0x57, CT_FIELD + prefixed(b"1.2") + prefixed(prefixed(b"1.5") * 3))
    assert parse(raw, limits=UlLimits(max_related_sop_classes=3))
    with pytest.raises(RemoteProtocolError, match="more than 2 related"):
        parse(raw, limits=UlLimits(max_related_sop_classes=2))


def test_no_repr_shows_an_identity():
    user = UserInformation(
        user_identity=UserIdentity(UserIdentityType.USERNAME_AND_PASSCODE, b"jdoe", b"pa55"),
        user_identity_response=b"ticket",
    )
    for secret in ("jdoe", "pa55", "ticket"):
        assert secret not in repr(user)


def test_what_does_not_fit_its_length_field_is_not_encoded():
    with pytest.raises(LocalProtocolError):
        encode_user_information(UserInformation(user_identity=UserIdentity(UserIdentityType.SAML, bytes(65536))))
    with pytest.raises(LocalProtocolError):
        encode_user_information(UserInformation(extended=(ExtendedNegotiation(CT, bytes(65530)),)))
