"""`commerce openapi`: the reference of the REST API, for tools."""

from __future__ import annotations

from pathlib import Path

import click

from commerce_core.cli.shop import config_argument


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--core", is_flag=True, help="Of the core alone, without plugins.")
@config_argument
def openapi(config: str, output: Path | None, core: bool) -> None:
    """Print the OpenAPI document of the shop, or write it to a file. Needs no database."""
    from commerce_core.api.openapi import openapi_bytes
    from commerce_core.application import make_configurator, without_database
    from commerce_core.settings import load_settings

    settings = load_settings(config)
    configurator = make_configurator(without_database(settings.without_plugins() if core else settings))
    document = openapi_bytes(configurator.registry)
    if output is None:
        click.echo(document, nl=False)
    else:
        output.write_bytes(document)
