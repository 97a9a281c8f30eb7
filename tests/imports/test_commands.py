"""Files in and out on the command line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from commerce_core.cli import main
from commerce_core.testing import assert_stock_adds_up

from .conftest import as_csv

TEE = {"slug": "tee", "name": "Tee", "status": "active", "sku": "TEE-1", "currency": "USD", "price": "15.00"}


@pytest.fixture
def run(engine: Engine, database_url: str, tmp_path: Path) -> Callable[..., Result]:
    """`run("catalogue", "import", file)`: the command, on the .ini file of this test's shop."""
    ini = tmp_path / "shop.ini"
    lines = ["[app:main]", "use = egg:commerce-core", "commerce.environment = development", "log.level = error"]
    ini.write_text("\n".join([*lines, f"sqlalchemy.url = {database_url.replace('%', '%%')}", ""]))
    return lambda *arguments: CliRunner().invoke(main, [*map(str, arguments), str(ini)], catch_exceptions=False)


def test_there_and_back(run: Callable[..., Result], tmp_path: Path, engine: Engine) -> None:
    file, exported = tmp_path / "in.csv.gz", tmp_path / "out.csv"
    file.write_bytes(gzip.compress(as_csv(TEE)))
    foretold = run("catalogue", "import", "--dry-run", file)
    assert "variants: 1 created, 0 updated, 0 unchanged (nothing was written)" in foretold.output
    assert "variants: 1 created, 0 updated, 0 unchanged" in run("catalogue", "import", file).output
    assert "out.csv: 1 row" in run("catalogue", "export", exported).output
    assert "variants: 0 created, 0 updated, 1 unchanged" in run("catalogue", "import", exported).output
    levels = tmp_path / "stock.csv"
    levels.write_bytes(b"sku,on_hand\nTEE-1,3\n")
    assert "levels: 0 created, 1 updated, 0 unchanged" in run("stock", "import", levels).output
    run("stock", "export", levels)
    assert levels.read_bytes() == b"sku,on_hand\r\nTEE-1,3\r\n"
    assert "The stock adds up" in run("stock", "verify").output
    with engine.connect() as connection:
        filed = connection.execute(text("SELECT action, actor FROM audit_log ORDER BY id")).all()
    assert [tuple(line) for line in filed] == [
        ("products.import", "command line"),
        ("products.import", "command line"),
        ("stock.import", "command line"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv.gz", "out.csv", "shop.ini", "stock.csv"]
    assert_stock_adds_up(engine)


def test_errors_are_shown_and_the_command_fails(run: Callable[..., Result], tmp_path: Path, engine: Engine) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(as_csv(TEE, {**TEE, "sku": "TEE-2", "price": "cheap"}))
    for options in ((), ("--dry-run",)):
        result = run("catalogue", "import", *options, file)
        assert result.exit_code == 1
        assert "row 3, price: must be a number such as 29.99" in result.output
        assert "1 error in 2 rows; nothing was imported." in result.output
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM product")) == 0
