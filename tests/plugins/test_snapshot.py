"""The contract does not change without a word: docs/plugins/contract.json is what it is, and CHANGELOG.md names it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path
from types import ModuleType

import pytest

from commerce_core.events import kinds
from commerce_core.plugins import scaffold
from commerce_core.plugins.snapshot import changes, hooks_of, main, snapshot, text_of, unannounced

ROOT = Path(__file__).parents[2]
WRITTEN = ROOT / "docs" / "plugins" / "contract.json"
# Told of in docs/plugins/compatibility.md: to be used, but not promised.
ROOMS = re.compile(r"commerce_core\.[a-z]+\.(models|service|queries)")


def test_the_contract_is_the_one_that_is_written_down() -> None:
    new = snapshot()
    assert WRITTEN.read_text() == text_of(new), "run `make docs`: " + "; ".join(
        changes(json.loads(WRITTEN.read_text()), new)
    )


def test_the_changelog_names_the_contract() -> None:
    assert unannounced(snapshot()["contract"], (ROOT / "CHANGELOG.md").read_text()) is None


def test_a_contract_that_the_changelog_does_not_name_as_its_newest_is_found() -> None:
    changelog = "## Unreleased\n- Contract `bbbbbbbb`: an argument more.\n## 0.1\n- Contract `aaaaaaaa`: the first.\n"
    assert unannounced("bbbbbbbb", changelog) is None
    assert "'Contract `cccccccc`'" in (unannounced("cccccccc", changelog) or "")
    # An old one is not in force again because it was named once.
    assert "names is `bbbbbbbb`" in (unannounced("aaaaaaaa", changelog) or "")
    assert "names none" in (unannounced("aaaaaaaa", "# Changelog\n") or "")


SPECS = """
from commerce_core.plugin import hookspec

@hookspec
def commerce_one(ctx: Context, lines: Lines) -> int: ...

@hookspec(firstresult=True)
def commerce_two() -> int | None: ...
"""


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("lines: Lines", "lines: Lines, more: str", ["added: hooks > commerce_one > takes > more: str"]),
        ("lines: Lines", "", ["MAY BREAK PLUGINS: hooks > commerce_one > takes > lines is gone"]),
        ("lines: Lines", "lines: Rows", ["MAY BREAK PLUGINS: hooks > commerce_one > takes > lines was Lines, is Rows"]),
        ("-> int: ...", "-> str: ...", ["MAY BREAK PLUGINS: hooks > commerce_one > returns was int, is str"]),
        ("firstresult=True", "", ["MAY BREAK PLUGINS: hooks > commerce_two > decides was the first, is all"]),
        ("(ctx: Context, lines: Lines)", "(lines: Lines, ctx: Context)", []),
    ],
    ids=["argument more", "argument less", "other type", "other answer", "of several", "order does not count"],
)
def test_a_change_of_a_hook_is_found_and_told(was: str, now: str, told: list[str]) -> None:
    def hooks(text: str) -> dict[str, object]:
        module = ModuleType("specs")
        exec("from __future__ import annotations\n" + text, vars(module))
        return {"hooks": hooks_of(module)}

    assert was in SPECS
    assert changes(hooks(SPECS), hooks(SPECS.replace(was, now, 1))) == told


def test_an_argument_that_has_to_be_given_may_break_who_calls() -> None:
    def function(**takes: str) -> dict[str, object]:
        return {"imports": {"emit": {"takes": takes, "in this order": ", ".join(takes)}}}

    was = function(session="Session")
    assert changes(was, function(session="Session", event="Event = None")) == [
        "added: imports > emit > takes > event: Event = None"
    ]
    assert changes(was, function(session="Session", event="Event")) == [
        "MAY BREAK PLUGINS: imports > emit > takes > event: Event"
    ]
    both = function(session="Session", event="Event = None")
    turned = function(event="Event = None", session="Session")
    assert changes(both, turned) == [
        "MAY BREAK PLUGINS: imports > emit > in this order was session, event, is event, session"
    ]


def test_a_change_of_an_event_is_another_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "contract.json"
    monkeypatch.chdir(tmp_path)
    Path("CHANGELOG.md").write_text(f"- Contract `{snapshot()['contract']}`: the first.\n")
    main(file)
    main(file)
    assert capsys.readouterr().out == ""
    poorer = make_dataclass("OrderPaid", [("order_id", "UUID")], bases=(kinds.Event,), frozen=True, kw_only=True)
    poorer.topic = "order.paid"  # type: ignore[attr-defined]
    monkeypatch.setattr(kinds, "OrderPaid", poorer)
    main(file)
    said = capsys.readouterr().out
    assert "MAY BREAK PLUGINS: events > OrderPaid > fields > number is gone" in said
    assert "CHANGELOG.md does not say" in said


def imports_of_authors() -> Iterator[tuple[str, str, str]]:
    """What the templates, and the pages for authors of plugins, import of the core."""
    for template in (Path(scaffold.__file__).parent / "templates").rglob("*.py.mako"):
        for module, names in re.findall(r"^from (commerce_core[\w.]*) import ([\w, ]+)$", template.read_text(), re.M):
            for name in names.split(","):
                yield template.name, module, name.strip()
    for page in (ROOT / "docs" / "plugins").glob("*.md"):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in re.findall(r"^\s*(from commerce_core[^\n]*(?:\([^)]*\)|[^\n]*))$", block, re.M):
                [found] = ast.parse(line.strip()).body
                assert isinstance(found, ast.ImportFrom)
                for alias in found.names:
                    yield page.name, found.module or "", alias.name


def test_what_authors_are_shown_they_may_rely_on() -> None:
    contract = snapshot()
    promised = {(module, name) for module, names in contract["imports"].items() for name in names}
    promised |= {("commerce_core.events", name) for name in contract["events"]}
    shown = list(imports_of_authors())
    assert len(shown) > 50
    assert [each for each in shown if each[1:] not in promised and not ROOMS.fullmatch(each[1])] == []
