"""The contract is written down: every hook says what an author has to know, and the reference is made of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from commerce_core import hookspecs
from commerce_core.plugins.calls import BUDGETS
from commerce_core.plugins.checks import parameters_of_specs
from commerce_core.plugins.reference import ALWAYS, AT_RUN_TIME, reference, sections
from commerce_core.plugins.startup import CONTRIBUTIONS

HOOKS = parameters_of_specs(hookspecs)
CALLED_ON_THEIR_OWN = {
    "commerce_includeme",
    "commerce_register_commands",
    "commerce_disable_blockers",
    "commerce_register_processes",
    "commerce_startup",
    "commerce_shutdown",
}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_when_and_what_and_since_when(name: str) -> None:
    told = sections(getattr(hookspecs, name))
    wanted = ALWAYS + (AT_RUN_TIME if name in BUDGETS else ())
    assert [what for what in wanted if not told.get(what)] == []
    assert told[""]


def test_every_hook_is_called_by_somebody() -> None:
    assert set(HOOKS) == CONTRIBUTIONS.keys() | BUDGETS.keys() | CALLED_ON_THEIR_OWN


def test_runtime_hooks_take_the_context_first() -> None:
    assert {HOOKS[name][0] for name in BUDGETS} == {"ctx"}


def test_the_reference_is_up_to_date() -> None:
    written = Path(__file__).parents[2] / "docs" / "plugins" / "reference.md"
    assert written.read_text() == reference(), "run `make docs`"
