"""What the command line says."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from commerce_core.cli.main import main
from sqlalchemy import Engine

pytestmark = pytest.mark.commerce(plugins=["${name}"])


def test_the_total_is_told(tmp_path: Path, database_url: str, engine: Engine) -> None:
    ini = tmp_path / "shop.ini"
    lines = [
        "[app:main]",
        "use = egg:commerce-core",
        "commerce.environment = development",
        "commerce.plugins = ${name}",
        f"sqlalchemy.url = {database_url.replace('%', '%%')}",
    ]
    ini.write_text("\n".join(lines))
    assert CliRunner().invoke(main, ["${name}", "total", str(ini)]).output == "0\n"
