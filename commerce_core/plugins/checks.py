"""What pluggy lets pass, or refuses one at a time and without a place: checked here, for a whole module of hooks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from commerce_core.plugins.declaration import HOOK_PREFIX, PROJECT
from commerce_core.plugins.mistakes import Mistake, place_of

# The order of plugins is the merchant's, and there is nothing around a hook.
_REFUSED_OPTIONS = ("wrapper", "hookwrapper", "tryfirst", "trylast")
_MARK = f"{PROJECT}_impl"


def parameters_of_specs(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """The parameters of each hook that a module of hookspecs has, by the hook's name."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(module).items()
        if hasattr(function, f"{PROJECT}_spec")
    }


def check_specs(plugin: str, module: ModuleType) -> Iterator[Mistake]:
    """What is wrong with the hooks that a plugin has for others."""
    for name in parameters_of_specs(module):
        if not name.startswith(f"{plugin}_"):
            yield Mistake(plugin, f"the hook {name} should be called {plugin}_{name}", place_of(getattr(module, name)))


def check_hooks(plugin: str, module: ModuleType, specs: Mapping[str, Sequence[str]]) -> Iterator[Mistake]:
    """What is wrong with a plugin's implementations. `specs` has the parameters of every hook there is."""
    prefixes = tuple({HOOK_PREFIX} | {f"{name.partition('_')[0]}_" for name in specs})
    for name, thing in vars(module).items():
        options: dict[str, Any] | None = getattr(thing, _MARK, None)
        if isinstance(options, dict):
            yield from _check_implementation(plugin, name, thing, options, specs)
        elif (
            inspect.isroutine(thing)
            and name.startswith(prefixes)
            and not hasattr(thing, f"{PROJECT}_spec")
            and (name in specs or _like(name, specs))
        ):
            yield Mistake(
                plugin, f"{name} is never called: put @hookimpl above it{_or_meant(name, specs)}", place_of(thing)
            )


def _check_implementation(
    plugin: str, name: str, function: Any, options: dict[str, Any], specs: Mapping[str, Sequence[str]]
) -> Iterator[Mistake]:
    hook = options.get("specname") or name
    where = place_of(function)
    for option in _REFUSED_OPTIONS:
        if options.get(option):
            yield Mistake(
                plugin,
                f"{name} is marked {option}, which is refused: the order of plugins is that of commerce.plugins",
                where,
            )
    if inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.isasyncgenfunction(inspect.unwrap(function)):
        yield Mistake(plugin, f"{name} is async, and nobody would await it: make it a plain function", where)
    if hook not in specs:
        if not options.get("optionalhook"):
            like = _like(hook, specs)
            mend = f"did you mean {like}?" if like else "see docs/plugins/reference.md for those there are"
            yield Mistake(plugin, f"there is no hook {hook}; {mend}", where)
        return
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield Mistake(plugin, f"{name} takes {parameter}: name what it takes of {_listed(specs[hook])}", where)
        elif parameter.name not in specs[hook] and parameter.default is parameter.empty:
            like = _like(parameter.name, specs[hook])
            mend = f"did you mean {like}?" if like else f"it may take {_listed(specs[hook])}"
            yield Mistake(plugin, f"{name} takes an argument {parameter.name!r}, which {hook} has not; {mend}", where)


def _like(word: str, candidates: Any) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)), None)


def _or_meant(name: str, specs: Mapping[str, Sequence[str]]) -> str:
    like = None if name in specs else _like(name, specs)
    return f", and call it {like}" if like else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing"
