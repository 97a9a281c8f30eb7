"""`commerce plugins new`: whatever is chosen, what it writes installs, passes its own tests, lint and types at once."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from commerce_core.cli.main import main
from commerce_core.plugins.scaffold import PARTS, ScaffoldRefused, write_plugin

ROOT = Path(__file__).parents[2]
SOAK = bool(os.environ.get("COMMERCE_SOAK"))
LONGEST = "averyveryverylongnameofaplugin"
NOTHING, EVERYTHING = (), tuple(PARTS)
EACH = [(part,) for part in PARTS]
PAIRS = list(itertools.combinations(PARTS, 2))


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What it has said. It must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def new(folder: Path, name: str, parts: Iterable[str]) -> Path:
    write_plugin(name, parts, folder)
    return folder / f"commerce-{name}"


def installed(distributions: Iterable[Path], into: Path) -> str:
    """The folder in which they are installed, for PYTHONPATH."""
    options = ("-q", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
    run("pip", "install", *options, "--target", str(into), *map(str, distributions), cwd=into.parent)
    # What a build leaves beside the sources is another installation.
    for left in into.parent.glob("*/*.egg-info"):
        shutil.rmtree(left)
    return str(into)


def test_every_choice_is_well_formed(tmp_path: Path) -> None:
    for number, parts in enumerate([NOTHING, EVERYTHING, *EACH, *PAIRS]):
        new(tmp_path, f"p{number}", parts)
    new(tmp_path, LONGEST, PARTS)
    run("ruff", "format", "--check", ".", cwd=tmp_path)
    run("ruff", "check", ".", cwd=tmp_path)


@pytest.mark.skipif(not SOAK, reason="mypy takes long; .ci/run has it")
@pytest.mark.parametrize("parts", [NOTHING, EVERYTHING, *EACH, *PAIRS], ids="-".join)
def test_types_are_sound(tmp_path: Path, parts: tuple[str, ...]) -> None:
    distribution = new(tmp_path, "loyalty", parts)
    # The core's own modules count as installed: what is in them is not reported.
    cache = str(ROOT / ".mypy_cache" / "scaffold")
    run("mypy", "--follow-imports=silent", "--cache-dir", cache, cwd=distribution, MYPYPATH=str(ROOT))


@pytest.mark.skipif(not SOAK, reason="its tests take long; .ci/run has it")
def test_its_tests_pass_whatever_is_chosen(tmp_path: Path, own_database_url: str) -> None:
    choices = [EVERYTHING, NOTHING, *EACH]
    everything, *others = distributions = [new(tmp_path, f"p{n}", parts) for n, parts in enumerate(choices)]
    shop = {
        "PYTHONPATH": installed(distributions, tmp_path / "site"),
        "COMMERCE_TEST_DATABASE_URL": own_database_url,
        "COMMERCE_TEST_REDIS": "",
    }
    pytest_alone = ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    # One as its author runs it, beside the others; and the others in one process, to be quick.
    run(*pytest_alone, cwd=everything, **shop)
    config = ("-c", str(everything / "pyproject.toml"), "--rootdir", str(tmp_path), "--import-mode=importlib")
    run(*pytest_alone, *config, "-k", "not every_other", *map(str, others), cwd=tmp_path, **shop)


def test_the_guide_lists_every_part() -> None:
    page = (ROOT / "docs" / "plugins" / "README.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z][a-z-]*)` \| ([^|]+?)(?: \(brings [^|]+\))? \|$", page, re.M))
    assert listed == {name: part.about for name, part in PARTS.items()}


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    for name, parts, said in (
        ("Loyalty", (), "2 to 31 of a-z and 0-9"),
        ("orders", (), "is that of the settings orders"),
        ("rewards", ("modles",), "did you mean models?"),
    ):
        with pytest.raises(ScaffoldRefused, match=said.replace("?", r"\?")):
            write_plugin(name, parts, tmp_path)
    taken = CliRunner().invoke(main, ["plugins", "new", "search", "--dir", str(tmp_path)])
    assert (taken.exit_code, "is installed here" in taken.output) == (1, True)
    assert list(tmp_path.iterdir()) == []
    told = CliRunner().invoke(main, ["plugins", "new", "rewards", "--with", "field, job", "--dir", str(tmp_path)])
    assert told.exit_code == 0
    assert "with models, which others need" in told.output
    again = CliRunner().invoke(main, ["plugins", "new", "rewards", "--dir", str(tmp_path)])
    assert (again.exit_code, "is there already" in again.output) == (1, True)
