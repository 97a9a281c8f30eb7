"""What a plugin's models may be, so that a shop can live on without the plugin. Each answers readable problems."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Enum, ForeignKeyConstraint, MetaData, Sequence, Table

from commerce_core.migrations.owners import core_tables

# The core's tables that others may refer to: their primary keys stay as they are within a major version.
ANCHORS = ("product", "variant", "cart", "orders", "order_line", "users")
_ON_DELETE = ("CASCADE", "SET NULL")


def foreign_tables(metadata_before: Collection[str], metadata_after: Collection[str], name: str) -> list[str]:
    """The tables that came with a plugin's models, and are not called after it.

    Give the names (`Base.metadata.tables`) from before and after the models were imported.
    """
    return [
        f"the table {table} should be called {name}_{table}: a plugin's tables begin with its name"
        for table in sorted(set(metadata_after) - set(metadata_before))
        if not table.startswith(f"{name}_")
    ]


def foreign_types(metadata: MetaData, name: str) -> list[str]:
    """The enum types and sequences of a plugin's tables that are not called after it."""
    made: set[tuple[str, str]] = set()
    for column in (column for table in _tables_of(metadata, name) for column in table.columns):
        if isinstance(column.type, Enum) and column.type.native_enum:
            made.add(("type", column.type.name or ""))
        if isinstance(column.default, Sequence):
            made.add(("sequence", column.default.name))
    return [
        f"the {kind} {thing} should be called {name}_{thing}: a purge finds it by its name"
        for kind, thing in sorted(made)
        if not thing.startswith(f"{name}_")
    ]


def forbidden_foreign_keys(metadata: MetaData, name: str, requires: Collection[str] = ()) -> list[str]:
    """The foreign keys of a plugin's tables that would hold up the core, now or once the plugin is gone.

    They may lead to the plugin's own tables, to the primary keys of the core's ANCHORS, and to tables of plugins that
    it `requires`; out of its own tables always with ON DELETE CASCADE or SET NULL.
    """
    return [
        f"the foreign key {table.name}.{key.column_keys[0]} to {key.elements[0].target_fullname} {problem}"
        for table in _tables_of(metadata, name)
        for key in sorted(table.foreign_key_constraints, key=lambda key: list(key.column_keys))
        for problem in _problems(key, name, requires)
    ]


def _problems(key: ForeignKeyConstraint, name: str, requires: Collection[str]) -> list[str]:
    target, _, column = key.elements[0].target_fullname.rpartition(".")
    if target.startswith(f"{name}_"):
        return []
    problems = []
    if target in core_tables():
        if target not in ANCHORS:
            problems.append(f"may not be: of the core's tables, refer to {', '.join(ANCHORS)} only")
        elif column != "id":
            problems.append("should lead to the primary key, id")
    elif target.partition("_")[0] not in requires:
        problems.append(f"may not be: {name} does not require {target.partition('_')[0]}")
    if (key.ondelete or "").upper() not in _ON_DELETE:
        problems.append("needs ondelete='CASCADE' or 'SET NULL', or the row could not be deleted any more")
    elif (key.ondelete or "").upper() == "SET NULL" and any(not column.nullable for column in key.columns):
        problems.append("has ondelete='SET NULL', and the column is not nullable")
    return problems


def _tables_of(metadata: MetaData, name: str) -> list[Table]:
    return [table for _, table in sorted(metadata.tables.items()) if table.name.startswith(f"{name}_")]
