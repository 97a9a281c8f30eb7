"""Putting plugins into a shop: what their startup hooks return goes into the same registries as the core's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.util import Finalize
from typing import Any

import structlog
from pyramid.config import Configurator
from pyramid.config.actions import ActionInfo
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError, ConfigurationExecutionError
from pyramid.interfaces import IRoutesMapper

from commerce_core.accounts.permissions import Permission
from commerce_core.api import API_PREFIX
from commerce_core.jobs.kinds import JobKind, Periodic, Watched
from commerce_core.plugins.calls import Implementation
from commerce_core.plugins.contributions import (
    RESOURCES,
    AdminResource,
    ExtensionField,
    HealthCheck,
    PluginPermission,
    Process,
    Subscriber,
)
from commerce_core.plugins.host import PluginHost
from commerce_core.plugins.mistakes import place, place_of, said
from commerce_core.settings import did_you_mean

_log = structlog.get_logger("commerce.plugin")
Contribute = Callable[[Configurator, str, Any], None]


def put_together(config: Configurator, host: PluginHost) -> None:
    """Ask every plugin what it brings. What is wrong with that is kept in the host, with all other mistakes."""
    for hook, contribute in CONTRIBUTIONS.items():
        for implementation in host.hook(hook).implementations:
            with host.blaming(implementation):
                for thing in _ask(host, implementation) or ():
                    contribute(config, implementation.plugin, thing)
                    _commit(config)
    for plugin in host.plugins:
        if plugin.static is not None:
            config.add_static_view(f"static/{plugin.name}", str(plugin.folder(plugin.static)))
    config.commit()
    _include(config, host)


def _commit(config: Configurator) -> None:
    try:
        config.commit()
    except ConfigurationExecutionError as error:
        raise error.evalue from None


def _ask(host: PluginHost, implementation: Implementation, **given: Any) -> Any:
    given["settings"] = host.settings_of(implementation.plugin)
    return implementation.function(**{name: given[name] for name in implementation.parameters})


def _include(config: Configurator, host: PluginHost) -> None:
    """Each plugin's `commerce_includeme`, so that the core's views may be replaced, and no plugin's by another."""
    before = dict(config.registry.getUtility(IRoutesMapper).routes)
    for implementation in host.hook("commerce_includeme").implementations:
        with host.blaming(implementation):
            config.include(_includeme(host, implementation), route_prefix=f"{API_PREFIX}/{implementation.plugin}")
    try:
        config.commit()
    except ConfigurationConflictError as error:
        for infos in error._conflicts.values():
            _blame_conflict(host, infos)
        return
    except ConfigurationExecutionError as error:
        plugin = host.plugin_of_file(error.info.file) or host.plugins[-1].name
        host.blame(plugin, f"commerce_includeme: {said(error.evalue)}", place(error.info.file, error.info.line))
        return
    _check_routes(config, host, before)
    _check_permissions(config, host)


def _includeme(host: PluginHost, implementation: Implementation) -> Callable[[Configurator], None]:
    def includeme(config: Configurator) -> None:
        _ask(host, implementation, config=config)

    # Pyramid includes a function of one module and name once, and takes relative names from its module.
    includeme.__name__ = f"includeme_{implementation.plugin}"
    includeme.__module__ = implementation.function.__module__
    return includeme


def _blame_conflict(host: PluginHost, infos: Iterable[ActionInfo]) -> None:
    """Two have configured the same thing: one message, with both places."""
    found = list({(place(info.file, info.line), info.src.strip()): info for info in infos}.values())
    owners = [host.plugin_of_file(info.file) for info in found]
    names = [name for name in dict.fromkeys(owners) if name is not None]
    places = " and ".join(f"{place(info.file, info.line)} ({info.src.strip()})" for info in found)
    for name in names[-1:]:
        others = [other for other in names if other != name]
        also = f", as {', '.join(others)} does" if others else ""
        host.blame(
            name,
            f"configures what is configured already{also}: {places}; give one of them another name",
            place(found[-1].file, found[-1].line),
        )


def _check_routes(config: Configurator, host: PluginHost, before: dict[str, Any]) -> None:
    """No plugin may take the core's routes away, nor have one that another one hides."""
    introspector = config.registry.introspector
    mapper = config.registry.getUtility(IRoutesMapper)
    by_pattern: dict[str, str] = {route.pattern.lstrip("/"): route.name for route in before.values()}
    for route in mapper.get_routes():
        info = introspector.get("routes", route.name)
        if before.get(route.name) is route or info is None:
            continue
        where = place(info.action_info.file, info.action_info.line)
        plugin = host.plugin_of_file(info.action_info.file)
        if plugin is None:
            continue
        pattern = route.pattern.lstrip("/")
        if route.name in before:
            host.blame(
                plugin,
                f"the core has a route {route.name!r}, too; call yours {plugin}_{route.name}",
                where,
            )
        elif pattern in by_pattern and not route.predicates:
            other = introspector.get("routes", by_pattern[pattern])
            at = other and place(other.action_info.file, other.action_info.line)
            host.blame(
                plugin,
                f"the route {route.name!r} is never reached: {by_pattern[pattern]!r} has the address /{pattern}, too"
                f" ({at})",
                where,
            )
        by_pattern.setdefault(pattern, route.name)


def _check_permissions(config: Configurator, host: PluginHost) -> None:
    """A view whose permission nobody knows could be reached by nobody."""
    known = _permissions(config.registry)
    for endpoint in config.registry.endpoints:
        plugin = host.plugin_of_module(endpoint.function.__module__)
        if plugin is not None and endpoint.permission not in known:
            meant = did_you_mean(endpoint.permission, known)
            host.blame(plugin, f"there is no permission {endpoint.permission!r}{meant}", place_of(endpoint.function))


def _permissions(registry: Any) -> set[str]:
    return {*map(str, Permission), *registry.plugin_permissions}


# --- What plugins bring ---


def _expect(thing: Any, *kinds: type) -> None:
    if not isinstance(thing, kinds):
        raise TypeError(f"returned {thing!r}, where {' or '.join(kind.__name__ for kind in kinds)} is expected")


def _price_rule(config: Configurator, plugin: str, rule: Any) -> None:
    config.add_price_rule(replace(rule, source=plugin))


def _payment_provider(config: Configurator, _plugin: str, provider: Any) -> None:
    config.add_payment_provider(provider)


def _search_backend(config: Configurator, _plugin: str, backend: Any) -> None:
    config.add_search_backend(backend)


def _subscriber(config: Configurator, plugin: str, subscriber: Any) -> None:
    _expect(subscriber, Subscriber)
    if isinstance(subscriber.receiver, JobKind):
        _check_prefix(plugin, "job", subscriber.receiver.name, ".")
        config.add_durable_subscriber(subscriber.event, subscriber.receiver)
    else:
        config.registry.bus.subscribe(subscriber.event, _isolated(plugin, subscriber))


def _isolated(plugin: str, subscriber: Subscriber) -> Callable[[Any], None]:
    """A function that is told after the commit, and whose failure is logged as the plugin's."""
    receive: Any = subscriber.receiver

    def tell(event: Any) -> None:
        try:
            receive(event)
        except Exception as error:
            _log.error("plugin failed", plugin=plugin, hook=f"subscriber of {type(event).__name__}", exc_info=error)

    return tell


def _job(config: Configurator, plugin: str, kind: Any) -> None:
    _expect(kind, JobKind, Periodic, Watched)
    _check_prefix(plugin, "job", kind.name if isinstance(kind, JobKind) else kind.kind.name, ".")
    if isinstance(kind, Periodic):
        config.add_periodic_job(kind.kind, every=kind.every)
    elif isinstance(kind, Watched):
        config.add_watched_job(kind.kind, is_due=kind.is_due)
    elif config.registry.jobs.get(kind.name) is not kind:  # a subscriber's, which is there already
        config.add_job(kind)


def _extension_field(config: Configurator, plugin: str, field: Any) -> None:
    _expect(field, ExtensionField)
    if field.resource not in RESOURCES:
        raise ConfigurationError(f"{field.resource!r} shows no extensions; {', '.join(RESOURCES)} do")
    config.add_extension_field(plugin, field)


def _permission(config: Configurator, plugin: str, permission: Any) -> None:
    _expect(permission, PluginPermission)
    _check_prefix(plugin, "permission", permission.name, ":")
    config.add_plugin_permission(permission)


def _admin_resource(config: Configurator, plugin: str, resource: Any) -> None:
    _expect(resource, AdminResource)
    if resource.permission not in _permissions(config.registry):
        raise ConfigurationError(f"there is no permission {resource.permission!r}")
    config.registry.admin_resources.append((plugin, resource))


def _health_check(config: Configurator, plugin: str, check: Any) -> None:
    _expect(check, HealthCheck)
    config.registry.health_checks.add(f"{plugin}.{check.name}", check)


def _cdn_purger(config: Configurator, _plugin: str, purger: Any) -> None:
    config.add_cdn_purger(purger)


def _check_prefix(plugin: str, what: str, name: str, separator: str) -> None:
    if not name.startswith(plugin + separator):
        raise ConfigurationError(f"the {what} {name!r} should be called {plugin}{separator}{name}")


CONTRIBUTIONS: dict[str, Contribute] = {
    "commerce_register_permissions": _permission,
    "commerce_register_price_rules": _price_rule,
    "commerce_register_payment_providers": _payment_provider,
    "commerce_register_search_backends": _search_backend,
    "commerce_register_subscribers": _subscriber,
    "commerce_register_jobs": _job,
    "commerce_register_extension_fields": _extension_field,
    "commerce_register_admin_resources": _admin_resource,
    "commerce_register_health_checks": _health_check,
    "commerce_register_cdn_purgers": _cdn_purger,
}


def processes(host: PluginHost) -> list[Process]:
    """What plugins want to have running beside the web server and the worker. Raises BrokenPlugins."""
    found: list[Process] = []
    for implementation in host.hook("commerce_register_processes").implementations:
        with host.blaming(implementation):
            for process in _ask(host, implementation) or ():
                _expect(process, Process)
                if process.command[:1] != (implementation.plugin,):
                    raise ConfigurationError(f"{process.command!r} should be a command of {implementation.plugin}")
                if process.name != implementation.plugin:
                    _check_prefix(implementation.plugin, "process", process.name, "-")
                found.append(process)
    host.raise_mistakes()
    return found


def start(registry: Any, role: str) -> None:
    """`commerce_startup` of every plugin. Raises BrokenPlugins."""
    host: PluginHost = registry.plugins
    for implementation in host.hook("commerce_startup").implementations:
        with host.blaming(implementation):
            _ask(host, implementation, registry=registry, role=role)
    host.is_started = True
    host.raise_mistakes()


def stop_at_exit(registry: Any) -> None:
    """Have `stop` called when this process comes to its end, also one that `multiprocessing` has started."""
    Finalize(None, stop, args=(registry,), exitpriority=0)


def stop(registry: Any) -> None:
    """`commerce_shutdown` of every plugin, last first, if they were started. Never raises."""
    host: PluginHost = registry.plugins
    if not host.is_started:
        return
    host.is_started = False
    for implementation in reversed(host.hook("commerce_shutdown").implementations):
        try:
            _ask(host, implementation, registry=registry)
        except Exception as error:
            _log.error("plugin failed", plugin=implementation.plugin, hook=implementation.hook, exc_info=error)
