"""The tour in the README, run as it is written, against a shop that `commerce serve` has started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import Shop

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="commerce-test-", ignore_cleanup_errors=True) as name:
        shutil.copy(ROOT / "development.ini", name)
        yield Path(name)


@pytest.fixture
def shop(folder: Path) -> Iterator[Shop]:
    shop = Shop(folder)
    try:
        shop.wait_for("Shop ready")
        yield shop
        shop.remember_processes()
    finally:
        shop.end()


def steps() -> list[tuple[str, str]]:
    """The commands of the tour, each with the output that the README shows after it (or nothing)."""
    tour = (ROOT / "README.md").read_text().split("## A tour in five minutes")[1].split("\n## ")[0]
    return [
        (step[1], step[2] or "") for step in re.finditer(r"```bash\n(.*?)```(?:\s*```\n(.*?)```)?", tour, re.DOTALL)
    ]


def test_the_tour_works_as_written(shop: Shop, folder: Path) -> None:
    # What differs from a newcomer's terminal: the port, which must be free, and where `commerce` is installed.
    commerce = f"{sys.executable} -W ignore -m commerce_core.cli"
    script = "set -eu\n" + "\necho '<end of step>'\n".join(
        commands.replace(":6543", f":{shop.port}").replace(".venv/bin/commerce", commerce) for commands, _ in steps()
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split("<end of step>")
    assert len(outputs) == len(steps()) > 5
    for (commands, shown), output in zip(steps(), outputs, strict=True):
        assert output.strip().startswith(shown.strip().removesuffix(" ...")), commands
