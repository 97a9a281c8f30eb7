"""`commerce search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from commerce_search import indexing
from sqlalchemy import Engine, update

from commerce_core.catalog.models import Product
from commerce_core.cli import main
from commerce_core.database import transaction

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, engine: Engine, tmp_path: Path) -> Run:
    """`run("reindex", "--fresh")` as on a command line."""
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "commerce.plugins = search"]
    url = database_url.replace("%", "%%")
    ini.write_text(
        "\n".join([*lines, "log.level = error", f"sqlalchemy.url = {url}", f"search.path = {tmp_path}/search", ""])
    )
    return lambda command, *options: CliRunner().invoke(main, ["search", command, str(ini), *options])


def test_an_index_is_built_looked_at_compared_and_mended(
    run: Run, engine: Engine, make_variant: Callable[..., UUID], product_of: Callable[[UUID], UUID]
) -> None:
    variants = [make_variant() for _ in range(3)]
    none = run("status")
    assert (none.exit_code, "Error: IndexMissing" in none.output) == (1, True)
    built = run("reindex")
    assert (built.exit_code, "3 products are indexed." in built.stdout) == (0, True), built.output
    assert run("status").stdout.startswith("whoosh: 3 of 3 products, 0.0 MB.")
    assert (run("check").exit_code, run("check").stdout) == (0, "The index is as the database.\n")
    with transaction(engine) as session:
        session.execute(
            update(Product).where(Product.id == product_of(variants[0])).values(name="Renamed past the services")
        )
    said = "0 products were missing, 1 were outdated, 0 should not have been there"
    assert (run("check", "--dry-run").exit_code, run("check", "--dry-run").stdout) == (1, f"{said}.\n")
    assert run("check").stdout == f"{said}; mended.\n"
    assert run("check").exit_code == 0
    assert run("reindex", "--fresh").exit_code == 0


def test_who_builds_while_another_does_is_told(run: Run, engine: Engine) -> None:
    with indexing._only_builder(engine):
        refused = run("reindex")
    assert "another process is building an index; wait for it." in refused.output
    assert refused.exit_code == 1
