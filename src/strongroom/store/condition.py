"""What is known of the condition of one stored instance: why somebody should look at it, and its digital signatures."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Dialect

from strongroom.archive.model import Condition, Flagged
from strongroom.store.database import Sql
from strongroom.store.schema.tables import FLAGGED, INSTANCE, SIGNATURE


def condition_of(cursor: Any, dialect: Dialect, sop_uid: str) -> Condition:
    """The condition of the instance of that SOP Instance UID; nothing is known of one that is not here."""
    flags, signatures = _statements(dialect)
    found = flags.run(cursor, uid=sop_uid).fetchall()
    checked = signatures.run(cursor, uid=sop_uid).fetchone() or ("", "")
    return Condition(tuple(Flagged(*row) for row in found), *checked)


@lru_cache(4)
def _statements(dialect: Dialect) -> tuple[Sql, Sql]:
    of_instance = INSTANCE.c.sop_uid == bindparam("uid")
    flags = select(FLAGGED.c.reason, FLAGGED.c.severity, FLAGGED.c.flagged_us).join_from(FLAGGED, INSTANCE)
    signatures = select(SIGNATURE.c.validity, SIGNATURE.c.trust).join_from(SIGNATURE, INSTANCE)
    ordered = flags.where(of_instance).order_by(FLAGGED.c.flagged_us, FLAGGED.c.reason)
    return Sql(ordered, dialect), Sql(signatures.where(of_instance), dialect)
