"""What a plugin says of itself: data, which can be read without running any of its behaviour."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pluggy

# The generation of the hooks that this version has. Raised with a major release only.
API = 1
PROJECT = "commerce"
HOOK_PREFIX = "commerce_"

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin's `hooks` module as an implementation of the hook it is named after."""
hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a function of a plugin's `hookspecs` module as a hook that other plugins may implement."""

# Without "_", so that it is plain where a table's owner ends: `loyalty_points` can be of nobody but `loyalty`.
NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_CAPABILITY = re.compile(r"[a-z][a-z0-9.-]{0,59}")


class InvalidPlugin(ValueError):
    """A `Plugin` was declared with something that it cannot be."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin, as its distribution exports it under the entry point group `commerce.plugins`.

    `hooks`, `models`, `migrations` and `hookspecs` name modules, `settings` a class as `module:Class`; they are
    imported only where the plugin is enabled. `requires` must be enabled and come before it, `after` must come before
    it if they are enabled. `hookspecs` has hooks of its own for other plugins, named `<name>_...`. `capabilities` is
    what clients may count on: anybody can ask for them. `mail_templates` and `static` are folders beside the module
    that declares the plugin; what is in `static` is served at `/static/<name>/`.
    """

    name: str
    hooks: str
    api: int = 1
    settings: str | None = None
    models: str | None = None
    migrations: str | None = None
    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    hookspecs: str | None = None
    capabilities: tuple[str, ...] = ()
    mail_templates: str | None = None
    static: str | None = None
    # Where it was declared.
    module: str = field(init=False, repr=False, compare=False)
    line: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        caller = sys._getframe(2)
        object.__setattr__(self, "module", caller.f_globals.get("__name__", ""))
        object.__setattr__(self, "line", caller.f_lineno)
        for problem in self._problems():
            raise InvalidPlugin(problem)

    def folder(self, name: str) -> Path:
        """A folder beside the module that declares the plugin."""
        file = sys.modules[self.module].__file__
        assert file is not None
        return Path(file).parent / name

    def _problems(self) -> list[str]:
        problems = []
        if not NAME.fullmatch(self.name):
            problems.append(f"the name {self.name!r} should be 2 to 31 of a-z and 0-9, a letter first")
        for what in ("hooks", "models", "migrations", "hookspecs"):
            module = getattr(self, what)
            if module is not None and not (isinstance(module, str) and _MODULE.fullmatch(module)):
                problems.append(f"{what} should be the dotted name of a module, not {module!r}")
        if self.settings is not None:
            module, _, name = self.settings.partition(":")
            if not (_MODULE.fullmatch(module) and name.isidentifier()):
                problems.append(f"settings should be written as package.module:Class, not {self.settings!r}")
        for what in ("requires", "after", "capabilities"):
            names = getattr(self, what)
            pattern = _CAPABILITY if what == "capabilities" else NAME
            if not isinstance(names, tuple) or not all(isinstance(n, str) and pattern.fullmatch(n) for n in names):
                problems.append(f"{what} should be a tuple of names, not {names!r}")
        return problems
