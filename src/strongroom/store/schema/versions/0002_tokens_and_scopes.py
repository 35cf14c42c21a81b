"""Access tokens, and the scopes of peers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table of tokens; every peer that is there keeps the whole archive as its scope."""
    op.add_column("peer", sa.Column("scope", TEXT, nullable=False, server_default=""))
    op.create_table(
        "token",
        sa.Column("name", TEXT, primary_key=True),
        *[sa.Column(name, TEXT, nullable=False) for name in ("digest", "rights", "scope")],
        *[sa.Column(name, BIG, nullable=False) for name in ("added_us", "expires_us", "revoked_us")],
    )
    op.create_index("token_by_digest", "token", ["digest"], unique=True)
