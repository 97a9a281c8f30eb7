"""Little plugins: written into a folder, put on the path, imported, and taken away again."""

from __future__ import annotations

import importlib
import itertools
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

from commerce_core.database import Base
from commerce_core.migrations import CORE, Owner, head_revision, owner_of_plugin
from commerce_core.migrations.owners import core_tables

LOYALTY_MODELS = """
    entry = Table(
        "loyalty_entry", Base.metadata,
        Column("order_id", Uuid, ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
        Column("points", Integer, nullable=False),
    )
"""
LOYALTY = {
    "0001": """
        op.create_table(
            "loyalty_entry",
            sa.Column("order_id", sa.Uuid(), sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True),
            sa.Column("points", sa.Integer(), nullable=False),
        )
    """
}
LOYALTY_DOWN = {"0001": 'op.drop_table("loyalty_entry")'}

# One that has also a type, a sequence, a function and a view; and whose way back forgets all of them.
GIFTCARDS_MODELS = """
    card = Table(
        "giftcards_card", Base.metadata,
        Column("code", Text, primary_key=True),
        Column("state", Enum("new", "used", name="giftcards_state"), nullable=False),
        Column("user_id", Uuid, ForeignKey("users.id", ondelete="SET NULL")),
    )
"""
GIFTCARDS = {
    "0001": """
        op.create_table(
            "giftcards_card",
            sa.Column("code", sa.Text(), primary_key=True),
            sa.Column("state", sa.Enum("new", "used", name="giftcards_state"), nullable=False),
            sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="SET NULL")),
        )
        op.execute("CREATE SEQUENCE giftcards_number")
        op.execute("CREATE FUNCTION giftcards_one(giftcards_state) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        op.execute("CREATE VIEW giftcards_used AS SELECT * FROM giftcards_card WHERE state = 'used'")
    """
}
GIFTCARDS_DOWN = {"0001": 'op.execute("DROP VIEW giftcards_used"); op.drop_table("giftcards_card")'}


class Packages:
    """What is installed. Each installation has a folder of its own, as versions of a distribution have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._installed: dict[str, Path] = {}

    def loyalty(self, requires: Mapping[str, str] | None = None, **more: str) -> Owner:
        """A plugin whose tables refer to orders; `more` are its later revisions: `_0002="op.execute(...)"`."""
        later = {number.removeprefix("_"): body for number, body in more.items()}
        return self.install("loyalty", LOYALTY_MODELS, LOYALTY | later, LOYALTY_DOWN, requires)

    def giftcards(self, requires: Mapping[str, str] | None = None) -> Owner:
        return self.install("giftcards", GIFTCARDS_MODELS, GIFTCARDS, GIFTCARDS_DOWN, requires)

    def install(
        self,
        name: str,
        models: str,
        upgrades: Mapping[str, str],
        downgrades: Mapping[str, str] | None = None,
        requires: Mapping[str, str] | None = None,
    ) -> Owner:
        """Write the package `commerce_<name>` and have it imported; one that was there before is replaced."""
        self.uninstall(name)
        root = self._folder / f"site {next(self._numbers)}%"  # as folders may be called
        package = root / f"commerce_{name}"
        (package / "migrations").mkdir(parents=True)
        (package / "__init__.py").touch()
        imports = "from sqlalchemy import Column, Enum, ForeignKey, Integer, Table, Text, Uuid\n"
        (package / "models.py").write_text(f"{imports}from commerce_core.database import Base\n{dedent(models)}")
        (package / "migrations" / "__init__.py").write_text(f"REQUIRES = {dict(requires or {})!r}\n")
        for before, number in zip([None, *upgrades], upgrades, strict=False):
            (package / "migrations" / f"{number}_step.py").write_text(
                revision(number, before, upgrades[number], (downgrades or {}).get(number, "pass"))
            )
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
        self._installed[name] = root
        return owner_of_plugin(name, f"commerce_{name}.migrations", f"commerce_{name}.models")

    def uninstall(self, name: str) -> None:
        """The package is gone, and so is what it has put into this process."""
        root = self._installed.pop(name, None)
        if root is None:
            return
        sys.path.remove(str(root))
        shutil.rmtree(root)
        for module in [module for module in sys.modules if module.partition(".")[0] == f"commerce_{name}"]:
            del sys.modules[module]
        for table in Base.metadata.sorted_tables:
            if table.name.startswith(f"{name}_") and table.name not in core_tables():
                Base.metadata.remove(table)

    def uninstall_all(self) -> None:
        for name in list(self._installed):
            self.uninstall(name)

    def newer_core(self) -> Owner:
        """The core as a later version has it, with one more revision, 9999."""
        folder = self._folder / f"core-{next(self._numbers)}"
        shutil.copytree(CORE.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "9999_step.py").write_text(
            revision("9999", head_revision(), 'op.execute("CREATE TABLE note ()")', "pass")
        )
        return Owner("core", folder)


def revision(number: str, before: str | None, upgrade: str, downgrade: str) -> str:
    return (
        f'"""Step {number}"""\nimport sqlalchemy as sa\nfrom alembic import op\n'
        f"revision = {number!r}\ndown_revision = {before!r}\n"
        f"def upgrade():\n{indent(dedent(upgrade).strip(), '    ')}\n"
        f"def downgrade():\n{indent(dedent(downgrade).strip(), '    ')}\n"
    )
