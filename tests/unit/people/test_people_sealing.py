"""sealing: a factor opens for whom it was sealed, and a browser is known for whom it was marked."""

from __future__ import annotations

import pytest

from strongroom.errors import IntegrityError
from strongroom.people.sealing import PeopleKey

KEY = PeopleKey(bytes(32))


def test_a_factor_opens_for_its_person_and_kind_only() -> None:
    sealed = KEY.seal("jdoe", "totp", b"secret")
    assert KEY.open("jdoe", "totp", sealed) == b"secret"
    assert b"secret" not in sealed
    for person, kind, raw in (
        ("other", "totp", sealed),
        ("jdoe", "other", sealed),
        ("jdoe", "totp", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("jdoe", "totp", b""),
    ):
        with pytest.raises(IntegrityError):
            KEY.open(person, kind, raw)
    with pytest.raises(IntegrityError):
        PeopleKey(bytes([1] * 32)).open("jdoe", "totp", sealed)


def test_a_browser_is_known_by_its_mark() -> None:
    device = KEY.new_device("jdoe")
    assert KEY.is_device_of("jdoe", device)
    assert not KEY.is_device_of("other", device)
    assert not KEY.is_device_of("jdoe", "")
    assert not PeopleKey(bytes([1] * 32)).is_device_of("jdoe", device)
    assert device != KEY.new_device("jdoe")


def test_what_somebody_typed_opens_for_him_and_nobody_else() -> None:
    sealed = KEY.seal_typed("jdoe", "Bergström, Åsa")
    assert KEY.open_typed("jdoe", sealed) == "Bergström, Åsa"
    assert "Berg" not in sealed
    assert sealed != KEY.seal_typed("jdoe", "Bergström, Åsa")
    for key, person, text in (
        (KEY, "other", sealed),
        (KEY, "jdoe", sealed[:-2] + "AA"),
        (KEY, "jdoe", ""),
        (KEY, "jdoe", "Å!"),
        (KEY, "jdoe", KEY.seal_flow(b"another thing of ours")),
        (PeopleKey(bytes([1] * 32)), "jdoe", sealed),
    ):
        assert key.open_typed(person, text) is None
