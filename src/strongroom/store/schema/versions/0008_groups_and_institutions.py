"""Groups of people, and the columns and indexes of scopes by institution and referring physician."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from strongroom.archive.attributes import decode_attributes
from strongroom.archive.values import short_text

revision = "0008"
down_revision = "0007"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

INSTITUTION_NAME = "00080080"
ROWS_AT_ONCE = 1000


def upgrade() -> None:
    """Make the tables; the institution of every series that is there is read from its attributes."""
    op.create_table(
        "person_group",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("scope", TEXT, nullable=False),
        sa.Column("added_us", BIG, nullable=False),
    )
    op.create_table(
        "membership",
        sa.Column("person", TEXT, primary_key=True),
        sa.Column("person_group", TEXT, primary_key=True),
    )
    op.add_column("series", sa.Column("institution", TEXT, nullable=False, server_default=""))
    _fill_institutions()
    op.create_index("study_by_referring", "study", ["referring"])
    op.create_index("series_by_institution", "series", ["institution", "study"])


def _fill_institutions() -> None:
    series = sa.table("series", sa.column("id"), sa.column("attributes"), sa.column("institution"))
    after = sa.select(series.c.id, series.c.attributes).where(series.c.id > sa.bindparam("after"))
    page = after.order_by(series.c.id).limit(ROWS_AT_ONCE)
    fill = sa.update(series).where(series.c.id == sa.bindparam("row")).values(institution=sa.bindparam("text"))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(page, {"after": last}).fetchall():
        last = rows[-1][0]
        named = [{"row": row, "text": text} for row, kept in rows if (text := _institution(bytes(kept)))]
        if named:
            connection.execute(fill, named)


def _institution(kept: bytes) -> str:
    values = decode_attributes(kept).get(INSTITUTION_NAME, {}).get("Value")
    return short_text(values[0]) if values else ""
