"""`commerce realtime`."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.command()
@config_argument
def realtime(config: str) -> None:
    """Push what changes to browsers, until stopped."""
    from commerce_realtime.running import run
    from commerce_realtime.server import Server

    def ready(server: Server) -> None:
        scheme = "wss" if settings.certificate else "ws"
        click.echo(f"Realtime ready at {scheme}://{settings.host}:{server.port}{settings.prefix}/app/{settings.key}")

    with open_shop(config) as shop:
        settings = shop.registry.plugins.settings_of("realtime")
        try:
            run(shop.registry, settings, ready)
        except OSError as error:
            raise click.ClickException(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}."
                " Choose another port with realtime.port."
            ) from error
