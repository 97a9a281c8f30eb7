"""`commerce plugins`."""

from __future__ import annotations

import click

from commerce_core.cli.purge import purge_command


@click.group()
def plugins() -> None:
    """What plugins have left in the database."""


plugins.add_command(purge_command)
