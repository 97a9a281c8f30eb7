"""Doing migrations: one upgrader at a time, one revision at a time, and never for long in front of those who sell.

A statement that changes a table waits until nobody uses the table, and whoever comes after it waits behind it. So it
waits two seconds at the most, lets everybody pass, and tries again.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from alembic import command
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from commerce_core.migrations.history import alembic_config, history, requirement_problems
from commerce_core.migrations.owners import MigrationsError, MigrationsRefused, Owner, in_order
from commerce_core.migrations.state import current_revisions, is_ahead, owner_state

# Told to whoever watches, one line at a time.
Report = Callable[[str], None]

_TRY_LOCK = text("SELECT pg_try_advisory_lock(hashtext('commerce.migrations'))")
_LOCK = text("SELECT pg_advisory_lock(hashtext('commerce.migrations'))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtext('commerce.migrations'))")
# A lock not had in time, and a deadlock: it may simply be tried again.
_IN_THE_WAY = frozenset({"55P03", "40P01"})


class MigrationFailed(MigrationsError):
    """A migration raised, and was rolled back. Those before it are done."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a migration waits for a lock, and how long, in seconds, it stands back after each time in vain."""

    lock_timeout_ms: int = 2_000
    pauses: Sequence[float] = (1, 2, 4, 8, 16)
    pause: Callable[[float], None] = time.sleep


def silent(_line: str) -> None:
    """Reports to nobody."""


def upgrade(
    engine: Engine, owners: Sequence[Owner] = (), *, report: Report = silent, patience: Patience | None = None
) -> list[tuple[str, str]]:
    """Bring the core, and then the owners, to their newest revisions; what was done, as (owner, revision).

    Commits each migration; waits for another upgrader. Raises MigrationsRefused before anything is done when what is
    installed does not fit together; MigrationFailed for a migration that raised, which ends it. An owner that is ahead
    of its code, and those that need it, are left alone, and told at the end by a MigrationsRefused.
    """
    ordered = in_order(owners)
    problems = requirement_problems(owners)
    for owner in ordered:
        history(owner)
    if problems:
        raise MigrationsRefused("Nothing was done. " + " ".join(problems))
    done: list[tuple[str, str]] = []
    with only_upgrader(engine, report), migrating(engine, patience or Patience()) as migration:
        for owner in ordered:
            unmet = _unmet(owner, ordered, migration.connection)
            if unmet and owner.name == "core":
                raise MigrationsRefused(f"Nothing was done. {unmet}")
            if unmet:
                problems.append(unmet)
            else:
                done += migration.upgrade(owner, report)
    if problems:
        raise MigrationsRefused(" ".join(problems))
    return done


def _unmet(owner: Owner, owners: Sequence[Owner], connection: Connection) -> str | None:
    """Why an owner has to be left alone, in the database as it is now."""
    revisions = current_revisions(connection)
    connection.rollback()
    state = owner_state(owner, revisions)
    if state.state == "AHEAD":
        return is_ahead(state)
    for name, revision in owner.requires.items():
        required = next(other for other in owners if other.name == name)
        if not history(required).reaches(revisions.get(name), revision):
            at = revisions.get(name) or "nothing"
            return f"{owner.name} was not upgraded: it requires {name} {revision}, and the database has {at}."
    return None


@contextmanager
def only_upgrader(engine: Engine, report: Report = silent) -> Iterator[None]:
    """Waits until no other process migrates, and keeps others from it."""
    with engine.connect() as guard:
        guard.execute(text("SET statement_timeout = 0"))
        guard.execute(text("SET lock_timeout = 0"))
        guard.execute(text("SET idle_in_transaction_session_timeout = 0"))
        if not guard.scalar(_TRY_LOCK):
            report("Another process is at it: waiting.")
            guard.execute(_LOCK)
        guard.commit()
        try:
            yield
        finally:
            guard.execute(_UNLOCK)
            guard.commit()
            guard.invalidate()  # do not lend out a connection without time-outs


@dataclass(frozen=True, slots=True)
class Migration:
    """A connection to migrate with."""

    connection: Connection
    patience: Patience

    def upgrade(self, owner: Owner, report: Report) -> list[tuple[str, str]]:
        """Bring one owner to its newest revision. Commits each."""
        code = history(owner)
        revisions = current_revisions(self.connection)
        self.connection.rollback()
        done = []
        for revision in code.after(revisions.get(owner.name)):
            report(f"{owner.name} {revision}: {code.titles[revision]}")
            self._run(owner, revision, command.upgrade, revision, report)
            done.append((owner.name, revision))
        return done

    def downgrade(self, owner: Owner, report: Report) -> None:
        """Take all of an owner's revisions back, newest first. Commits each."""
        ids = history(owner).ids
        revisions = current_revisions(self.connection)
        self.connection.rollback()
        current = revisions.get(owner.name)
        applied = ids[: ids.index(current) + 1] if current is not None else ()
        for position, revision in reversed(list(enumerate(applied))):
            before = applied[position - 1] if position else "base"
            report(f"{owner.name} {revision}: taking it back")
            self._run(owner, revision, command.downgrade, before, report)

    def patiently(self, what: str, action: Callable[[], None], report: Report) -> None:
        """Do it; when it gets no lock, or a deadlock, stand back and do it again."""
        for pause in self.patience.pauses:
            try:
                return action()
            except DBAPIError as error:
                self.connection.rollback()
                if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
                    raise
                report(f"{what} waits for others to let go of a table: again in {pause:g} s")
                self.patience.pause(pause)
        return action()

    def _run(self, owner: Owner, revision: str, step: Callable[..., None], target: str, report: Report) -> None:
        """Take one step, which is about `revision`, to `target`."""

        def action() -> None:
            step(alembic_config(owner, self.connection), target)
            self.connection.rollback()  # only reads are left

        try:
            self.patiently(f"{owner.name} {revision}", action, report)
        except Exception as error:
            self.connection.rollback()
            revisions = current_revisions(self.connection)
            at = ", ".join(f"{name} {revision or 'nothing'}" for name, revision in revisions.items()) or "nothing"
            raise MigrationFailed(
                f"{owner.name} {revision}{_place(error, owner)} failed, and was rolled back: {_said(error)}"
                f" The database has {at}; go on with the same command once it is mended."
            ) from error


@contextmanager
def migrating(engine: Engine, patience: Patience) -> Iterator[Migration]:
    """A connection whose statements may take as long as they like, but may not wait long for a lock."""
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SELECT set_config('lock_timeout', :ms, false)"), {"ms": str(patience.lock_timeout_ms)})
        connection.commit()
        try:
            yield Migration(connection, patience)
        finally:
            connection.rollback()
            connection.invalidate()  # do not lend out a connection without time-outs


def _place(error: Exception, owner: Owner) -> str:
    """The line of a revision that raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(f"{owner.folder}/"):
            return f" ({frame.filename}:{frame.lineno})"
    return ""


def _said(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = str(cause).strip().partition("\n")[0]
    return f"{type(cause).__name__}: {line.rstrip('.')}."
