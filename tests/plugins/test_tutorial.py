"""docs/plugins/tutorial.md, run as it is written: from an empty folder to green tests and a shop that answers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins" / "tutorial.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n(?:\s*```\n(.*?)^```\n)?", re.M | re.S)
SERVE = "commerce serve development.ini\n"
# As a terminal of its own. Ends with the script, and names the address at which the shop is ready.
SERVE_BESIDE = """\
commerce serve development.ini --port 0 > serve.log 2>&1 &
SHOP=$!
trap 'kill $SHOP; wait $SHOP' EXIT
until grep -q 'Shop ready' serve.log; do kill -0 $SHOP || { cat serve.log; exit 1; }; sleep 0.2; done
PORT=$(sed -nE 's/.*Shop ready at .*:([0-9]+) .*/\\1/p' serve.log)
"""
# For a machine that is very busy: it takes less than a minute by itself.
DEADLINE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, with what they should say; or a file, which begins with a comment that says its name."""

    language: str
    text: str
    shown: str

    @property
    def commands(self) -> str:
        if self.language == "bash":
            return self.text.replace(SERVE, SERVE_BESIDE).replace("http://127.0.0.1:6543", "http://127.0.0.1:$PORT")
        name = self.text.partition("\n")[0].removeprefix("# ")
        return f"cat > {name} <<'END-OF-FILE'\n{self.text}END-OF-FILE\n"


def test_a_wheel_of_the_core_has_all_of_it(wheels: Path) -> None:
    [wheel] = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if name.startswith("commerce_core/")}
    package = ROOT / "commerce_core"
    files = {str(file.relative_to(ROOT)) for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    assert files == packed


def steps() -> list[Step]:
    return [Step(found[1], found[2], found[3] or "") for found in BLOCK.finditer(PAGE.read_text())]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty one, which PostgreSQL can reach."""
    with tempfile.TemporaryDirectory(prefix="commerce-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the core's wheel, as an index would have it."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    without_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "commerce_core", sources / "commerce_core", ignore=without_caches)
    wheels = tmp_path_factory.mktemp("wheels")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", str(wheels), str(sources)], check=True)
    return wheels


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """What `pip` would fetch besides: a folder with everything that is installed here, but the core and its plugins."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if not found.name.startswith(("commerce", "__")) and found.suffix != ".pth":
            (packages / found.name).symlink_to(found)
    return packages


def furnish(packages: Path) -> str:
    """Commands that put into the virtual environment what `pip` cannot fetch where there is no network."""
    return "\n".join(
        [
            "pip uninstall --quiet --yes setuptools 2> /dev/null",  # an older one comes with Python 3.11
            f"echo {packages} > $(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')/fetched.pth",
            *(
                f"printf '#!/bin/sh\\nexec python -m {name} \"$@\"\\n' > .venv/bin/{name}; chmod +x .venv/bin/{name}"
                for name in ("pytest", "mypy")
            ),
            f"ln -s {Path(sys.executable).parent / 'ruff'} .venv/bin/ruff",
            "",
        ]
    )


def said(shown: str) -> re.Pattern[str]:
    """What is shown after a step: `...` is anything."""
    return re.compile(".*".join(re.escape(part) for part in shown.strip().split("...")), re.S)


def output_of(script: str, folder: Path, environment: dict[str, str]) -> str:
    """What the script says. It must succeed; if it comes to no end, it is ended with all that it has started."""
    process = subprocess.Popen(
        ["bash", "-c", script],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    return output


def test_the_tutorial_works_as_written(folder: Path, wheels: Path, packages: Path, own_database_url: str) -> None:
    # What differs from a newcomer's terminal: which Python it is, that `pip` fetches nothing, the database that tests
    # use (theirs starts by itself, and takes its time), and the port of the shop, which must be free.
    script = "set -eu\n" + "echo '<end of step>'\n".join(step.commands for step in steps())
    script = script.replace("python3 -m venv", f"{sys.executable} -m venv", 1)
    script = script.replace("pip install commerce-core\n", furnish(packages) + "pip install commerce-core\n", 1)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "COMMERCE_TEST_DATABASE_URL": own_database_url,
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "tutorial"),
    }
    output = output_of(script, folder, environment)
    outputs = output.split("<end of step>\n")
    assert len(outputs) == len(steps()) > 15
    for step, told in zip(steps(), outputs, strict=True):
        assert not step.shown or said(step.shown).fullmatch(told.strip()), f"{step.text}\n{told}"
