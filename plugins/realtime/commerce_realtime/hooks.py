"""What realtime brings to the shop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyramid.config import Configurator

from commerce_core.events import Event, ProductChanged, StockChanged
from commerce_core.plugin import PluginPermission, Process, hookimpl
from commerce_realtime.channels import RULES, TOLD, WATCH, ChannelRule, channels_of, data_of
from commerce_realtime.lines import Exchange
from commerce_realtime.publisher import Publisher
from commerce_realtime.settings import Settings

if TYPE_CHECKING:
    import click


@hookimpl
def commerce_includeme(config: Configurator, settings: Settings) -> None:
    registry = config.registry
    publisher = registry.realtime = Publisher(
        Exchange(settings.bus, registry.database_url, registry.settings_object.redis.url),
        registry.engine,
        registry.clock,
        settings.window_ms / 1000,
    )
    registry.bus.subscribe(StockChanged, publisher.stock_changed)
    registry.bus.subscribe(ProductChanged, publisher.catalogue_changed)
    for kind in TOLD:
        registry.bus.subscribe(kind, _teller(publisher))
    registry.realtime_channels = (*RULES, *_rules_of_plugins(registry))
    config.add_route("realtime_config", "/config")
    config.add_root_route("realtime_auth", "/broadcasting/auth")
    config.add_root_route("realtime_user_auth", "/broadcasting/user-auth")
    config.add_root_route("realtime_pusher_auth", "/pusher/auth")
    config.add_root_route("realtime_pusher_user_auth", "/pusher/user-auth")
    config.scan(".views")
    is_development = registry.settings_object.commerce.environment == "development"
    if is_development if settings.page is None else settings.page:
        config.include("commerce_realtime.page")


def _teller(publisher: Publisher) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        publisher.tell(event, channels_of(event), data_of(event))

    return tell


def _rules_of_plugins(registry: Any) -> Iterable[ChannelRule]:
    for implementation in registry.plugins.hook("realtime_register_channels").implementations:
        given = {"settings": registry.plugins.settings_of(implementation.plugin)}
        yield from implementation.function(**{name: given[name] for name in implementation.parameters})


@hookimpl
def commerce_register_permissions() -> Iterable[PluginPermission]:
    return [PluginPermission(name=WATCH, description="Listen to what is told to staff: orders, stock, dead jobs.")]


@hookimpl
def commerce_register_commands() -> Iterable[click.Command]:
    from commerce_realtime.commands import realtime

    return [realtime]


@hookimpl
def commerce_register_processes() -> Iterable[Process]:
    return [Process(name="realtime", command=("realtime",))]


@hookimpl
def commerce_shutdown(registry: Any) -> None:
    registry.realtime.close()
