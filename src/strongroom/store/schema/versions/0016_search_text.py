"""The text that a list of studies searches, in one column and one index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from strongroom.archive.listing import search_text

revision = "0016"
down_revision = "0015"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROWS_AT_ONCE = 1000


def upgrade() -> None:
    """Add the column, fill it for every study that is there, and have the index hold it."""
    op.add_column("study", sa.Column("search_text", TEXT, nullable=False, server_default=""))
    _fill()
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("study_listed", "study")
    op.create_index("study_listed", "study", ["study_date", "id", "search_text"])


def _fill() -> None:
    columns: list[sa.ColumnClause[str]] = [
        sa.column(name) for name in ("id", "patient", "accession", "description", "search_text")
    ]
    study = sa.table("study", *columns)
    patient = sa.table("patient", sa.column("id"), sa.column("patient_name"), sa.column("patient_id"))
    searched = (patient.c.patient_name, patient.c.patient_id, study.c.accession, study.c.description)
    page = (
        sa.select(study.c.id, *searched)
        .join_from(study, patient, study.c.patient == patient.c.id)
        .where(study.c.id > sa.bindparam("after"))
        .order_by(study.c.id)
        .limit(ROWS_AT_ONCE)
    )
    fill = sa.update(study).where(study.c.id == sa.bindparam("row")).values(search_text=sa.bindparam("text"))
    connection, last = op.get_bind(), 0
    while rows := connection.execute(page, {"after": last}).fetchall():
        last = rows[-1][0]
        connection.execute(fill, [{"row": row, "text": search_text(*texts)} for row, *texts in rows])
