"""The quarantine: held objects, their keys, and what was asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _blobs(*names: str) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables; nothing is held yet."""
    op.create_table(
        "held",
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        *_blobs("object_id"),
        *_texts("sop_class", "sop_uid", "series_uid", "study_uid", "transfer_syntax"),
        *_counts("data_bytes"),
        *_blobs("sha256"),
        *_counts("received_us"),
        *_texts("reason", "severity", "sender", "fingerprint", "user_name", "address", "via"),
        *_counts("times", "is_small"),
        *_blobs("findings", "sealed"),
    )
    op.create_index("held_same", "held", ["sha256"])
    op.create_index("held_size", "held", ["data_bytes"])
    op.create_table(
        "held_key",
        sa.Column("key_id", sa.LargeBinary, primary_key=True),
        sa.Column("held", BIG, sa.ForeignKey("held.number"), nullable=True),
        *_blobs("wrapped"),
        *_texts("master_id"),
    )
    op.create_index("held_key_of", "held_key", ["held"])
    op.create_table(
        "held_request",
        sa.Column("held", BIG, sa.ForeignKey("held.number"), primary_key=True, autoincrement=False),
        sa.Column("what", TEXT, primary_key=True),
        *_texts("user_name", "reason"),
        *_counts("asked_us"),
    )
