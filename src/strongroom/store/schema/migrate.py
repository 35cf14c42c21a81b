"""Bring an index to the current schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from strongroom.errors import StorageUnavailable
from strongroom.store.database import said_by
from strongroom.store.schema.tables import META


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


def _upgrade(engine: Engine) -> bool:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    head = ScriptDirectory.from_config(settings).get_current_head()
    with engine.begin() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return False
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
    return True
