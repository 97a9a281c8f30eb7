"""Dockerfile, compose.yaml and what is in deploy/: parsed, linted, and held against what the shop has.

No Docker was at hand: the image is not built here, nor is anything of it run.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.production import DEPLOY, ROOT, required

from commerce_core.cli.main import main
from commerce_core.settings import parse_settings

COMPOSE = ROOT / "compose.yaml"
GIVEN = {
    "POSTGRES_PASSWORD": "pw",
    "MAIL_HOST": "smtp.example",
    "MAIL_SENDER": "shop@shop.example",
    "STRIPE_SECRET_KEY": "sk_test_" + "4" * 24,
    "STRIPE_PUBLISHABLE_KEY": "pk_test_" + "4" * 24,
    "STRIPE_WEBHOOK_SECRETS": "whsec_" + "4" * 24,
    "REALTIME_SECRET": "5b0c7a2f9d3e4c1a8b6d5e7f",
    "METRICS_TOKEN": "0f1e2d3c4b5a69788796a5b4",
}


def takes(arguments: list[str]) -> None:
    """The command line takes every one of these; only running it is left out."""
    here = [str(ROOT / "development.ini") if each.endswith(".ini") else each for each in arguments]
    done = CliRunner().invoke(main, [*here, "--help"])
    assert done.exit_code == 0, done.output
    options = {each for each in arguments if each.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", done.output)), arguments


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """As Compose reads it: with what is in the environment, and without what is only to be merged."""

    def value(match: re.Match[str]) -> str:
        name, kind, otherwise = match.group(1), match.group(2), match.group(3)
        if kind == ":-":
            return GIVEN.get(name, otherwise)
        assert name in GIVEN, f"{name} has to be given, and the test does not know it"
        return GIVEN[name]

    text = re.sub(r"\$\{([A-Z_]+)(:-|:\?)([^}]*)\}", value, COMPOSE.read_text())
    assert "${" not in text
    document: dict[str, Any] = yaml.safe_load(text)
    return {key: part for key, part in document.items() if not key.startswith("x-")}


def shops(compose: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, each) for name, each in compose["services"].items() if "build" in each)


def test_compose_understands_it(compose: dict[str, Any]) -> None:
    spec = pytest.importorskip("compose_spec")
    understood = spec.PyCompose.from_yaml(yaml.safe_dump(compose))
    assert set(understood.service_names()) == set(compose["services"])


def test_every_service_runs_a_command_that_there_is_with_settings_that_there_are(compose: dict[str, Any]) -> None:
    names = set()
    for name, service in shops(compose):
        names.add(name)
        takes(service["command"])
        environment = {key: str(value) for key, value in service["environment"].items()}
        raw = {"commerce.plugins": "stripe realtime", "mail.transport": "smtp", "search.backend": "postgresql"}
        parse_settings(raw, environ=environment)
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert names == {"migration", "web", "worker", "scheduler", "realtime"}
    assert required("").keys() <= {key for _, each in shops(compose) for key in each["environment"]}


def test_nobody_but_nginx_is_reached_from_outside(compose: dict[str, Any]) -> None:
    assert [name for name, each in compose["services"].items() if "ports" in each] == ["nginx"]
    upstreams = (DEPLOY / "upstreams.conf").read_text()
    assert set(re.findall(r"server ([a-z]+):", upstreams)) <= compose["services"].keys()


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no wheel with hadolint for this machine, and none on the PATH")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_made_of_what_there_is_and_runs_what_there_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for name in copied.split():
            assert (ROOT / name).exists()
            assert name.rstrip("/") in kept
    command = re.search(r"^CMD \[(.+)\]$", text, re.M)
    assert command is not None
    takes(re.findall(r'"([^"]+)"', command[1]))


@pytest.mark.parametrize(
    "name", [".", *(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("plugins/*/setup.cfg"))]
)
def test_a_wheel_holds_every_file_of_its_package(name: str, tmp_path: Path) -> None:
    """An editable installation would not tell that templates or migrations are missing in the image."""
    source = tmp_path / "source"
    [package] = (ROOT / name).glob("commerce_*[!o]/__init__.py")
    source.mkdir()
    for part in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name / part).exists():
            shutil.copy(ROOT / name / part, source)
    shutil.copytree(package.parent, source / package.parent.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    held = {each for each in zipfile.ZipFile(wheel).namelist() if each.startswith(f"{package.parent.name}/")}
    there = {str(path.relative_to(source)) for path in (source / package.parent.name).rglob("*") if path.is_file()}
    assert there - held == set()


def test_units_and_programs_run_commands_that_there_are() -> None:
    for path in sorted((DEPLOY / "systemd").iterdir()):
        unit = configparser.RawConfigParser(strict=False)
        unit.optionxform = str  # type: ignore[method-assign,assignment]
        unit.read(path)
        program, *arguments = shlex.split(unit["Service"]["ExecStart"].replace("%i", "6543"))
        assert program.endswith("/commerce")
        takes(["critical" if each == "6543" and "--queues" in arguments else each for each in arguments])
        assert unit["Install"]["WantedBy"] == "multi-user.target"
    supervisor = configparser.RawConfigParser()
    supervisor.read(DEPLOY / "supervisor" / "commerce.conf")
    for section in supervisor.sections():
        _, *arguments = shlex.split(supervisor[section]["command"].replace("%(process_num)d", "3"))
        takes(arguments)
