"""Studies that are shared, and glass that was broken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "share",
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        *_texts("study_uid", "digest", "code_mark", "maker", "recipient", "reason"),
        *_counts("made_us", "expires_us", "revoked_us"),
        *_texts("revoked_by"),
        *_counts("wrong_codes", "openings", "opened_us"),
    )
    op.create_index("share_of_link", "share", ["digest"], unique=True)
    op.create_table(
        "emergency",
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        *_texts("person", "patient_id", "issuer", "reason"),
        *_counts("opened_us", "ends_us"),
        *_texts("reviewed_by"),
        *_counts("reviewed_us"),
        *_texts("remark"),
    )
    op.create_index("emergency_of_person", "emergency", ["person", "ends_us"])
