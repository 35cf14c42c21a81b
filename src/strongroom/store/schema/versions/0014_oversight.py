"""What people watch: alerts and who has seen to them, and long work of commands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ALERT = b'{"action":"alert",'


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables, and an index of the records of the trail that are alerts."""
    op.create_table(
        "alert_seen",
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("seq", BIG, primary_key=True, autoincrement=False),
        *_texts("person", "remark"),
        *_counts("seen_us"),
    )
    op.create_table(
        "job",
        sa.Column("name", TEXT, primary_key=True),
        *_texts("kind", "person", "state", "unit", "result"),
        *_counts("started_us", "said_us", "ended_us", "done", "total"),
    )
    op.create_index("job_by_start", "job", ["started_us"])
    begins = f"substr(record, 1, {len(ALERT)}) ="
    op.create_index(
        "trail_alert",
        "trail_record",
        ["log", "seq"],
        sqlite_where=sa.text(f"{begins} X'{ALERT.hex()}'"),
        postgresql_where=sa.text(f"{begins} decode('{ALERT.hex()}', 'hex')"),
    )
