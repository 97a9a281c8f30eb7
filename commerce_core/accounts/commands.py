"""`commerce user`: people of the staff."""

from __future__ import annotations

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.group()
def user() -> None:
    """Create members of staff and their API tokens."""


@user.command("create-admin")
@click.option("--email", prompt=True, help="The address they are known by.")
@click.option("--name", default="Administrator", show_default=True)
@config_argument
def create_admin(config: str, email: str, name: str) -> None:
    """Make an administrator, or make an existing user one, and print a new API token (shown only once)."""
    from commerce_core.accounts.service import create_user, find_user, issue_token
    from commerce_core.database import transaction

    with open_shop(config) as shop, transaction(shop.engine) as session:
        person = find_user(session, email) or create_user(session, email, name)
        person.role = "admin"
        token = issue_token(session, person, "command line")
    click.echo(token)
