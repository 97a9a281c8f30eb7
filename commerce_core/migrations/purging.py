"""Taking out of the database what a plugin has put there, with the plugin's code or, when it is gone, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from commerce_core.migrations.history import history
from commerce_core.migrations.owners import VERSION_TABLES, MigrationsError, MigrationsRefused, Owner, refuse_core_name
from commerce_core.migrations.running import Migration, Patience, Report, migrating, only_upgrader, silent
from commerce_core.migrations.state import TableSize, current_revisions, table_sizes

# What is called after a plugin: (word for DROP, name), in an order in which it can be dropped. What belongs to an
# extension of PostgreSQL is never a plugin's.
_OBJECTS = """
WITH here AS (SELECT current_schema()::regnamespace AS schema)
SELECT drop_as, name FROM (
    SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
        AS drop_as, oid::regclass::text AS name, relname AS plain, tableoid AS class, oid,
        CASE relkind WHEN 'v' THEN 1 WHEN 'm' THEN 1 WHEN 'S' THEN 3 ELSE 2 END AS position
    FROM pg_class, here WHERE relnamespace = schema AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
        oid::regprocedure::text, proname, tableoid, oid, 4
    FROM pg_proc, here WHERE pronamespace = schema
    UNION ALL
    SELECT CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, oid::regtype::text, typname, tableoid, oid, 5
    FROM pg_type, here WHERE typnamespace = schema AND (typtype IN ('d', 'e')
        OR typtype = 'c' AND EXISTS (SELECT FROM pg_class WHERE oid = typrelid AND relkind = 'c'))
) AS objects
WHERE starts_with(plain, :prefix)
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = objects.oid AND deptype = 'e')
ORDER BY position, name
"""

_REFERENCES = """
SELECT other.relname AS from_table, ours.relname AS to_table
FROM pg_constraint
JOIN pg_class AS other ON other.oid = conrelid
JOIN pg_class AS ours ON ours.oid = confrelid
WHERE contype = 'f' AND ours.relnamespace = current_schema()::regnamespace AND starts_with(ours.relname, :prefix)
    AND NOT (other.relnamespace = ours.relnamespace AND starts_with(other.relname, :prefix))
ORDER BY other.relname, ours.relname
"""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a plugin has in the database: the revision it is at, and its tables with all their rows counted."""

    revision: str | None
    tables: Sequence[TableSize]


def belongings(connection: Connection, name: str) -> Belongings:
    """What a purge of this plugin would take away.

    Raises MigrationsRefused for a name of the core's, when there is nothing, and when another's table refers to it.
    """
    refuse_core_name(name)
    revisions = current_revisions(connection)
    tables = table_sizes(connection, name, exact=True)
    if name not in revisions and not _objects(connection, name):
        raise MigrationsRefused(f"There is nothing of {name} in this database.")
    references = connection.execute(text(_REFERENCES), {"prefix": f"{name}_"}).all()
    if references:
        named = ", ".join(f"{reference.from_table} to {reference.to_table}" for reference in references)
        raise MigrationsRefused(f"Others refer to what {name} has: {named}. Purge those first.")
    return Belongings(revisions.get(name), tables)


def purge(
    engine: Engine, name: str, owner: Owner | None = None, *, report: Report = silent, patience: Patience | None = None
) -> None:
    """Drop everything of a plugin, for good. Commits; waits for an upgrader.

    With its code, its migrations are taken back first. What is left, or all of it when the code is gone (or older than
    the database), is dropped by name, in one transaction with its version table. Raises what `belongings` raises.
    """
    with only_upgrader(engine, report), migrating(engine, patience or Patience()) as migration:
        found = belongings(migration.connection, name)
        migration.connection.rollback()
        if owner is not None and found.revision in history(owner).titles:
            try:
                migration.downgrade(owner, report)
            except MigrationsError as error:
                raise type(error)(f"{error} Without its code (--by-name) it can be purged, too.") from error
        migration.patiently(f"dropping {name}", lambda: _drop(migration, name, report), report)


def _drop(migration: Migration, name: str, report: Report) -> None:
    objects = _objects(migration.connection, name)
    # Tables at once: they may refer to each other.
    tables = [quoted for kind, quoted in objects if kind == "TABLE"]
    statements = [f"DROP {kind} IF EXISTS {quoted}" for kind, quoted in objects if kind != "TABLE"]
    if tables:
        after_views = sum(kind.endswith("VIEW") for kind, _ in objects)
        statements.insert(after_views, f"DROP TABLE {', '.join(tables)}")
    statements.append(f"DROP TABLE IF EXISTS {VERSION_TABLES}{name}")
    try:
        for statement in statements:
            migration.connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "2BP01":  # something else depends on it
            raise
        migration.connection.rollback()
        said = " ".join(str(error.orig).splitlines())
        raise MigrationsRefused(f"{name} cannot be dropped: {said}") from error
    migration.connection.commit()
    for statement in statements:
        report(statement)


def _objects(connection: Connection, name: str) -> list[tuple[str, str]]:
    """The word for DROP and the quoted name of each, in an order in which they can be dropped."""
    return [(row.drop_as, row.name) for row in connection.execute(text(_OBJECTS), {"prefix": f"{name}_"})]
