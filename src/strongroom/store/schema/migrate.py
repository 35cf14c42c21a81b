"""Bring an index to the current schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from strongroom.errors import StorageUnavailable


def upgrade(engine: Engine) -> bool:
    """Apply the migrations that are missing; returns whether there were any. Raises StorageUnavailable."""
    try:
        return _upgrade(engine)
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"the index cannot be opened: {type(error).__name__}") from error


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
