"""What one person proposes and another one agrees to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "proposal",
        sa.Column("number", BIG, primary_key=True, autoincrement=False),
        *_texts("matter", "subject", "proposer", "reason"),
        *_counts("made_us", "lapses_us", "decided_us"),
        *_texts("decided_by", "decision", "remark"),
    )
    op.create_index("proposal_of_subject", "proposal", ["matter", "subject"])
