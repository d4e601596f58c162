"""The revisions of the tables, forward only. `upgrade` runs the missing ones inside the caller's transaction."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from polyport.errors import StoreError


def upgrade(connection: sa.Connection, database: str) -> None:
    """Bring the database to the newest revision: all of the missing ones, or none.

    Raises `StoreError` when its revision is none of ours: a newer Polyport has written it.
    """
    config = _config()
    config.attributes["connection"] = connection
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in known_revisions(config):
        raise StoreError(
            f"The database {database} was written by a newer Polyport (revision {revision}). "
            "Use that version, or another --home."
        )
    command.upgrade(config, "head")


def known_revisions(config: Config | None = None) -> set[str]:
    """All revisions that this program can start from."""
    return {script.revision for script in ScriptDirectory.from_config(config or _config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
