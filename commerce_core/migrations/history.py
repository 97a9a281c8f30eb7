"""What the installed code knows: each owner's revisions, in their order."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from commerce_core.migrations.owners import CORE, MigrationsRefused, Owner

_LONGEST_ID = 32  # what Alembic's version table takes


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of one owner, oldest first."""

    titles: dict[str, str]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.titles)

    @property
    def head(self) -> str | None:
        """The newest revision."""
        return next(reversed(self.titles), None)

    def after(self, revision: str | None) -> tuple[str, ...]:
        """What is pending in a database at `revision`, which has to be one of these, or None."""
        return self.ids if revision is None else self.ids[self.ids.index(revision) + 1 :]

    def reaches(self, current: str | None, wanted: str) -> bool:
        """Whether `wanted` is known to be in a database at `current`."""
        return current in self.titles and wanted in self.titles and self.ids.index(wanted) <= self.ids.index(current)


def alembic_config(owner: Owner = CORE, connection: Connection | None = None) -> Config:
    """Alembic's configuration for one owner, without an alembic.ini."""
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", _escaped(Path(__file__).parent))
    config.set_main_option("version_locations", _escaped(owner.folder))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=connection, owner=owner)
    return config


@cache
def history(owner: Owner) -> History:
    """The revisions of an owner's code. Raises MigrationsRefused unless they can be read and are one line."""
    scripts = ScriptDirectory.from_config(alembic_config(owner))
    try:
        newest_first = list(scripts.walk_revisions())
        heads = scripts.get_heads()
    except Exception as error:
        raise MigrationsRefused(f"{owner.name}: the revisions in {owner.folder} cannot be read: {error}") from error
    problems = []
    if len(heads) > 1:
        problems.append(f"it has two ends, {' and '.join(sorted(heads))}: let one come after the other")
    if len(newest_first) < sum(not path.name.startswith((".", "__init__")) for path in owner.folder.glob("*.py")):
        problems.append("two of its files have the same revision")
    for script in newest_first:
        if script.branch_labels or script.dependencies:
            problems.append(f"{script.revision} has branch_labels or depends_on: use REQUIRES")
        if len(script.revision) > _LONGEST_ID:
            problems.append(f"{script.revision} is longer than {_LONGEST_ID} characters")
    if problems:
        raise MigrationsRefused(f"{owner.name}: {'; '.join(problems)} ({owner.folder}).")
    return History({script.revision: script.doc for script in reversed(newest_first)})


def requirement_problems(owners: Iterable[Owner]) -> list[str]:
    """What the installed code cannot give: requirements of owners that are not there, or have no such revision."""
    named = {owner.name: owner for owner in (CORE, *owners)}
    problems = []
    for owner in named.values():
        for name, revision in owner.requires.items():
            if name not in named:
                problems.append(f"{owner.name} requires {name}, which is not enabled.")
            elif revision not in history(named[name]).titles:
                head = history(named[name]).head or "nothing"
                problems.append(f"{owner.name} requires {name} {revision}, and what is installed ends at {head}.")
    return problems


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
