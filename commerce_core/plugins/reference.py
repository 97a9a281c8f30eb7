"""docs/plugins/reference.md, out of the hookspecs themselves: `python -m commerce_core.plugins.reference`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from commerce_core import hookspecs, plugin
from commerce_core.plugins.calls import BUDGETS, FIELD_BUDGET
from commerce_core.plugins.checks import parameters_of_specs

# What every hook says of itself, and what runtime hooks say besides.
ALWAYS = ("When", "Returns", "Since")
AT_RUN_TIME = ("Transaction", "Locks", "On raise")
_SECTION = re.compile(r"^(When|Returns|Since|Transaction|Locks|On raise|May): ", re.MULTILINE)
_HEAD = """\
# The hooks

<!-- Written by `make docs` out of commerce_core/hookspecs.py. Change it there. -->
"""
_IMPORTS = """\
## What a plugin imports

`from commerce_core.plugin import ...`, and what the signatures above name, from where it lives. What else may be relied
on, and for how long, is in [compatibility.md](compatibility.md).
"""


def reference() -> str:
    """The whole page."""
    specs = [getattr(hookspecs, name) for name in parameters_of_specs(hookspecs)]
    runtime = [spec for spec in specs if spec.__name__ in BUDGETS]
    startup = [spec for spec in specs if spec.__name__ not in BUDGETS]
    parts = [_HEAD, inspect.getdoc(hookspecs) or "", "\n## Startup hooks\n"]
    parts += [_hook(spec) for spec in startup]
    parts += [
        "## Runtime hooks\n",
        f"A `load_many` of an extension field has a budget, too: {FIELD_BUDGET.milliseconds:g} ms,"
        f" {FIELD_BUDGET.statements} statement.\n",
    ]
    parts += [_hook(spec) for spec in runtime]
    parts += [_IMPORTS, *_things()]
    return "\n".join(parts).rstrip() + "\n"


def sections(spec: Callable[..., Any]) -> dict[str, str]:
    """What the docstring of a hook says, by its headings; what stands before them is under ""."""
    told = re.split(_SECTION, inspect.getdoc(spec) or "")
    named = zip(told[1::2], told[2::2], strict=True)
    return {"": told[0].strip()} | {name: " ".join(text.split()) for name, text in named}


def _hook(spec: Callable[..., Any]) -> str:
    told = sections(spec)
    name = spec.__name__
    budget = BUDGETS.get(name)
    if budget is not None:
        statements = "1 statement" if budget.statements == 1 else f"{budget.statements} statements"
        told["Budget"] = f"{budget.milliseconds:g} ms, {statements or 'no statement'}"
    marked: dict[str, Any] = getattr(spec, "commerce_spec")  # noqa: B009 (pluggy's own mark)
    if marked["firstresult"]:
        told["Of several"] = "the first that does not return None decides"
    signature = str(inspect.signature(spec)).replace("'", "")
    rows = "\n".join(f"| {what} | {text.replace('|', chr(92) + '|')} |" for what, text in told.items() if what)
    return f"### {name}\n\n```python\n{name}{signature}\n```\n\n{told['']}\n\n| | |\n|---|---|\n{rows}\n"


def _things() -> Iterator[str]:
    for name in plugin.__all__:
        thing = getattr(plugin, name)
        if inspect.isclass(thing):
            yield f"### {name}\n\n{inspect.getdoc(thing)}\n"
            own = [field for field in fields(thing) if field.init] if is_dataclass(thing) else []
            if own:
                listed = ", ".join(f"`{field.name}: {str(field.type).replace('|', 'or')}`" for field in own)
                yield f"{listed}\n"


if __name__ == "__main__":
    print(reference(), end="")
