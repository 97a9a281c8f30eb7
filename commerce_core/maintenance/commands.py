"""`commerce maintenance`: close the shop to all but staff, and open it again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from commerce_core.cli.shop import config_argument, open_database
from commerce_core.clock import Clock

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ACTOR = "command line"


@click.group()
def maintenance() -> None:
    """Close the shop to all but staff (503 with Retry-After), and open it again; all processes follow in a second."""


@maintenance.command()
@config_argument
@click.option("--minutes", type=click.IntRange(1, 10_080), help="How long it should take; sets Retry-After.")
@click.option("--message", help="What customers are told, as the problem's detail.")
def on(config: str, minutes: int | None, message: str | None) -> None:
    """Close the shop. Again, with other options, says anew how long and why."""
    from commerce_core.maintenance.service import begin_maintenance

    now = Clock().now()
    until = None if minutes is None else now + timedelta(minutes=minutes)
    with _session(config) as session:
        begin_maintenance(session, now=now, until=until, message=message, actor=ACTOR)
    click.echo(f"Closed{'' if until is None else f' until {until:%Y-%m-%d %H:%M} UTC'}. Staff may go on.")


@maintenance.command()
@config_argument
def off(config: str) -> None:
    """Open the shop."""
    from commerce_core.maintenance.service import end_maintenance

    with _session(config) as session:
        was_closed = end_maintenance(session, now=Clock().now(), actor=ACTOR)
    click.echo("Open." if was_closed else "It was open already.")


@maintenance.command()
@config_argument
def status(config: str) -> None:
    """Say whether the shop is open; exit 1 if it is closed."""
    from commerce_core.maintenance.service import get_maintenance

    with _session(config) as session:
        found = get_maintenance(session)
        if found is None:
            click.echo("Open.")
            return
        until = "" if found.until is None else f", until {found.until:%Y-%m-%d %H:%M}"
        message = "" if found.message is None else f": {found.message}"
        click.echo(f"Closed since {found.since:%Y-%m-%d %H:%M}{until} UTC{message}")
    sys.exit(1)


@contextmanager
def _session(config: str) -> Iterator[Session]:
    """Without the shop's rooms and plugins: a shop that does not start can be closed, too."""
    from commerce_core.database import transaction

    with open_database(config) as database, transaction(database.engine) as session:
        yield session
