"""For those who write migrations: a new revision out of what the models have and the database has not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from commerce_core.database import Base
from commerce_core.migrations.history import History, alembic_config, history
from commerce_core.migrations.owners import MigrationsRefused, Owner
from commerce_core.migrations.state import MigrationsPending, current_revisions, owner_state


def drift(connection: Connection, owner: Owner) -> list[str]:
    """In what an owner's tables in the database differ from its models; nothing, when migrations and models agree."""
    owner.import_models()
    context = MigrationContext.configure(
        connection,
        opts={"target_metadata": Base.metadata, "version_table": owner.version_table, **owner.filters()},
    )
    return [str(difference) for difference in compare_metadata(context, Base.metadata)]


def write_revision(connection: Connection, owner: Owner, message: str, *, empty: bool = False) -> Path:
    """Write the owner's next revision into its own folder: what its models have changed, or an `empty` one.

    Raises MigrationsPending when the database is not at the owner's newest revision, and MigrationsRefused when nothing
    has changed.
    """
    state = owner_state(owner, current_revisions(connection))
    if state.revision != state.head:
        raise MigrationsPending(
            f"{owner.name} is at {state.revision or 'nothing'} in this database, and not at {state.head}: "
            "run `commerce db upgrade` before you compare."
        )
    owner.import_models()
    written = command.revision(
        alembic_config(owner, connection),
        message,
        autogenerate=not empty,
        rev_id=_next_id(history(owner)),
        process_revision_directives=None if empty else _nothing_for_nothing,
    )
    connection.rollback()
    if written is None or isinstance(written, list):
        raise MigrationsRefused(f"{owner.name}: the models are as the database is. --empty writes one to fill by hand.")
    history.cache_clear()
    return Path(written.path)


def _nothing_for_nothing(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Have Alembic write no file without operations in it."""
    if directives[0].upgrade_ops.is_empty():
        directives.clear()


def _next_id(code: History) -> str:
    """One more than the newest: "0007" after "0006"."""
    numbers: Sequence[int] = [int(revision) for revision in code.ids if revision.isdigit()]
    return f"{max(numbers, default=0) + 1:04}"
