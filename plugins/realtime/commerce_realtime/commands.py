"""`commerce realtime`."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument


@click.command()
@config_argument
def realtime(config: str) -> None:
    """Push what changes to browsers, until stopped."""
    raise click.ClickException("There is no server yet.")
