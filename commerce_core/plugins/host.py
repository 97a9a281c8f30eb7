"""The host: the plugins of one shop, in order. It belongs to the registry (`registry.plugins`), not to a module."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pluggy
import structlog

from commerce_core import hookspecs
from commerce_core.clock import Clock
from commerce_core.migrations import Owner
from commerce_core.plugins.calls import (
    BUDGETS,
    FIELD_BUDGET,
    NO_HOOKS,
    OTHER_BUDGET,
    RUNTIME,
    Hook,
    Implementation,
    RuntimeHooks,
    Usage,
)
from commerce_core.plugins.contributions import ExtensionField
from commerce_core.plugins.declaration import PROJECT, Plugin
from commerce_core.plugins.loading import Candidate, blame_dependants, load
from commerce_core.plugins.mistakes import BrokenPlugins, Mistake, is_within, place_of
from commerce_core.settings import CoreSettings

_log = structlog.get_logger("commerce.plugin")


class PluginHost:
    """The enabled plugins, what is wrong with those that could not be loaded, and what they implement."""

    def __init__(self, settings: CoreSettings, clock: Clock, candidates: Iterable[Candidate] = ()) -> None:
        self.core_settings = settings
        self.clock = clock
        self.is_started = False
        self._candidates = list(candidates)
        blame_dependants(self._candidates)
        self._of_fields: list[Implementation] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._register()
        self.runtime = self._runtime()

    @classmethod
    def load(cls, settings: CoreSettings, clock: Clock) -> PluginHost:
        """The host of a shop. Never raises for a plugin: see `raise_mistakes`."""
        if settings.ignored:
            _log.info("settings of plugins that are not enabled are ignored", plugins=list(settings.ignored))
        return cls(settings, clock, load(settings))

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Those that are loaded, in the order of the settings."""
        return tuple(candidate.plugin for candidate in self._loaded() if candidate.plugin is not None)

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Those of the loaded plugins that have tables, for migrations."""
        return tuple(candidate.owner for candidate in self._loaded() if candidate.owner is not None)

    @property
    def mail_templates(self) -> list[str]:
        """The folders with templates of mails that plugins have brought, in their order."""
        return [str(plugin.folder(plugin.mail_templates)) for plugin in self.plugins if plugin.mail_templates]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that are listed, with what is wrong with them."""
        return tuple(self._candidates)

    @property
    def mistakes(self) -> list[Mistake]:
        """Everything that keeps the shop from starting."""
        return [mistake for candidate in self._candidates if not candidate.optional for mistake in candidate.mistakes]

    @property
    def missing(self) -> dict[str, list[Mistake]]:
        """The optional plugins that could not be loaded, and why."""
        return {each.name: each.mistakes for each in self._candidates if each.optional and each.mistakes}

    def is_half_way_in(self, name: str) -> bool:
        """Whether a plugin with mistakes has been asked for what it brings, because they were not known before."""
        return self._manager.has_plugin(name)

    def without_the_broken(self) -> PluginHost:
        """The same plugins, but for those that turned out to be broken while the shop was put together."""
        return PluginHost(self.core_settings, self.clock, self._candidates)

    def raise_mistakes(self) -> None:
        """Raise BrokenPlugins if the shop cannot start. Those that it can do without are told in the log."""
        if self.mistakes:
            raise BrokenPlugins(self.mistakes)
        for name, mistakes in self.missing.items():
            _log.warning("optional plugin not loaded", plugin=name, reasons=[str(mistake) for mistake in mistakes])

    def settings_of(self, plugin: str) -> Any:
        """The settings of a plugin that is loaded; None for one that declares none. Raises LookupError."""
        if not self._manager.has_plugin(plugin):
            raise LookupError(f"the plugin {plugin!r} is not enabled")
        return self._candidate(plugin).settings

    def hook(self, name: str) -> Hook:
        """A hook by its full name, also one that a plugin has for others. Raises LookupError."""
        caller = getattr(self._manager.hook, name, None)
        if caller is None or not caller.has_spec():
            raise LookupError(f"there is no hook {name!r}")
        budget = BUDGETS.get(name, OTHER_BUDGET)
        known = inspect.signature(caller.spec.function).parameters
        return Hook(
            name,
            # pluggy calls the last one that was registered first; and so are they registered.
            tuple(
                Implementation(
                    found.plugin_name,
                    name,
                    found.function,
                    # Also those with a default, which pluggy leaves out.
                    tuple(taken for taken in inspect.signature(found.function).parameters if taken in known),
                    budget,
                )
                for found in reversed(caller.get_hookimpls())
            ),
        )

    def hooks_of(self, plugin: str) -> list[str]:
        """The names of the hooks that a plugin implements."""
        callers = self._manager.get_hookcallers(self._manager.get_plugin(plugin)) or []
        return [caller.name for caller in callers]

    def usage(self) -> dict[tuple[str, str], Usage]:
        """What each plugin has taken in each runtime hook so far, by plugin and hook."""
        hooks = [getattr(self.runtime, name) for name in RUNTIME]
        found = [implementation for hook in hooks for implementation in hook.implementations]
        return {(each.plugin, each.hook): each.usage for each in found + self._of_fields}

    def loader_of(self, plugin: str, field: ExtensionField) -> Implementation:
        """The function of an extension field, as a thing to call."""
        name = f"extensions.{field.resource}.{field.name}"
        loader = Implementation(plugin, name, field.load_many, ("ctx", "ids"), FIELD_BUDGET)
        self._of_fields.append(loader)
        return loader

    @contextmanager
    def blaming(self, implementation: Implementation) -> Iterator[None]:
        """If the block raises, that is the plugin's mistake, and told with all others."""
        try:
            yield
        except Exception as error:
            self._candidate(implementation.plugin).blame_error(
                implementation.hook, error, place_of(implementation.function)
            )

    def blame(self, plugin: str, message: str, where: str | None = None) -> None:
        """A mistake that shows only while the shop is put together."""
        self._candidate(plugin).blame(message, where)

    def plugin_of_module(self, module: str) -> str | None:
        """The plugin that a module belongs to."""
        return next((each.name for each in self._candidates if is_within(module, each.package)), None)

    def plugin_of_file(self, file: str) -> str | None:
        """The plugin that a file belongs to."""
        for candidate in self._candidates:
            package = getattr(sys.modules.get(candidate.package), "__file__", None)
            if package is not None and Path(file).is_relative_to(Path(package).parent):
                return candidate.name
        return None

    def _candidate(self, plugin: str) -> Candidate:
        return next(candidate for candidate in self._candidates if candidate.name == plugin)

    def _loaded(self) -> list[Candidate]:
        return [each for each in self._candidates if each.plugin is not None and not each.mistakes]

    def _register(self) -> None:
        for candidate in self._loaded():
            if candidate.hookspecs is not None:
                self._manager.add_hookspecs(candidate.hookspecs)
        for candidate in reversed(self._loaded()):
            try:
                self._manager.register(candidate.hooks, name=candidate.name)
            except pluggy.PluginValidationError as error:
                candidate.blame(str(error))

    def _runtime(self) -> RuntimeHooks:
        found = {name: self.hook(f"commerce_{name}") for name in RUNTIME}
        return RuntimeHooks(**found, host=self) if any(found.values()) else NO_HOOKS
