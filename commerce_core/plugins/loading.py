"""From the list in the settings to plugins that are known to be sound, or to everything that is wrong with them.

Nothing is imported of a plugin that is not listed. A mistake never hides another: each plugin is looked at as far as it
can be, and what is found is kept with it.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from sqlalchemy import Table
from sqlalchemy.orm import configure_mappers

from commerce_core import hookspecs
from commerce_core.api.problems import all_problems
from commerce_core.database import Base
from commerce_core.migrations import (
    MigrationsRefused,
    Owner,
    forbidden_foreign_keys,
    foreign_types,
    owner_of_plugin,
)
from commerce_core.plugins.checks import check_hooks, check_specs, parameters_of_specs
from commerce_core.plugins.declaration import API, InvalidPlugin, Plugin
from commerce_core.plugins.mistakes import Mistake, is_within, place, place_in_module, place_of, place_raised, said
from commerce_core.plugins.settings import parse_section, unexpected, where_set
from commerce_core.settings import FOREIGN_SECTIONS, PLUGINS, CoreSettings, Section

# Beside the core's sections, commands and tables.
_TAKEN = {"core", "commerce", "plugins", "plugin", "admin", "auth", "static", "problems", "alembic", "pg"}


@dataclass(slots=True)
class Candidate:
    """A plugin on its way in. `plugin` is None when not even that could be read."""

    name: str
    optional: bool = False
    entry_point: EntryPoint | None = None
    plugin: Plugin | None = None
    settings: Section | None = None
    hooks: ModuleType | None = None
    hookspecs: ModuleType | None = None
    tables: frozenset[str] = frozenset()
    owner: Owner | None = None
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def package(self) -> str:
        """The package that declares it: what is in there is the plugin's."""
        if self.plugin is None:
            return self.entry_point.module.partition(".")[0] if self.entry_point else ""
        module = self.plugin.module
        is_package = hasattr(sys.modules.get(module), "__path__")
        return module if is_package or "." not in module else module.rpartition(".")[0]

    @property
    def distribution(self) -> str | None:
        """Name and version of what it was installed with."""
        found = self.entry_point and self.entry_point.dist
        return f"{found.name} {found.version}" if found else None

    def blame(self, message: str, where: str | None = None) -> None:
        self.mistakes.append(Mistake(self.name, message, where))

    def blame_error(self, what: str, error: BaseException, where: str | None = None) -> None:
        """`what`, which is at `where`, has raised."""
        self.blame(f"{what} raised {said(error)}", place_raised(error, self.package) or where or self._declared_at())

    def _declared_at(self) -> str | None:
        if self.plugin is None:
            return None
        return place(getattr(sys.modules.get(self.plugin.module), "__file__", None), self.plugin.line)


def installed() -> dict[str, EntryPoint]:
    """Every plugin there is in this environment, by name. Imports none."""
    return {found.name: found for found in entry_points(group=PLUGINS)}


def declared(settings: CoreSettings) -> list[Candidate]:
    """The listed plugins, as they declare themselves: nothing else of them is imported."""
    candidates = []
    seen: set[str] = set()
    for name in settings.commerce.plugins:
        if name in seen:
            candidates.append(Candidate(name))
            candidates[-1].blame("is listed twice in commerce.plugins", _listed_at(settings))
            continue
        seen.add(name)
        candidates.append(Candidate(name, optional=name in settings.commerce.optional_plugins))
        _declare(candidates[-1], settings)
    for name in settings.commerce.optional_plugins:
        if name not in seen:
            candidates.append(Candidate(name))
            candidates[-1].blame(
                "is in commerce.optional_plugins only: list it in commerce.plugins, too",
                where_set(settings, "commerce", "optional_plugins"),
            )
    _check_order(candidates, settings)
    return candidates


def load(settings: CoreSettings) -> list[Candidate]:
    """The listed plugins with their settings, models and hooks, each with what is wrong with it."""
    candidates = declared(settings)
    specs = parameters_of_specs(hookspecs)
    for candidate in candidates:
        if candidate.plugin is not None:
            _load_settings(candidate, settings)
            _load_models(candidate)
            _load_migrations(candidate)
            _load_hookspecs(candidate, specs)
            _load_hooks(candidate)
    for candidate in candidates:
        if candidate.plugin is not None and candidate.hooks is not None:
            candidate.mistakes += check_hooks(candidate.name, candidate.hooks, specs)
            candidate.mistakes += _foreign_problems(candidate)
    return candidates


def owners_declared(settings: CoreSettings) -> tuple[Owner, ...]:
    """Who has migrations beside the core. Imports declarations and migrations only; what is broken is left out."""
    candidates = declared(settings)
    for candidate in candidates:
        if candidate.plugin is not None:
            _load_owner(candidate, candidate.plugin)
    return tuple(candidate.owner for candidate in candidates if candidate.owner is not None)


def _declare(candidate: Candidate, settings: CoreSettings) -> None:
    found = [point for point in entry_points(group=PLUGINS) if point.name == candidate.name]
    if not found:
        names = list(installed())
        like = next(iter(difflib.get_close_matches(candidate.name, names, n=1, cutoff=0.6)), None)
        mend = f"did you mean {like}?" if like else f"there are {', '.join(sorted(names)) or 'none'}"
        candidate.blame(f"is listed in commerce.plugins and not installed; {mend}", _listed_at(settings))
        return
    candidate.entry_point = found[0]
    if len({point.value for point in found}) > 1:
        owners = ", ".join(sorted(str(point.dist and point.dist.name) for point in found))
        candidate.blame(f"is the name of several distributions: {owners}; uninstall all but one", _listed_at(settings))
    before = set(Base.metadata.tables)
    try:
        plugin = found[0].load()
    except InvalidPlugin as error:
        candidate.blame(str(error), place_raised(error, found[0].module.partition(".")[0]))
        return
    except Exception as error:
        candidate.blame_error(f"importing {found[0].value}", error)
        return
    candidate.tables = frozenset(set(Base.metadata.tables) - before)
    if not isinstance(plugin, Plugin):
        candidate.blame(f"its entry point {found[0].value} is a {type(plugin).__name__}, not a Plugin")
        return
    candidate.plugin = plugin
    where = candidate._declared_at()
    if plugin.name != candidate.name:
        candidate.blame(f"declares itself as {plugin.name!r}: give its entry point and its declaration one name", where)
    if plugin.api != API:
        candidate.blame(
            f"is made for generation {plugin.api} of the hooks, and this version of commerce-core has {API}:"
            f" install {'an older' if plugin.api > API else 'a newer'} version of the plugin, or"
            f" {'a newer' if plugin.api > API else 'an older'} one of commerce-core",
            where,
        )
    for name in (plugin.mail_templates, plugin.static):
        if name is not None and not plugin.folder(name).is_dir():
            candidate.blame(f"there is no folder {plugin.folder(name)}", where)
    owner = clash_of(candidate.name)
    if owner is not None:
        candidate.blame(f"the name {candidate.name} is that of {owner}: call the plugin something else", where)


def clash_of(name: str) -> str | None:
    """What of the core has this name already."""
    from commerce_core.cli.main import COMMANDS

    if name in CoreSettings.model_fields or name in FOREIGN_SECTIONS:
        return f"the settings {name}.*"
    if name in COMMANDS:
        return f"the command `commerce {name}`"
    if name in {table.partition("_")[0] for table in _core_tables()}:
        return f"the core's tables {name}, {name}_..."
    return "something of the core" if name in _TAKEN else None


def _core_tables() -> set[str]:
    import commerce_core.models as models

    assert models
    return {name for name, module in _modules_of_tables().items() if module.partition(".")[0] == "commerce_core"}


def _modules_of_tables() -> dict[str, str]:
    """The module of the class of each mapped table."""
    return {
        mapper.local_table.name: mapper.class_.__module__
        for mapper in Base.registry.mappers
        if isinstance(mapper.local_table, Table)
    }


def _check_order(candidates: Sequence[Candidate], settings: CoreSettings) -> None:
    names = [candidate.name for candidate in candidates]
    for position, candidate in enumerate(candidates):
        if candidate.plugin is None:
            continue
        for name in candidate.plugin.requires:
            if name not in names:
                known = "" if name in installed() else f", once it is installed ({name} is not)"
                candidate.blame(
                    f"needs the plugin {name}: list it above {candidate.name} in commerce.plugins{known}",
                    candidate._declared_at(),
                )
        for name in (*candidate.plugin.requires, *candidate.plugin.after):
            if name in names and names.index(name) > position:
                candidate.blame(
                    f"has to come after {name}: move the line {candidate.name} below {name} in commerce.plugins",
                    _listed_at(settings),
                )


def blame_dependants(candidates: Iterable[Candidate]) -> None:
    """Nothing can stand on an optional plugin that is not there."""
    broken: set[str] = set()
    for candidate in candidates:
        for name in candidate.plugin.requires if candidate.plugin else ():
            mistake = Mistake(candidate.name, f"needs the plugin {name}, which is optional and cannot be loaded")
            if name in broken and mistake not in candidate.mistakes:
                candidate.mistakes.append(mistake)
        if candidate.mistakes and candidate.optional:
            broken.add(candidate.name)


def _load_settings(candidate: Candidate, settings: CoreSettings) -> None:
    assert candidate.plugin is not None
    given = settings.of_plugins.get(candidate.name, {})
    if candidate.plugin.settings is None:
        candidate.mistakes += unexpected(candidate.name, given, settings)
        return
    module, _, name = candidate.plugin.settings.partition(":")
    imported = _import(candidate, module, "settings")
    if imported is None:
        return
    section = getattr(imported, name, None)
    if not (isinstance(section, type) and issubclass(section, Section)):
        candidate.blame(
            f"{candidate.plugin.settings} should be a class of settings, a subclass of commerce_core.plugin.Section",
            place_of(section) if isinstance(section, type) else place(imported.__file__),
        )
        return
    candidate.settings, mistakes = parse_section(candidate.name, section, settings)
    candidate.mistakes += mistakes


def _load_models(candidate: Candidate) -> None:
    assert candidate.plugin is not None
    before = set(Base.metadata.tables)
    if candidate.plugin.models is not None:
        try:
            importlib.import_module(candidate.plugin.models)
            configure_mappers()
        except Exception as error:
            candidate.blame_error(f"importing {candidate.plugin.models} (models)", error)
    of_classes = {name for name, module in _modules_of_tables().items() if is_within(module, candidate.package)}
    candidate.tables |= (set(Base.metadata.tables) - before) | of_classes
    for table in sorted(candidate.tables):
        if not table.startswith(f"{candidate.name}_"):
            candidate.blame(
                f"the table {table} should be called {candidate.name}_{table}: a plugin's tables begin with its name",
                _place_of_table(candidate, table),
            )


def _load_migrations(candidate: Candidate) -> None:
    """Whoever has tables has migrations for them, and no table stands in the way of the core's."""
    assert candidate.plugin is not None
    _load_owner(candidate, candidate.plugin)
    module = candidate.plugin.models or candidate.plugin.module
    if candidate.tables and candidate.plugin.migrations is None and not candidate.mistakes:
        candidate.blame(
            "has tables and no migrations: name their package, Plugin(migrations=...)",
            place_in_module(module, "__tablename__"),
        )
    for problem in (
        *foreign_types(Base.metadata, candidate.name),
        *forbidden_foreign_keys(Base.metadata, candidate.name, candidate.plugin.requires),
    ):
        candidate.blame(problem, place_in_module(module, "__tablename__"))


def _load_owner(candidate: Candidate, plugin: Plugin) -> None:
    if plugin.migrations is None:
        return
    try:
        candidate.owner = owner_of_plugin(plugin.name, plugin.migrations, plugin.models)
    except MigrationsRefused as refusal:
        candidate.blame(str(refusal), candidate._declared_at())
    except Exception as error:
        candidate.blame_error(f"importing {plugin.migrations} (migrations)", error)


def _place_of_table(candidate: Candidate, table: str) -> str | None:
    module = _modules_of_tables().get(table) or (candidate.plugin and candidate.plugin.models)
    return place_in_module(module or candidate.package, f'"{table}"')


def _load_hookspecs(candidate: Candidate, specs: dict[str, tuple[str, ...]]) -> None:
    assert candidate.plugin is not None
    if candidate.plugin.hookspecs is None:
        return
    candidate.hookspecs = _import(candidate, candidate.plugin.hookspecs, "hookspecs")
    if candidate.hookspecs is not None:
        candidate.mistakes += check_specs(candidate.name, candidate.hookspecs)
        specs |= parameters_of_specs(candidate.hookspecs)


def _load_hooks(candidate: Candidate) -> None:
    assert candidate.plugin is not None
    candidate.hooks = _import(candidate, candidate.plugin.hooks, "hooks")


def _import(candidate: Candidate, module: str, what: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except Exception as error:
        candidate.blame_error(f"importing {module} ({what})", error)
        return None


def _foreign_problems(candidate: Candidate) -> list[Mistake]:
    """Kinds of problems of the plugin that are not called after it."""
    return [
        Mistake(
            candidate.name,
            f"the problem {kind.__name__} should have a slug such as {candidate.name}/{kind.slug}",
            place_of(kind),
        )
        for kind in set(all_problems())
        if is_within(kind.__module__, candidate.package)
        and "slug" in kind.__dict__
        and not kind.slug.startswith(f"{candidate.name}/")
    ]


def _listed_at(settings: CoreSettings) -> str | None:
    return where_set(settings, "commerce", "plugins")
