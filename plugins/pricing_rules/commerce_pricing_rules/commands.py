"""`commerce pricing ...`"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from commerce_core.accounts.models import User
from commerce_core.catalog.models import Variant
from commerce_core.cli.shop import config_argument, open_shop
from commerce_core.database import transaction
from commerce_core.money import formatted
from commerce_pricing_rules import preview
from commerce_pricing_rules.demo import load_classics


@click.command()
@config_argument
def demo(config: str) -> None:
    """Add the five classic rules: bulk, flash Friday, VIP, happy hour, and buy 2 get 1 (which is not active)."""
    with open_shop(config) as shop:
        with transaction(shop.engine) as session:
            added = [(rule.name, rule.active) for rule in load_classics(session, now=shop.clock.now())]
        for name, active in added:
            click.echo(f"{name}{'' if active else ' (not active)'}")
        if not added:
            click.echo("They are there already.")


def _moment(_context: Any, _parameter: Any, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; write it as 2026-11-27T15:00 or 2026-11-27T15:00Z") from None


@click.command()
@config_argument
@click.option(
    "--sku", "skus", multiple=True, required=True, help="What is bought: SKU, or SKU:QUANTITY. May be repeated."
)
@click.option("--coupon", "coupons", multiple=True, help="A coupon code. May be repeated.")
@click.option("--customer", help="The e-mail address of a customer; else a guest.")
@click.option("--tier", help="A group of customers.")
@click.option("--channel", help="What X-Channel would say.")
@click.option("--at", callback=_moment, help="When, in the shop's time zone unless it says another; now if left out.")
def explain(
    config: str,
    skus: tuple[str, ...],
    coupons: tuple[str, ...],
    customer: str | None,
    tier: str | None,
    channel: str | None,
    at: datetime | None,
) -> None:
    """Say what a cart costs, and why: every rule that was tried, and what was compared."""
    with open_shop(config) as shop, Session(shop.engine) as session:
        book = shop.registry.pricing_rulebook
        now = shop.clock.now()
        if at is not None:
            now = at if at.tzinfo is not None else at.replace(tzinfo=book.settings.zone)
        setting = preview.Setting(
            now=now,
            customer_id=None if customer is None else _customer(session, customer),
            tier=tier,
            channel=channel,
            coupons=tuple(code.upper() for code in coupons),
        )
        items = [_item(session, sku) for sku in skus]
        rules = (book.now(session, shop.clock.now()),)
        [quote] = preview.try_on_cart(session, shop.registry.pricing, book, rules, items, setting)
        _print(quote)


def _item(session: Session, given: str) -> preview.CartItem:
    sku, _, quantity = given.partition(":")
    variant_id = session.scalar(select(Variant.id).where(Variant.sku == sku, Variant.deleted_at.is_(None)))
    if variant_id is None:
        raise click.ClickException(f"There is no variant with the SKU {sku}.")
    if quantity and not (quantity.isdecimal() and 0 < int(quantity) < 1_000_000):
        raise click.ClickException(f"{quantity!r} is no quantity.")
    return preview.CartItem(variant_id, int(quantity or 1))


def _customer(session: Session, email: str) -> Any:
    found = session.scalar(select(User.id).where(func.lower(User.email) == email.lower()))
    if found is None:
        raise click.ClickException(f"There is no customer {email}.")
    return found


def _print(quote: Any) -> None:
    table = Table(box=None)
    for column in ("stage", "rule", "line", "what came of it", "amount"):
        table.add_column(column, justify="right" if column == "amount" else "left", overflow="fold")
    skus = {str(line.key): line.item.sku for line in quote.lines}
    for entry in quote.trace:
        details = entry.get("details", {})
        name = entry.get("label") or details.get("name") or entry["code"]
        came = entry["outcome"]
        if came == "rejected":
            wanted, found = details.get("wanted"), details.get("found")
            compared = "" if wanted is None and found is None else f" (wanted {_said(wanted)}, found {_said(found)})"
            came = f"no: {entry['reason']}{compared}"
        elif "floor" in details:
            came = f"{came}, limited by {details['floor']['by']}"
        amount = formatted(entry["amount"], quote.currency) if "amount" in entry else ""
        table.add_row(entry["stage"], name, skus.get(entry.get("key", ""), ""), came, amount)
    console = Console()
    console.print(table)
    for name in ("subtotal", "discount_total", "shipping_total", "tax_total", "total"):
        console.print(f"{name.replace('_', ' ')}: {formatted(getattr(quote, name), quote.currency)}", highlight=False)


def _said(value: Any) -> str:
    return "nothing" if value is None else str(value)
