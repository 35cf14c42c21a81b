"""Tables of the index. Text has no width and compares byte by byte on every engine; times are microseconds since 1970.

Each level keeps its attributes as encoded DICOM JSON (``attributes``), so that an answer never opens an object, beside
the few narrow columns that a query may use (``strongroom.archive.keys``).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

TABLES = MetaData()

BIG = BigInteger().with_variant(Integer(), "sqlite")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str) -> Column[str]:
    return Column(name, TEXT, nullable=False)


def _blob(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BIG, nullable=False)


META = Table("meta", TABLES, Column("name", TEXT, primary_key=True), _text("value"))

PATIENT = Table(
    "patient",
    TABLES,
    Column("id", BIG, primary_key=True),
    _text("patient_id"),
    _text("issuer"),
    _text("patient_name"),
    _text("birth_date"),
    _blob("attributes"),
    Index("patient_identity", "patient_id", "issuer"),
    Index("patient_by_name", "patient_name"),
)

STUDY = Table(
    "study",
    TABLES,
    Column("id", BIG, primary_key=True),
    Column("patient", BIG, ForeignKey("patient.id"), nullable=False),
    _text("study_uid"),
    _text("study_date"),
    _text("study_time"),
    _text("accession"),
    _text("study_id"),
    _text("referring"),
    _text("description"),
    _text("modalities"),
    _text("sop_classes"),
    _blob("attributes"),
    _count("num_series"),
    _count("num_instances"),
    Column("search_text", TEXT, nullable=False, server_default=""),
    Index("study_identity", "study_uid", unique=True),
    Index("study_of_patient", "patient"),
    Index("study_by_date", "study_date"),
    Index("study_by_accession", "accession"),
    Index("study_by_referring", "referring"),
    # All that a list of studies looks at, in its order.
    Index("study_listed", "study_date", "id", "search_text"),
)

SERIES = Table(
    "series",
    TABLES,
    Column("id", BIG, primary_key=True),
    Column("study", BIG, ForeignKey("study.id"), nullable=False),
    _text("series_uid"),
    _text("modality"),
    _text("series_number"),
    _text("body_part"),
    _text("pps_start_date"),
    _blob("attributes"),
    _count("num_instances"),
    Column("institution", TEXT, nullable=False, server_default=""),
    Index("series_identity", "series_uid", unique=True),
    Index("series_of_study", "study"),
    Index("series_by_institution", "institution", "study"),
    Index("series_by_modality", "modality", "study"),
)

DATA_KEY = Table(
    "data_key",
    TABLES,
    Column("key_id", LargeBinary, primary_key=True),
    Column("study", BIG, ForeignKey("study.id"), nullable=True),
    _blob("wrapped"),
    _text("master_id"),
    Index("data_key_of_study", "study"),
)
"""``study`` is null where a key was destroyed: its row stays, overwritten, see ``strongroom.store.deletion``."""

INSTANCE = Table(
    "instance",
    TABLES,
    Column("id", BIG, primary_key=True),
    Column("series", BIG, ForeignKey("series.id"), nullable=False),
    _text("sop_uid"),
    _text("sop_class"),
    _text("instance_number"),
    _text("transfer_syntax"),
    _blob("object_id"),
    Column("key_id", LargeBinary, ForeignKey("data_key.key_id"), nullable=False),
    _count("data_bytes"),
    _blob("sha256"),
    _count("received_us"),
    _count("is_small"),
    _blob("attributes"),
    Index("instance_identity", "sop_uid", unique=True),
    Index("instance_of_series", "series"),
)

SMALL_OBJECT = Table(
    "small_object",
    TABLES,
    Column("id", BIG, ForeignKey("instance.id"), primary_key=True),
    _blob("sealed"),
)
"""Objects too small for a file of their own, sealed like any other: one write and one fsync less each."""

SERIES_SOURCE = Table(
    "series_source",
    TABLES,
    Column("series", BIG, ForeignKey("series.id"), primary_key=True),
    Column("source", TEXT, primary_key=True),
)
"""Where the instances of a series came from (``archive.model.Source``)."""

FLAGGED = Table(
    "flagged",
    TABLES,
    Column("id", BIG, ForeignKey("instance.id"), primary_key=True),
    Column("reason", TEXT, primary_key=True),
    _text("severity"),
    _blob("findings"),
    _count("flagged_us"),
)
"""Instances that are stored and that somebody should look at: why, and what was found in them."""

DIGEST = Table(
    "digest",
    TABLES,
    Column("id", BIG, ForeignKey("instance.id"), primary_key=True),
    _blob("canonical"),
    _blob("clinical"),
    _blob("pixels"),
    _count("is_blank"),
    Index("digest_by_pixels", "pixels"),
)
"""What ``archive.integrity`` computes of an instance once it is stored, beside the SHA-256 of its bytes."""

SIGNATURE = Table(
    "signature",
    TABLES,
    Column("id", BIG, ForeignKey("instance.id"), primary_key=True),
    _text("validity"),
    _text("trust"),
    _count("checked_us"),
    _blob("report"),
)
"""What was found when the digital signatures of an instance were last checked; none for one without signatures."""

PEER = Table(
    "peer",
    TABLES,
    Column("aet", TEXT, primary_key=True),
    _text("rights"),
    _text("address"),
    _text("binding"),
    _text("fingerprint"),
    _text("subject"),
    _text("certificate"),
    _count("require_user"),
    _count("added_us"),
    _count("revoked_us"),
    Column("scope", TEXT, nullable=False, server_default=""),
)

TOKEN = Table(
    "token",
    TABLES,
    Column("name", TEXT, primary_key=True),
    _text("digest"),
    _text("rights"),
    _text("scope"),
    _count("added_us"),
    _count("expires_us"),
    _count("revoked_us"),
    Index("token_by_digest", "digest", unique=True),
)
"""Access tokens by the SHA-256 of their secret. Each has 256 random bits, so a fast hash gives nobody a guess."""

ACCOUNT = Table(
    "account",
    TABLES,
    Column("name", TEXT, primary_key=True),
    _text("passcode_hash"),
    _text("role"),
    _count("added_us"),
    _count("disabled_us"),
    Column("scope", TEXT, nullable=False, server_default=""),
)
"""People. ``role`` holds roles with commas between them; an empty hash is the hash of no passcode."""

PERSON_GROUP = Table("person_group", TABLES, Column("name", TEXT, primary_key=True), _text("scope"), _count("added_us"))
"""Named parts of the archive that several people share."""

MEMBERSHIP = Table(
    "membership",
    TABLES,
    Column("person", TEXT, primary_key=True),
    Column("person_group", TEXT, primary_key=True),
)

FACTOR = Table(
    "factor",
    TABLES,
    Column("person", TEXT, primary_key=True),
    Column("kind", TEXT, primary_key=True),
    _blob("sealed"),
    _count("added_us"),
    _count("step"),
)
"""Second factors, sealed under a key of the archive (``people.sealing``)."""

SESSION = Table(
    "session",
    TABLES,
    Column("digest", TEXT, primary_key=True),
    _text("person"),
    _text("state"),
    _text("bound"),
    _text("address"),
    _text("agent"),
    _count("created_us"),
    _count("used_us"),
    _count("ends_us"),
    _count("ended_us"),
    _count("proved_us"),
    Index("session_of_person", "person"),
)
"""Sessions of people by the SHA-256 of their secret, which has 256 random bits."""

SIGN_IN_LINK = Table(
    "sign_in_link",
    TABLES,
    Column("digest", TEXT, primary_key=True),
    _text("person"),
    _count("added_us"),
    _count("expires_us"),
    _count("used_us"),
)

IDENTITY = Table(
    "identity",
    TABLES,
    Column("issuer", TEXT, primary_key=True),
    Column("subject", TEXT, primary_key=True),
    _text("person"),
    _count("added_us"),
)
"""Who somebody of an identity provider is here. It stays: a name that somebody had is never somebody else's."""

ATTEMPT = Table("attempt", TABLES, Column("bucket", TEXT, primary_key=True), _count("forgiven_us"))
"""Failed attempts to sign in: what counts together, as a digest, and when all of it is forgiven."""

PASSKEY = Table(
    "passkey",
    TABLES,
    Column("credential", TEXT, primary_key=True),
    _text("person"),
    _text("name"),
    _text("rp_id"),
    _blob("public_key"),
    _count("counter"),
    _count("is_synced"),
    _count("added_us"),
    _count("used_us"),
    Index("passkey_of_person", "person"),
)
"""Passkeys by their credential id; ``public_key`` is a COSE key, ``rp_id`` the name that they are good for."""

RECOVERY_CODE = Table(
    "recovery_code",
    TABLES,
    Column("person", TEXT, primary_key=True),
    Column("digest", TEXT, primary_key=True),
    _count("added_us"),
    _count("used_us"),
)

SPENT_CHALLENGE = Table("spent_challenge", TABLES, Column("digest", TEXT, primary_key=True), _count("ends_us"))
"""Challenges of passkeys that were answered, until they would have ended by themselves."""

SHARE = Table(
    "share",
    TABLES,
    Column("number", BIG, primary_key=True, autoincrement=False),
    _text("study_uid"),
    _text("digest"),
    _text("code_mark"),
    _text("maker"),
    _text("recipient"),
    _text("reason"),
    _count("made_us"),
    _count("expires_us"),
    _count("revoked_us"),
    _text("revoked_by"),
    _count("wrong_codes"),
    _count("openings"),
    _count("opened_us"),
    Index("share_of_link", "digest", unique=True),
)
"""Studies shown to people without an account. No row ever goes; the study may."""

EMERGENCY = Table(
    "emergency",
    TABLES,
    Column("number", BIG, primary_key=True, autoincrement=False),
    _text("person"),
    _text("patient_id"),
    _text("issuer"),
    _text("reason"),
    _count("opened_us"),
    _count("ends_us"),
    _text("reviewed_by"),
    _count("reviewed_us"),
    _text("remark"),
    Index("emergency_of_person", "person", "ends_us"),
)
"""When somebody broke the glass: one patient, seen beyond his scope for a time. No row ever goes."""

PROPOSAL = Table(
    "proposal",
    TABLES,
    Column("number", BIG, primary_key=True, autoincrement=False),
    _text("matter"),
    _text("subject"),
    _text("proposer"),
    _text("reason"),
    _count("made_us"),
    _count("lapses_us"),
    _count("decided_us"),
    _text("decided_by"),
    _text("decision"),
    _text("remark"),
    Index("proposal_of_subject", "matter", "subject"),
)
"""What one person proposes and another one agrees to. No row ever goes."""

COMMITMENT = Table(
    "commitment",
    TABLES,
    Column("id", BIG, primary_key=True),
    _text("peer"),
    _text("transaction_uid"),
    _text("report"),
    _count("next_try_us"),
    _count("tries"),
    Index("commitment_due", "next_try_us"),
)

DESTROYED_KEY = Table("destroyed_key", TABLES, Column("key_id", LargeBinary, primary_key=True))
"""Keys that were destroyed with their study: none may ever come back."""

IMPORTED = Table("imported", TABLES, Column("source", LargeBinary, primary_key=True))

HELD = Table(
    "held",
    TABLES,
    Column("number", BIG, primary_key=True, autoincrement=False),
    _blob("object_id"),
    _text("sop_class"),
    _text("sop_uid"),
    _text("series_uid"),
    _text("study_uid"),
    _text("transfer_syntax"),
    _count("data_bytes"),
    _blob("sha256"),
    _count("received_us"),
    _text("reason"),
    _text("severity"),
    _text("sender"),
    _text("fingerprint"),
    _text("user_name"),
    _text("address"),
    _text("via"),
    _count("times"),
    _count("is_small"),
    _blob("findings"),
    _blob("sealed"),
    Index("held_same", "sha256"),
    Index("held_size", "data_bytes"),
)
"""The quarantine: no query looks here. ``number`` is never given twice; ``times`` says how often the object came;
``sealed`` is empty where it is a file."""

HELD_KEY = Table(
    "held_key",
    TABLES,
    Column("key_id", LargeBinary, primary_key=True),
    Column("held", BIG, ForeignKey("held.number"), nullable=True),
    _blob("wrapped"),
    _text("master_id"),
    Index("held_key_of", "held"),
)
"""One data key for each held object, kept like ``data_key``: destroyed by overwriting, ``held`` null then."""

HELD_REQUEST = Table(
    "held_request",
    TABLES,
    Column("held", BIG, ForeignKey("held.number"), primary_key=True, autoincrement=False),
    Column("what", TEXT, primary_key=True),
    _text("user_name"),
    _text("reason"),
    _count("asked_us"),
)
"""What one person has asked for and another one has to agree to."""

ALERT_SEEN = Table(
    "alert_seen",
    TABLES,
    Column("log", TEXT, primary_key=True),
    Column("seq", BIG, primary_key=True, autoincrement=False),
    _text("person"),
    _text("remark"),
    _count("seen_us"),
)
"""Alerts that somebody has seen to, by the place of their record in the trail."""

JOB = Table(
    "job",
    TABLES,
    Column("name", TEXT, primary_key=True),
    _text("kind"),
    _text("person"),
    _text("state"),
    _text("unit"),
    _text("result"),
    _count("started_us"),
    _count("said_us"),
    _count("ended_us"),
    _count("done"),
    _count("total"),
    Index("job_by_start", "started_us"),
)
"""Long work of commands: how far it is, as it said last."""
