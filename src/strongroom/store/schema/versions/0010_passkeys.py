"""Passkeys, recovery codes, and when somebody in a session last proved who he is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables; whoever has a session is asked once more who he is before anything that takes a fresh proof."""
    op.add_column("session", sa.Column("proved_us", BIG, nullable=False, server_default="0"))
    op.create_table(
        "passkey",
        sa.Column("credential", TEXT, primary_key=True),
        *_texts("person", "name", "rp_id"),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        *_counts("counter", "is_synced", "added_us", "used_us"),
    )
    op.create_index("passkey_of_person", "passkey", ["person"])
    op.create_table(
        "recovery_code",
        sa.Column("person", TEXT, primary_key=True),
        sa.Column("digest", TEXT, primary_key=True),
        *_counts("added_us", "used_us"),
    )
    op.create_table("spent_challenge", sa.Column("digest", TEXT, primary_key=True), *_counts("ends_us"))
