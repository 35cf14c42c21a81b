"""People sign in: scopes of accounts, second factors, sessions, sign-in links, failed attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables; every account that is there keeps its one role, and the whole archive as its scope."""
    op.add_column("account", sa.Column("scope", TEXT, nullable=False, server_default=""))
    op.create_table(
        "factor",
        sa.Column("person", TEXT, primary_key=True),
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        *_counts("added_us", "step"),
    )
    op.create_table(
        "session",
        sa.Column("digest", TEXT, primary_key=True),
        *_texts("person", "state", "bound", "address", "agent"),
        *_counts("created_us", "used_us", "ends_us", "ended_us"),
    )
    op.create_index("session_of_person", "session", ["person"])
    op.create_table(
        "sign_in_link",
        sa.Column("digest", TEXT, primary_key=True),
        *_texts("person"),
        *_counts("added_us", "expires_us", "used_us"),
    )
    op.create_table("attempt", sa.Column("bucket", TEXT, primary_key=True), *_counts("forgiven_us"))
