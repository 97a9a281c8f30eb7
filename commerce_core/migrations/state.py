"""What is in the database, and how it stands to the installed code. Reads, and locks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Text, column, func, literal, select, table, text, union_all

from commerce_core.migrations.history import history, requirement_problems
from commerce_core.migrations.owners import CORE, VERSION_TABLES, MigrationsError, Owner, belongs_to, in_order

State = Literal["up to date", "pending", "missing", "AHEAD", "ORPHAN"]

# From so many rows on, a status says what the planner believes.
_MANY_ROWS = 1_000_000


class MigrationsPending(MigrationsError):
    """The database is not at the revisions that this code needs."""


@dataclass(frozen=True, slots=True)
class TableSize:
    name: str
    rows: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({'' if self.exact else 'about '}{self.rows:,} rows)"


@dataclass(frozen=True, slots=True)
class OwnerState:
    """How the database stands to one owner's code.

    `missing`: nothing of it is there. `AHEAD`: a newer version of the code has been at work. `ORPHAN`: no such plugin
    is enabled, and its tables are still there.
    """

    name: str
    state: State
    revision: str | None
    head: str | None = None
    pending: tuple[str, ...] = ()


def current_revisions(connection: Connection) -> dict[str, str | None]:
    """The revision of every owner that has ever been in this database; None after its last one was taken back."""
    found = connection.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, :prefix)"
            " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        ),
        {"prefix": VERSION_TABLES},
    ).all()
    if not found:
        return {}
    version = column("version_num", Text)
    rows = connection.execute(
        union_all(*(select(literal(name), func.string_agg(version, ", ")).select_from(table(name)) for name in found))
    )
    return {name.removeprefix(VERSION_TABLES): revision for name, revision in rows}


def current_revision(connection: Connection, owner: Owner = CORE) -> str | None:
    """The revision the database is at, or None when there is nothing of this owner."""
    return current_revisions(connection).get(owner.name)


def head_revision(owner: Owner = CORE) -> str | None:
    """The revision this code needs."""
    return history(owner).head


def states(connection: Connection, owners: Sequence[Owner] = ()) -> list[OwnerState]:
    """The core, the owners in the order of their upgrades, and the orphans."""
    revisions = current_revisions(connection)
    named = [owner_state(owner, revisions) for owner in in_order(owners)]
    orphans = sorted(revisions.keys() - {owner.name for owner in named})
    return [*named, *(OwnerState(name, "ORPHAN", revisions[name]) for name in orphans)]


def owner_state(owner: Owner, revisions: dict[str, str | None]) -> OwnerState:
    """How one owner stands, in a database with these revisions."""
    code, revision = history(owner), revisions.get(owner.name)
    if revision is not None and revision not in code.titles:
        return OwnerState(owner.name, "AHEAD", revision, code.head)
    pending = code.after(revision)
    state: State = "up to date" if not pending else "missing" if revision is None else "pending"
    return OwnerState(owner.name, state, revision, code.head, pending)


def check(connection: Connection, owners: Sequence[Owner] = (), *, may_be_ahead: bool = False) -> None:
    """Raise MigrationsPending, naming all who are not, unless the database is at the revisions that this code needs.

    `may_be_ahead`: while the shop is upgraded, and after it was set back, the database is ahead of the code. Since a
    migration only adds, and takes away what no version needs any more, the code can live with that.
    """
    problems = requirement_problems(owners)
    found = states(connection, owners)
    waiting = [
        f"{owner.name} is missing and needs {owner.head}"
        if owner.state == "missing"
        else f"{owner.name} is at {owner.revision} and needs {owner.head}"
        for owner in found
        if owner.state in ("missing", "pending")
    ]
    if waiting:
        problems.append(f"The database has to be upgraded ({', '.join(waiting)}): run `commerce db upgrade`.")
    problems += [is_ahead(owner) for owner in found if owner.state == "AHEAD" and not may_be_ahead]
    if problems:
        raise MigrationsPending(" ".join(problems))


def is_ahead(owner: OwnerState) -> str:
    """What to say of an owner that is ahead."""
    return (
        f"The database is ahead of the installed code: {owner.name} is at {owner.revision}, and what is installed ends"
        f" at {owner.head or 'nothing'}; install the version that has it."
    )


def table_sizes(connection: Connection, name: str, *, exact: bool = False) -> list[TableSize]:
    """An owner's tables in the database, with their rows; of large ones the planner's estimate, unless `exact`."""
    estimates = connection.execute(
        text(
            "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
        )
    )
    sizes = {
        relation: TableSize(relation, rows, exact=False) for relation, rows in estimates if belongs_to(name, relation)
    }
    counted = [size.name for size in sizes.values() if exact or size.rows < _MANY_ROWS]
    if counted:
        rows = connection.execute(
            union_all(*(select(literal(relation), func.count()).select_from(table(relation)) for relation in counted))
        )
        sizes |= {relation: TableSize(relation, count) for relation, count in rows}
    return list(sizes.values())
