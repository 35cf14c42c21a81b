"""The first schema: four levels, data keys, peers, accounts, commitments, imports and the trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _count(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _blob(*names: str) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary, nullable=False) for name in names]


def _id(parent: str = "") -> list[sa.Column[int]]:
    columns = [sa.Column("id", BIG, primary_key=True)]
    if parent:
        columns.append(sa.Column(parent, BIG, sa.ForeignKey(f"{parent}.id"), nullable=False))
    return columns


def upgrade() -> None:
    """Create every table."""
    op.create_table("meta", sa.Column("name", TEXT, primary_key=True), *_text("value"))
    _levels()
    op.create_table(
        "peer",
        sa.Column("aet", TEXT, primary_key=True),
        *_text("rights", "address", "binding", "fingerprint", "subject", "certificate"),
        *_count("require_user", "added_us", "revoked_us"),
    )
    op.create_table(
        "account",
        sa.Column("name", TEXT, primary_key=True),
        *_text("passcode_hash", "role"),
        *_count("added_us", "disabled_us"),
    )
    op.create_table("commitment", *_id(), *_text("peer", "transaction_uid", "report"), *_count("next_try_us", "tries"))
    op.create_index("commitment_due", "commitment", ["next_try_us"])
    op.create_table("destroyed_key", sa.Column("key_id", sa.LargeBinary, primary_key=True))
    op.create_table("imported", sa.Column("source", sa.LargeBinary, primary_key=True))
    _trail()


def _levels() -> None:
    op.create_table(
        "patient",
        *_id(),
        *_text("patient_id", "issuer", "patient_name", "birth_date"),
        *_blob("attributes"),
    )
    op.create_index("patient_identity", "patient", ["patient_id", "issuer"], unique=True)
    op.create_index("patient_by_name", "patient", ["patient_name"])
    op.create_table(
        "study",
        *_id("patient"),
        *_text("study_uid", "study_date", "study_time", "accession", "study_id", "referring", "description"),
        *_text("modalities", "sop_classes"),
        *_blob("attributes"),
        *_count("num_series", "num_instances"),
    )
    op.create_index("study_identity", "study", ["study_uid"], unique=True)
    op.create_index("study_of_patient", "study", ["patient"])
    op.create_index("study_by_date", "study", ["study_date"])
    op.create_index("study_by_accession", "study", ["accession"])
    op.create_table(
        "series",
        *_id("study"),
        *_text("series_uid", "modality", "series_number", "body_part", "pps_start_date"),
        *_blob("attributes"),
        *_count("num_instances"),
    )
    op.create_index("series_identity", "series", ["series_uid"], unique=True)
    op.create_index("series_of_study", "series", ["study"])
    op.create_table(
        "data_key",
        sa.Column("key_id", sa.LargeBinary, primary_key=True),
        sa.Column("study", BIG, sa.ForeignKey("study.id"), nullable=True),
        *_blob("wrapped"),
        *_text("master_id"),
    )
    op.create_index("data_key_of_study", "data_key", ["study"])
    op.create_table(
        "instance",
        *_id("series"),
        *_text("sop_uid", "sop_class", "instance_number", "transfer_syntax"),
        *_blob("object_id"),
        sa.Column("key_id", sa.LargeBinary, sa.ForeignKey("data_key.key_id"), nullable=False),
        *_count("data_bytes"),
        *_blob("sha256"),
        *_count("received_us", "is_small"),
        *_blob("attributes"),
    )
    op.create_index("instance_identity", "instance", ["sop_uid"], unique=True)
    op.create_index("instance_of_series", "instance", ["series"])
    op.create_table(
        "small_object", sa.Column("id", BIG, sa.ForeignKey("instance.id"), primary_key=True), *_blob("sealed")
    )


def _trail() -> None:
    op.create_table(
        "trail_log",
        sa.Column("name", TEXT, primary_key=True),
        *_count("size"),
        *_blob("frontier"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trail_record",
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("seq", BIG, primary_key=True, autoincrement=False),
        *_blob("record", "leaf"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trail_checkpoint",
        sa.Column("log", TEXT, primary_key=True),
        sa.Column("size", BIG, primary_key=True, autoincrement=False),
        *_text("note"),
    )
