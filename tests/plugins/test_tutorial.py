"""The tutorial, done as it is written, from an empty folder: green tests, and an address that answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from commerce_core.cli.web import claim_port

TUTORIAL = Path(__file__).parents[2] / "docs" / "plugins" / "tutorial.md"
BLOCK = re.compile(r"^```(bash|python|)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END_OF_STEP = "<end of step>"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the embedded PostgreSQL can live, whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="commerce-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def environment(folder: Path) -> dict[str, str]:
    """A virtual environment with all that this one has, into which the plugin may be installed."""
    venv.create(folder / "venv", with_pip=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    for old in (*packages.glob("setuptools*"), packages / "pkg_resources"):
        shutil.rmtree(old, ignore_errors=True)  # Python 3.11 brings one that cannot build wheels
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
    programs = {"commerce": "commerce_core.cli", "pytest": "pytest", "mypy": "mypy"}
    for program, module in programs.items():
        script = folder / "venv" / "bin" / program
        script.write_text(f'#!/bin/sh\nexec "{folder}/venv/bin/python" -W ignore -m {module} "$@"\n')
        script.chmod(0o755)
    ruff = Path(sysconfig.get_path("scripts"), "ruff")
    (folder / "venv" / "bin" / "ruff").symlink_to(ruff)
    return {
        "PATH": f"{folder}/venv/bin:{os.environ['PATH']}",
        "HOME": str(folder),
        # Everything is installed already; nothing is fetched.
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "MYPY_CACHE_DIR": str(TUTORIAL.parents[2] / ".mypy_cache" / "tutorial"),
        "MYPYPATH": str(TUTORIAL.parents[2]),
    }


def script(port: int) -> tuple[str, list[str]]:
    """What a reader types and saves, as one script; and what each command line should print, if the page shows it."""
    lines, shown = ["set -eu"], []
    for kind, text in BLOCK.findall(TUTORIAL.read_text()):
        if kind == "python":
            place = text.partition("\n")[0].removeprefix("# ")
            lines.append(f"cat > {place} <<'END OF FILE'\n{text.partition(chr(10))[2]}END OF FILE")
        elif kind == "bash":
            lines += [text, f"echo '{END_OF_STEP}'"]
            shown.append("")
        else:
            shown[-1] = text
    typed = (
        "\n".join(lines)
        .replace(":6543", f":{port}")
        .replace("serve development.ini", f"serve --port {port} development.ini")
    )
    # The core counts as installed from an index, whose own modules mypy does not look at.
    return typed.replace("\nmypy\n", "\nmypy --follow-imports=silent\n"), shown


@pytest.mark.skipif(not os.environ.get("COMMERCE_SOAK"), reason="takes minutes: make soak, and .ci/run")
def test_the_tutorial_works_as_written(folder: Path) -> None:
    typed, shown = script(claim_port("127.0.0.1", 0))
    work = folder / "empty"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", typed],
        cwd=work,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    log = work / "commerce-loyalty" / "shop.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    outputs = done.stdout.split(END_OF_STEP)
    assert len(outputs) == len(shown) + 1 > 6
    for output, wanted in zip(outputs, shown, strict=False):
        assert output.strip().endswith(wanted.strip())
    assert len(re.findall(r"\d+ passed", done.stdout)) == 2
