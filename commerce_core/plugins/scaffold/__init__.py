"""`commerce plugins new`: a distribution with a plugin that works, tests and all, to go on from.

The templates are beside this file, so that they are always those of this version. What they make passes its own tests,
`ruff` and `mypy --strict` as it is, whatever parts are chosen.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mako.lookup import TemplateLookup

from commerce_core.plugins.declaration import NAME
from commerce_core.plugins.loading import clash_of

_TEMPLATES = Path(__file__).parent / "templates"


class ScaffoldRefused(Exception):
    """What is asked for cannot be made."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a plugin may have. `files` are templates; `needs` are parts that come with it."""

    about: str
    files: tuple[str, ...]
    needs: tuple[str, ...] = ()


PARTS: dict[str, Part] = {
    "models": Part(
        "a table, its migration, and a service",
        (
            "package/models.py",
            "package/service.py",
            "package/migrations/__init__.py",
            "package/migrations/0001_entries.py",
            "tests/test_service.py",
        ),
    ),
    "subscriber": Part(
        "a durable subscriber of paid orders",
        ("package/subscribers.py", "tests/test_subscribers.py"),
        needs=("models",),
    ),
    "job": Part("a job that comes back every day", ("package/jobs.py", "tests/test_jobs.py"), needs=("models",)),
    "field": Part(
        "a value that orders show in `extensions`", ("package/fields.py", "tests/test_fields.py"), needs=("models",)
    ),
    "route": Part("an address in the API", ("package/views.py", "tests/test_views.py"), needs=("models",)),
    "admin": Part(
        "an address for staff, with a permission",
        ("package/admin_views.py", "tests/test_admin_views.py"),
        needs=("models",),
    ),
    "command": Part("a command", ("package/commands.py", "tests/test_commands.py"), needs=("models",)),
    "settings": Part("a setting that the shop decides", ("tests/test_settings.py",)),
    "price-rule": Part("a price rule", ("package/prices.py", "tests/test_prices.py")),
    "payment": Part("a way to pay", ("package/payments.py", "tests/test_payments.py")),
    "cart-check": Part("a check of what is in a cart", ("package/carts.py", "tests/test_carts.py")),
    "health": Part("a health check", ("package/health.py", "tests/test_health.py")),
}

_ALWAYS = (
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "development.ini",
    ".gitignore",
    "workflows/test.yml",
    "package/__init__.py",
    "package/py.typed",
    "package/hooks.py",
    "tests/test_contract.py",
)
# Those that have something to be set.
_WITH_SETTINGS = ("settings", "subscriber", "job", "price-rule", "payment", "cart-check")


def write_plugin(name: str, parts: Iterable[str], folder: Path) -> list[Path]:
    """Write a plugin's distribution into `folder`/commerce-<name>; the files.

    The parts that the given ones need are added. Raises ScaffoldRefused, and has written nothing then.
    """
    _check_name(name)
    chosen = with_needed(parts)
    root = folder / f"commerce-{name}"
    if root.exists():
        raise ScaffoldRefused(f"{root} is there already.")
    has_settings = not set(chosen).isdisjoint(_WITH_SETTINGS)
    wanted = [*_ALWAYS, *(["package/settings.py"] if has_settings else [])]
    wanted += [file for part in chosen for file in PARTS[part].files]
    ours = version("commerce-core")
    lookup = TemplateLookup([str(_TEMPLATES)], strict_undefined=True)
    values = {
        "name": name,
        "title": name.capitalize(),
        "parts": set(chosen),
        "about": {part: PARTS[part].about for part in chosen},
        "has_settings": has_settings,
        "version": ours,
        "next_major": int(ours.partition(".")[0]) + 1,
    }
    texts = {_place(file, name): lookup.get_template(f"{file}.mako").render_unicode(**values) for file in wanted}
    written = []
    for place, text in sorted(texts.items()):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def with_needed(parts: Iterable[str]) -> list[str]:
    """These parts and those that they need, in the order of PARTS. Raises ScaffoldRefused for one that there is not."""
    chosen: set[str] = set()
    for part in parts:
        if part not in PARTS:
            like = difflib.get_close_matches(part, PARTS, n=1)
            mend = f"did you mean {like[0]}?" if like else f"there are {', '.join(PARTS)}"
            raise ScaffoldRefused(f"There is no part {part!r}; {mend}")
        chosen |= {part, *PARTS[part].needs}
    return [part for part in PARTS if part in chosen]


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ScaffoldRefused(f"The name {name!r} should be 2 to 31 of a-z and 0-9, a letter first.")
    if (owner := clash_of(name)) is not None:
        raise ScaffoldRefused(f"The name {name} is that of {owner}: call the plugin something else.")


def _place(file: str, name: str) -> Path:
    """Where a template's file goes, within the distribution."""
    if file.startswith("package/"):
        return Path(f"commerce_{name}", *Path(file).parts[1:])
    if file.startswith("workflows/"):
        return Path(".github", file)
    return Path(file)
