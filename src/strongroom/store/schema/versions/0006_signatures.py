"""What was found of the digital signatures of objects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; what is stored already is checked when somebody asks."""
    op.create_table(
        "signature",
        sa.Column("id", BIG, sa.ForeignKey("instance.id"), primary_key=True),
        sa.Column("validity", TEXT, nullable=False),
        sa.Column("trust", TEXT, nullable=False),
        sa.Column("checked_us", BIG, nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
    )
