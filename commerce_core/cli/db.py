"""`commerce db`: the schema of the database."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.group()
def db() -> None:
    """Upgrade the database, or check whether it needs it."""


@db.command()
@config_argument
def upgrade(config: str) -> None:
    """Bring the database to the newest revision. Safe to run at any time, and by several at once."""
    from commerce_core import migrations

    with open_shop(config, plugins=False) as shop:
        with shop.engine.connect() as connection:
            before = migrations.current_revision(connection)
        migrations.upgrade(shop.engine)
        after = migrations.head_revision()
        click.echo(f"The database is at revision {after}" + (" already." if before == after else f", was {before}."))


@db.command()
@config_argument
def check(config: str) -> None:
    """Say whether the database is at the revision that this version needs; exit 1 if not."""
    from commerce_core import migrations

    with open_shop(config, plugins=False) as shop, shop.engine.connect() as connection:
        migrations.check(connection)
        click.echo(f"The database is at revision {migrations.head_revision()}, as it should be.")
