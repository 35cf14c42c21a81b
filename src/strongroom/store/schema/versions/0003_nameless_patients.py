"""Several patients without a Patient ID: studies that name none have nothing in common."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Let the identity of patients occur more than once; studies that are there keep the patient that they have."""
    op.drop_index("patient_identity", table_name="patient")
    op.create_index("patient_identity", "patient", ["patient_id", "issuer"])
