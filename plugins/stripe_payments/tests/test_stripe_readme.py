"""What the plugin's README says is so: its table of tests, its settings, and its tour, run as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commerce_stripe_payments.settings import Settings

from tests.support.served import Shop

PLUGIN = Path(__file__).parents[1]
README = (PLUGIN / "README.md").read_text()
NUMBERS = [
    f"{letter}{number}"
    for letter, most in zip("WDPRS", (16, 12, 18, 11, 10), strict=True)
    for number in range(1, most + 1)
]


def test_the_table_names_a_test_for_each_number() -> None:
    there = set(
        re.findall(
            r"^def (test_\w+)", "\n".join(path.read_text() for path in (PLUGIN / "tests").glob("test_*.py")), re.M
        )
    )
    rows = {
        row[0]: set(re.findall(r"`(test_\w+)`", row[1]))
        for row in re.findall(r"^\| ([WDPRS]\d+) \|(.*)$", README, re.M)
    }
    assert list(rows) == NUMBERS
    for number, named in rows.items():
        assert named, number
        assert named <= there, number
        assert any(f"_{number.lower()}_" in name for name in named), f"{number} is in the name of none"


def test_every_setting_is_there() -> None:
    assert set(re.findall(r"`stripe\.([a-z_]+)`", README)) >= set(Settings.model_fields)


@pytest.fixture
def served(own_database_url: str) -> Iterator[Shop]:
    """`make serve`, without the plugins that have nothing to do with it, and on a database that is there already."""
    with tempfile.TemporaryDirectory(prefix="commerce-test-", ignore_cleanup_errors=True) as folder:
        given = (PLUGIN.parents[1] / "development.ini").read_text()
        for line, instead in {
            r"commerce\.plugins =\n(    \w+\n)+": "commerce.plugins = stripe\n",
            r"sqlalchemy\.url = .*": f"sqlalchemy.url = {own_database_url.replace('%', '%%')}",
        }.items():
            given, changed = re.subn(line, lambda _, instead=instead: instead, given)
            assert changed == 1
        (Path(folder) / "development.ini").write_text(given)
        shop = Shop(Path(folder))
        try:
            shop.wait_for("Shop ready")
            yield shop
            shop.remember_processes()
        finally:
            shop.end()


def test_the_tour_pays_an_order(served: Shop) -> None:
    tour = README.split("## Try it")[1].split("\n## ")[0]
    steps = re.findall(r"```bash\n(.*?)```(?:\s*```\n(.*?)```)?", tour, re.DOTALL)
    script = "set -eu\n" + "\n".join(commands.replace(":6543", f":{served.port}") for commands, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [shown.strip() for _, shown in steps if shown] == ["succeeded", "paid"]
