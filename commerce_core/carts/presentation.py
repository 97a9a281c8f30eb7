"""A cart as it is shown: its lines as they were put in, next to how things stand now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.queries import Article
from commerce_core.carts.schemas import (
    CartLineOut,
    CartOut,
    CartWarning,
    LineHold,
    LineImage,
    LineProblem,
    Totals,
)
from commerce_core.money import Money
from commerce_core.pricing.quote import Quote, QuoteLine
from commerce_core.stock.models import Hold
from commerce_core.stock.service import state_of

EMPTY = CartOut(id=None, currency=None, lines=[], totals=None, coupons=[], warnings=[], expires_at=None)


def present_cart(
    cart: Cart,
    quote: Quote | None,
    articles: Mapping[UUID, Article],
    holds: Mapping[UUID, Hold],
    *,
    now: datetime,
    locale: str,
    token: str | None = None,
) -> CartOut:
    """`quote` is of what can be bought, keyed by the lines' ids; `articles` are by variant, `holds` by their id."""
    priced = {line.key: line for line in quote.lines} if quote is not None else {}
    lines = []
    warnings = []
    for line in cart.lines:
        article = articles[line.variant_id]
        hold = None if line.hold_id is None else holds.get(line.hold_id)
        shown = _present_line(cart, line, article, priced.get(line.id), hold, now=now, locale=locale)
        lines.append(shown)
        warnings += [
            CartWarning.model_construct(code=code, line_id=line.id, message=_message(code, shown))
            for code in shown.problems
        ]
    return CartOut.model_construct(
        id=cart.id,
        token=token,
        currency=cart.currency,
        lines=lines,
        totals=None if quote is None else Totals.of(quote, locale),
        coupons=list(cart.coupons),
        warnings=warnings,
        expires_at=cart.expires_at,
    )


def _present_line(
    cart: Cart,
    line: CartLine,
    article: Article,
    priced: QuoteLine | None,
    hold: Hold | None,
    *,
    now: datetime,
    locale: str,
) -> CartLineOut:
    currency = cart.currency or article.currency
    is_held = hold is not None and state_of(hold, now) == "active"
    available = article.available(hold.reserved if hold is not None and is_held else 0)
    problems: list[LineProblem] = []
    if priced is None:
        problems.append("not_for_sale")
    else:
        if priced.unit_amount != line.unit_price:
            problems.append("price_changed")
        if available is not None and available < line.quantity:
            problems.append("out_of_stock")
        if hold is not None and not is_held:
            problems.append("hold_lapsed")
    image = next(iter(article.images), None)
    return CartLineOut.model_construct(
        id=line.id,
        variant_id=line.variant_id,
        sku=article.sku,
        product_name=article.product_name,
        product_slug=article.product_slug,
        variant_name=article.name,
        attributes=article.attributes,
        image=image and LineImage.model_construct(url=image["url"], alt=image.get("alt", "")),
        quantity=line.quantity,
        unit_price=Money.of(line.unit_price, currency, locale),
        current_unit_price=priced and Money.of(priced.unit_amount, currency, locale),
        price_changed="price_changed" in problems,
        available=available,
        problems=problems,
        total=priced and Money.of(priced.subtotal, currency, locale),
        hold=LineHold.model_construct(id=hold.id, expires_at=hold.expires_at) if hold is not None and is_held else None,
    )


def _message(code: LineProblem, line: CartLineOut) -> str:
    name = line.product_name
    match code:
        case "price_changed":
            assert line.current_unit_price is not None
            return f"{name} costs {line.current_unit_price.formatted} now, not {line.unit_price.formatted}."
        case "out_of_stock":
            return f"Only {line.available} of {name} available." if line.available else f"{name} is sold out."
        case "hold_lapsed":
            return f"{name} is not kept for you any more."
        case "not_for_sale":
            return f"{name} is not for sale any more."
