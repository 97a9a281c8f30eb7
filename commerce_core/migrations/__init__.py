"""Schema migrations: Alembic, run by `commerce db upgrade` and never at web start.

Each owner (core, later every plugin) has a version table of its own, `commerce_migration_<owner>`. One advisory lock
lets several upgraders start at once: the second waits and finds nothing to do.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

OWNER = "core"
_LOCK = text("SELECT pg_advisory_lock(hashtext('commerce.migrations'))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtext('commerce.migrations'))")


class MigrationsPending(Exception):
    """The database is not at the revision that this code needs. Run `commerce db upgrade`."""


def alembic_config(connection: Connection | None = None) -> Config:
    """The Alembic configuration of the core, without an alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = f"commerce_migration_{OWNER}"
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to `revision`. Commits each migration; waits for another upgrader."""
    with engine.connect() as guard:
        guard.execute(text("SET statement_timeout = 0"))
        guard.execute(text("SET lock_timeout = 0"))
        guard.execute(text("SET idle_in_transaction_session_timeout = 0"))
        guard.execute(_LOCK)
        guard.commit()
        try:
            with engine.connect() as connection:
                connection.execute(text("SET statement_timeout = 0"))
                connection.commit()
                command.upgrade(alembic_config(connection), revision)
                connection.rollback()
                connection.invalidate()  # do not lend out a connection without time-outs
        finally:
            guard.execute(_UNLOCK)
            guard.commit()
            guard.invalidate()


def current_revision(connection: Connection) -> str | None:
    """The revision the database is at, or None when it is empty."""
    context = MigrationContext.configure(connection, opts={"version_table": f"commerce_migration_{OWNER}"})
    return context.get_current_revision()


def head_revision() -> str | None:
    """The revision this code needs."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def check(connection: Connection) -> None:
    """Raise MigrationsPending unless the database is at the revision that this code needs."""
    current, head = current_revision(connection), head_revision()
    if current != head:
        raise MigrationsPending(
            f"The database is at revision {current or 'none'}, this version needs {head}: run `commerce db upgrade`."
        )
