"""The list of studies: what it looks at in one index, and studies by modality."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the indexes. What PostgreSQL keeps in one must fit a third of a page, which hostile texts need not."""
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("study_listed", "study", ["study_date", "id", "patient", "accession", "description"])
    op.create_index("series_by_modality", "series", ["modality", "study"])
