"""Bring an index to the current schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from strongroom.errors import StorageUnavailable
from strongroom.store.database import said_by
from strongroom.store.schema.tables import META

_NOTED = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num", sqlalchemy.Text))


def upgrade(engine: Engine) -> bool:
    """Apply the migrations that are missing; returns whether there were any. Raises StorageUnavailable."""
    try:
        return _upgrade(engine)
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"the index cannot be opened: {said_by(error)}") from error


def is_in_use(engine: Engine) -> bool:
    """Whether an archive has ever used this database. Raises StorageUnavailable, ConfigError as connecting does."""
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(META.name):
                return False
            return connection.execute(sqlalchemy.select(META.c.name).limit(1)).first() is not None
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"the index cannot be opened: {said_by(error)}") from error


def newest_revision() -> str:
    """The revision that the code is of: that of the last migration, by the numbers that their names begin with."""
    return max(path.name.partition("_")[0] for path in (Path(__file__).parent / "versions").glob("[0-9]*_*.py"))


def _upgrade(engine: Engine) -> bool:
    with engine.begin() as connection:
        if _revisions(connection) == [newest_revision()]:
            return False
        # Only now: to import Alembic and all migrations takes longer than to open an archive.
        from alembic import command
        from alembic.config import Config

        settings = Config()
        settings.set_main_option("script_location", str(Path(__file__).parent))
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
    return True


def _revisions(connection: Connection) -> list[str]:
    """What Alembic has noted in the database; none if it has never been there."""
    if not sqlalchemy.inspect(connection).has_table(_NOTED.name):
        return []
    return list(connection.execute(sqlalchemy.select(_NOTED.c.version_num)).scalars())
