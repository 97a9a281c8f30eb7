"""`commerce db`: the schema of the database, the core's and the plugins'."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from commerce_core.cli.shop import config_argument, open_database

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.group()
def db() -> None:
    """Upgrade the database, see how it stands, and write migrations."""


@db.command()
@config_argument
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for a database that does not answer yet.  [default: 0]",
)
def upgrade(config: str, wait: float) -> None:
    """Bring the core and every enabled plugin to their newest revisions.

    Safe to run at any time, and by several at once.
    """
    from commerce_core import migrations

    with open_database(config) as database:
        _wait_for(database.engine, wait)
        done = migrations.upgrade(database.engine, database.owners, report=click.echo)
        with database.engine.connect() as connection:
            found = [state for state in migrations.states(connection, database.owners) if state.state != "ORPHAN"]
    at = ", ".join(f"{state.name} {state.revision}" for state in found)
    click.echo(f"The database is at {at}{'' if done else ' already'}.")


def _wait_for(engine: Engine, seconds: float) -> None:
    """Until the database answers. Raises what it says, or does not, after so long."""
    from sqlalchemy.exc import OperationalError

    deadline = time.monotonic() + seconds
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            click.echo(f"The database does not answer yet: {str(error.orig).splitlines()[0]}", err=True)
            time.sleep(min(1.0, seconds))


@db.command()
@config_argument
def check(config: str) -> None:
    """Say whether the database is at the revisions that this version needs; exit 1 if not."""
    from commerce_core import migrations

    with open_database(config) as database, database.engine.connect() as connection:
        migrations.check(connection, database.owners)
        found = migrations.states(connection, database.owners)
    at = ", ".join(f"{state.name} {state.revision}" for state in found if state.state != "ORPHAN")
    click.echo(f"The database is at {at}, as it should be.")
    orphans = [state.name for state in found if state.state == "ORPHAN"]
    if orphans:
        click.echo(f"It also has tables of plugins that are not enabled: {', '.join(orphans)}.")


@db.command()
@config_argument
def status(config: str) -> None:
    """List the core, the enabled plugins and those that have left tables, with revisions, tables and rows."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core import migrations

    table = Table("owner", "state", "revision", "pending", "tables", "rows")
    with open_database(config) as database, database.engine.connect() as connection:
        for owner in migrations.states(connection, database.owners):
            sizes = migrations.table_sizes(connection, owner.name)
            about = "" if all(size.exact for size in sizes) else "about "
            table.add_row(
                owner.name, owner.state, owner.revision or "", ", ".join(owner.pending),
                str(len(sizes)), f"{about}{sum(size.rows for size in sizes):,}",
            )  # fmt: skip
    Console().print(table)


@db.command()
@config_argument
@click.option("--owner", "name", default="core", show_default=True, help="The plugin whose models have changed.")
@click.option("-m", "--message", required=True, help="What the revision does, in a few words.")
@click.option("--empty", is_flag=True, help="Write one to fill by hand.")
def revision(config: str, name: str, message: str, empty: bool) -> None:
    """Write a migration: what the models have and this database has not, into the owner's own folder."""
    from commerce_core import migrations

    with open_database(config) as database:
        owners = {owner.name: owner for owner in (migrations.CORE, *database.owners)}
        if name not in owners:
            raise click.UsageError(f"{name} has no migrations here; those are {', '.join(owners)}.")
        with database.engine.connect() as connection:
            written = migrations.write_revision(connection, owners[name], message, empty=empty)
    click.echo(f"{written}: read it before you run it.")
