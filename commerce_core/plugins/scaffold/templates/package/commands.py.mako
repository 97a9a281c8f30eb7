"""`commerce ${name} ...`"""

from __future__ import annotations

import click
from commerce_core.cli.shop import config_argument, open_shop
from sqlalchemy.orm import Session

from commerce_${name} import service


@click.command()
@config_argument
def total(config: str) -> None:
    """How many points have been earned."""
    with open_shop(config) as shop, Session(shop.engine) as session:
        click.echo(service.total(session))
