"""`commerce plugins purge`: the end of a plugin's data."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument, open_database


@click.command("purge")
@click.argument("name")
@config_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--by-name", is_flag=True, help="Do not run the plugin's own migrations backwards.")
def purge_command(name: str, config: str, yes: bool, by_name: bool) -> None:
    """Drop all of a plugin's tables, for good. Works without its code, too."""
    from commerce_core import migrations

    with open_database(config) as database:
        owners = {owner.name: owner for owner in database.owners}
        needed_by = [owner.name for owner in database.owners if name in owner.requires]
        if needed_by:
            raise click.ClickException(f"{', '.join(needed_by)} needs {name}, and is enabled.")
        with database.engine.connect() as connection:
            found = migrations.belongings(connection, name)
        click.echo(f"{name} is at {found.revision or 'no revision'} and has:")
        for size in found.tables:
            click.echo(f"  {size}")
        if name in owners:
            click.echo("It is still enabled: processes that run now will miss their tables.")
        if not yes:
            click.confirm("Drop all of it?", abort=True)
        migrations.purge(database.engine, name, None if by_name else owners.get(name), report=click.echo)
    click.echo(f"Nothing of {name} is left.")
    if name in owners:
        click.echo("Take it out of commerce.plugins, or `commerce db upgrade` makes its tables again.")
