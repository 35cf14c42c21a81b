"""Limits that make no sense do not exist."""

import pytest

from strongroom.errors import ConfigError
from strongroom.ul import UlLimits


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_contexts": 0},
        {"max_contexts": 129},
        {"max_pdu_body_bytes": 0},
        {"max_pdu_body_bytes": 1 << 32},
        {"max_associate_pdu_bytes": 0},
        {"max_associate_pdu_bytes": 1 << 30},
        {"min_peer_pdu_body_bytes": 0},
        {"min_peer_pdu_body_bytes": 16384},
        {"idle_buffer_bytes": 12},
        {"idle_buffer_bytes": 1 << 20},
        {"max_transfer_syntaxes_per_context": 0},
        {"max_user_items": 0},
        {"max_related_sop_classes": -1},
    ],
)
def test_a_limit_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)) + "|at least 1"):
        UlLimits(**wrong)
