"""`commerce stock`: prove that the stock adds up; give back what lapsed holds had reserved."""

from __future__ import annotations

import sys

import click

from commerce_core.cli.shop import config_argument, open_shop


@click.group()
def stock() -> None:
    """Verify, import or export the stock, or sweep lapsed holds."""


@stock.command()
@config_argument
def verify(config: str) -> None:
    """Prove that counters, holds and ledger agree for every variant; exit 1 and name what does not."""
    from sqlalchemy.orm import Session

    from commerce_core.stock.verify import RULES, verify_stock

    with open_shop(config) as shop, Session(shop.engine) as session:
        discrepancies = verify_stock(session)
    for found in discrepancies:
        click.echo(f"{found.rule}: {found.subject} ({found.detail})", err=True)
    if discrepancies:
        click.echo(f"{len(discrepancies)} discrepancies.", err=True)
        sys.exit(1)
    click.echo(f"The stock adds up: {len(RULES)} rules hold for every variant, hold and order.")


@stock.command()
@config_argument
def sweep(config: str) -> None:
    """Give back what lapsed holds have reserved."""
    from commerce_core.stock.sweep import sweep_holds

    with open_shop(config) as shop:
        click.echo(f"{sweep_holds(shop.engine, now=shop.clock.now())} lapsed holds were given back.")
