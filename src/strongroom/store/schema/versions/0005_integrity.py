"""Digests of what objects say and show, where series came from, and what is flagged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; what is stored gets its digests as the server finds time."""
    op.create_table(
        "series_source",
        sa.Column("series", BIG, sa.ForeignKey("series.id"), primary_key=True),
        sa.Column("source", TEXT, primary_key=True),
    )
    op.create_table(
        "flagged",
        sa.Column("id", BIG, sa.ForeignKey("instance.id"), primary_key=True),
        sa.Column("reason", TEXT, primary_key=True),
        sa.Column("severity", TEXT, nullable=False),
        sa.Column("findings", sa.LargeBinary, nullable=False),
        sa.Column("flagged_us", BIG, nullable=False),
    )
    op.create_table(
        "digest",
        sa.Column("id", BIG, sa.ForeignKey("instance.id"), primary_key=True),
        *[sa.Column(name, sa.LargeBinary, nullable=False) for name in ("canonical", "clinical", "pixels")],
        sa.Column("is_blank", BIG, nullable=False),
    )
    op.create_index("digest_by_pixels", "digest", ["pixels"])
