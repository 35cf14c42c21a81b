"""addresses: what counts as one."""

from __future__ import annotations

import pytest

from strongroom.archive.addresses import group_of


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("local", "192.0.2.1", False),
    ],
)
def test_a_subscriber_counts_as_one(one: str, other: str, is_same: bool) -> None:
    assert (group_of(one) == group_of(other)) is is_same
