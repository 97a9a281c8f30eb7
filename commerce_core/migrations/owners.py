"""Who has migrations: the core, and each plugin with tables. Nothing here touches the database.

What belongs to whom is told by names: a plugin's tables, sequences, types and functions begin with its name and "_",
its revisions are counted in `commerce_migration_<plugin>`. Names of plugins have no "_", so nothing is of two.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from sqlalchemy import Table

VERSION_TABLES = "commerce_migration_"
_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
# Beside the first words of the core's tables.
_RESERVED = frozenset({"core", "commerce", "alembic", "pg"})


class MigrationsError(Exception):
    """Something about migrations that whoever runs the shop, or writes the plugin, can mend."""


class MigrationsRefused(MigrationsError):
    """It cannot be done, and nothing was done to the owner it is about."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One who has tables, and migrations of their own.

    `folder` holds the revisions, `models` names the module that declares the tables, and `requires` says which revision
    of other owners has to be there before any of these: `{"core": "0020"}`.
    """

    name: str
    folder: Path
    models: str | None = None
    requires: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def version_table(self) -> str:
        return VERSION_TABLES + self.name

    def owns(self, table: str) -> bool:
        """Whether a table of this name is this owner's."""
        return belongs_to(self.name, table)

    def filters(self) -> dict[str, Callable[..., bool]]:
        """Options for Alembic: compare this owner's tables, in the database and in the models, with no others."""

        def include_name(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "table" or self.owns(str(name))

        def include_object(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
            return kind != "table" or self.owns(str(name))

        return {"include_name": include_name, "include_object": include_object}

    def import_models(self) -> None:
        """Have this owner's tables, and the core's, in the metadata."""
        for module in ("commerce_core.models", self.models):
            if module is not None:
                importlib.import_module(module)


CORE = Owner("core", Path(__file__).parent / "versions")


def owner_of_plugin(name: str, migrations: str, models: str | None = None) -> Owner:
    """What a plugin declares: the package of its revisions, with its `REQUIRES`, and the module of its models.

    Imports the package, and not the models. Raises MigrationsRefused when one of them cannot be used.
    """
    refuse_core_name(name)
    package = importlib.import_module(migrations)
    folders: Sequence[str] = list(getattr(package, "__path__", ()))
    if len(folders) != 1:
        raise MigrationsRefused(f"{name}: {migrations} should be one folder with an __init__.py and the revisions.")
    requires: Any = getattr(package, "REQUIRES", {})
    if not (isinstance(requires, Mapping) and all(isinstance(part, str) for pair in requires.items() for part in pair)):
        raise MigrationsRefused(f'{name}: REQUIRES in {migrations} should be such as {{"core": "0020"}}.')
    return Owner(name, Path(folders[0]), models, dict(requires))


def refuse_core_name(name: str) -> None:
    """Raise MigrationsRefused unless a plugin may be called so: its tables must not look like the core's."""
    if not _NAME.fullmatch(name):
        raise MigrationsRefused(f"{name!r} is no name of a plugin: 2 to 31 of a-z and 0-9, a letter first.")
    if name in _RESERVED | {table.partition("_")[0] for table in core_tables()}:
        raise MigrationsRefused(f"{name} is a name of the core's.")


def belongs_to(name: str, table: str) -> bool:
    """Whether a table is of the owner of this name."""
    return table in core_tables() if name == CORE.name else table.startswith(f"{name}_")


@cache
def core_tables() -> frozenset[str]:
    """The names of the core's tables, also where plugins have put theirs into the same metadata."""
    from commerce_core.database import Base

    importlib.import_module("commerce_core.models")
    return frozenset(
        mapper.local_table.name
        for mapper in Base.registry.mappers
        if isinstance(mapper.local_table, Table) and mapper.class_.__module__.partition(".")[0] == "commerce_core"
    )


def in_order(owners: Iterable[Owner]) -> list[Owner]:
    """The core, and the owners, each after those it requires. Raises MigrationsRefused for a circle."""
    named = {owner.name: owner for owner in (CORE, *owners)}
    try:
        order = TopologicalSorter(
            {name: [*owner.requires, *(["core"] if name != "core" else [])] for name, owner in named.items()}
        )
        return [named[name] for name in order.static_order() if name in named]
    except CycleError as error:
        raise MigrationsRefused(f"These require each other: {', '.join(error.args[1][1:])}.") from None
