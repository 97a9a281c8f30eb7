"""docs/plugins/contract.json: all that plugins may rely on, as it is now. `make docs` writes it.

The file says which contract it is by a fingerprint of its content, and CHANGELOG.md has to name that: so nothing of the
contract changes without a word to the authors of plugins, and no history is needed to see it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin

# What plugins import, by module; of `commerce_core.plugin` and `commerce_core.testing.contract` all that is exported.
PUBLIC: dict[str, tuple[str, ...]] = {
    "commerce_core.accounts.permissions": ("Permission",),
    "commerce_core.accounts.tokens": ("Actor",),
    "commerce_core.api.endpoints": ("api_view", "path_id", "validated"),
    "commerce_core.api.problems": ("Conflict", "Forbidden", "InvalidInput", "NotFound", "Problem", "Unauthorized"),
    "commerce_core.api.schemas": ("Input", "Output", "Page", "PageQuery", "Query", "ShortText", "Text"),
    "commerce_core.cache.cdn": ("CdnPurger",),
    "commerce_core.cli.main": ("main",),
    "commerce_core.cli.shop": ("Shop", "config_argument", "open_shop"),
    "commerce_core.database": ("Base", "Currency", "Id", "MinorUnits", "transaction", "uuid7"),
    "commerce_core.events": ("Event", "emit", "savepoint"),
    "commerce_core.jobs.kinds": (
        "Fatal",
        "JobContext",
        "JobKind",
        "Periodic",
        "RateLimit",
        "Retry",
        "Watched",
        "job",
    ),
    "commerce_core.mail.service": ("queue_mail",),
    "commerce_core.money": ("Money", "formatted"),
    "commerce_core.payments.provider": (
        "InvalidSignature",
        "PaymentProvider",
        "ProviderEvent",
        "RefundRequest",
        "RefundResult",
    ),
    "commerce_core.plugin": (),
    "commerce_core.plugins.contributions": ("Resource", "RoleName"),
    "commerce_core.pricing.basket": ("Basket", "Buyer", "Destination", "Item"),
    "commerce_core.pricing.quote": ("Quote", "QuoteLine", "Stage"),
    "commerce_core.pricing.rounding": ("percent_of", "spread"),
    "commerce_core.pricing.rules": ("PriceRule",),
    "commerce_core.testing": (
        "ReceivedMail",
        "SignedIn",
        "StoppedClock",
        "assert_stock_adds_up",
        "concurrently",
        "count_sql",
    ),
    "commerce_core.testing.contract": ("buy",),
}
_ENTRY = re.compile(r"[Cc]ontract `([0-9a-f]{8})`")
Tree = dict[str, Any]


def snapshot() -> Tree:
    """The contract, with its fingerprint under `contract`."""
    return _with_fingerprint(
        {
            "api": importlib.import_module("commerce_core.plugins.declaration").API,
            "hooks": hooks_of(importlib.import_module("commerce_core.hookspecs")),
            "events": _events(),
            "imports": {module: dict(_imports(module)) for module in PUBLIC},
            "fixtures": dict(_fixtures("commerce_core.testing")),
            "anchors": _anchors(),
        }
    )


def hooks_of(module: ModuleType) -> Tree:
    """The hooks that a module of hookspecs has: what they are given, and what they answer."""
    specs = {name: function for name, function in vars(module).items() if hasattr(function, "commerce_spec")}
    told = {}
    for name, function in specs.items():
        told[name] = _signature(function) | {"decides": "the first" if function.commerce_spec["firstresult"] else "all"}
        told[name].pop("in this order", None)  # hooks are given their arguments by name
    return told


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a plugin may notice, a line each: what was added, and what is gone or different and may break it."""
    before, now = dict(_leaves(old)), dict(_leaves(new))
    told = []
    for path in sorted(before.keys() | now.keys()):
        if path == "contract" or before.get(path) == now.get(path):
            continue
        if path not in before:
            # What has to be given breaks whoever calls; implementations of hooks take what they need.
            has_to_be_given = " > takes > " in path and not path.startswith("hooks") and " = " not in now[path]
            told.append(f"{'MAY BREAK PLUGINS' if has_to_be_given else 'added'}: {path}: {now[path]}")
        elif path.endswith("in this order") and now.get(path, "").startswith(before[path]):
            continue  # its new arguments are told by themselves
        elif path not in now:
            told.append(f"MAY BREAK PLUGINS: {path} is gone")
        else:
            told.append(f"MAY BREAK PLUGINS: {path} was {before[path]}, is {now[path]}")
    return told


def unannounced(contract: str, changelog: str) -> str | None:
    """What is to be done if the newest contract that a changelog names is not this one."""
    named = _ENTRY.search(changelog)
    if named is not None and named[1] == contract:
        return None
    before = f"the newest that it names is `{named[1]}`" if named else "it names none"
    return (
        f"CHANGELOG.md does not say what is new in the contract with plugins ({before}): add a line with"
        f" 'Contract `{contract}`' at the top of the unreleased part's 'For authors of plugins'"
    )


def text_of(tree: Mapping[str, Any]) -> str:
    """As the file has it: sorted, so that a change is a change of its own line."""
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _with_fingerprint(tree: Tree) -> Tree:
    return {"contract": hashlib.sha256(text_of(tree).encode()).hexdigest()[:8], **tree}


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        if not tree:
            yield path, "nothing more"
        for name, value in tree.items():
            yield from _leaves(value, f"{path} > {name}" if path else name)
    else:
        yield path, str(tree)


def _events() -> Tree:
    kinds = importlib.import_module("commerce_core.events.kinds")
    told: list[Any] = [kind for kind in vars(kinds).values() if inspect.isclass(kind) and "topic" in vars(kind)]
    return {kind.__name__: {"topic": kind.topic, "fields": dict(_fields(kind))} for kind in told}


def _imports(name: str) -> Iterator[tuple[str, Any]]:
    module = importlib.import_module(name)
    exported = module.__all__ if name in ("commerce_core.plugin", "commerce_core.testing.contract") else ()
    for each in sorted({*exported, *PUBLIC[name]}):
        yield each, _described(getattr(module, each))


def _fixtures(name: str) -> Iterator[tuple[str, str]]:
    """What tests of plugins may ask for."""
    module = importlib.import_module(name)
    for each, thing in vars(module).items():
        if type(thing).__name__ == "FixtureFunctionDefinition" and not each.startswith("_"):
            yield each, _annotation(inspect.signature(thing._get_wrapped_function()).return_annotation)


def _anchors() -> Tree:
    """Where a plugin's foreign keys may lead to."""
    importlib.import_module("commerce_core.models")
    metadata = importlib.import_module("commerce_core.database").Base.metadata
    anchors = importlib.import_module("commerce_core.migrations").ANCHORS
    return {table: {"id": str(metadata.tables[table].columns["id"].type)} for table in sorted(anchors)}


def _described(thing: Any) -> Any:
    if inspect.isclass(thing):
        if issubclass(thing, Enum):
            return {member.name: repr(member.value) for member in thing}
        return dict(_members(thing))
    if inspect.isroutine(thing) and thing.__module__.startswith("commerce_core"):
        return _signature(thing)
    if get_origin(thing) is Literal:
        return ", ".join(map(repr, get_args(thing)))
    # A type with rules of its own, or something that another library has made.
    return get_args(thing)[0].__name__ if get_origin(thing) is Annotated else "is there"


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class has of ours: fields, methods, properties, and how it is made."""
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("commerce_core")]
    if is_dataclass(kind):
        yield from _fields(kind)
    elif issubclass(kind, tuple):
        defaults = getattr(kind, "_field_defaults", {})
        for name, annotation in kind.__annotations__.items():
            yield name, _with_default(annotation, defaults.get(name, MISSING))
    for base in ours:
        for name, annotation in base.__annotations__.items() if not is_dataclass(kind) else ():
            if not name.startswith("_"):
                yield name, _annotation(annotation)
        for name, member in vars(base).items():
            if name == "__init__" and issubclass(kind, BaseException):
                yield "made with", _signature(member)
            elif name.startswith(("_", "test_", "model_")):
                continue
            elif isinstance(member, property):
                yield name, f"{_annotation(inspect.signature(member.fget).return_annotation)}, to be read"  # type: ignore[arg-type]
            elif isinstance(member, (classmethod, staticmethod)) or inspect.isfunction(member):
                yield name, _signature(inspect.unwrap(getattr(kind, name)))


def _fields(kind: Any) -> Iterator[tuple[str, str]]:
    for each in fields(kind):
        if each.init and not each.name.startswith("_"):
            default = each.default_factory if each.default_factory is not MISSING else each.default
            yield each.name, _with_default(each.type, default)


def _signature(function: Any) -> Tree:
    found = inspect.signature(function)
    parameters = {
        str(parameter).partition(":")[0].partition("=")[0].strip(): _with_default(
            parameter.annotation, MISSING if parameter.default is parameter.empty else parameter.default
        )
        for parameter in found.parameters.values()
        if parameter.name not in ("self", "cls")
    }
    placed = [name for name, each in found.parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    in_order = ", ".join(name for name in placed if name not in ("self", "cls"))
    told = {"takes": parameters, "returns": _annotation(found.return_annotation)}
    return told | ({"in this order": in_order} if ", " in in_order else {})


def _with_default(annotation: Any, default: Any) -> str:
    if default is MISSING:
        return _annotation(annotation)
    shown = default.__name__ if inspect.isclass(default) or inspect.isroutine(default) else repr(default)
    return f"{_annotation(annotation)} = {shown}"


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "anything"
    annotation = getattr(annotation, "__forward_arg__", annotation)
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def main(file: Path) -> None:
    """Write the file, and say what is new in it."""
    new = snapshot()
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(text_of(new), encoding="utf-8")
    for line in changes(old, new) if old else ():
        print(line)
    changelog = Path("CHANGELOG.md")
    if changelog.exists() and (wanted := unannounced(new["contract"], changelog.read_text(encoding="utf-8"))):
        print(wanted)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
