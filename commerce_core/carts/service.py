"""The rules of a cart: what goes in, how much of it, how long it lasts, and what it keeps for its owner.

Works in the caller's transaction; flushes, never commits. Every change locks the cart's row first, so that changes to
one cart come one after the other. Lock order: the cart, its holds, then levels by ascending variant id.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.carts import reservation
from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.queries import Article, articles_of
from commerce_core.carts.validation import check_edit
from commerce_core.database import user_of, uuid7
from commerce_core.events import CartUpdated, emit
from commerce_core.settings import CartSettings
from commerce_core.stock.service import OutOfStock, UnknownVariant

MAX_COUPONS = 10


class CartFull(Conflict):
    """The cart has as many lines as this shop allows: `max_lines`."""

    slug = "cart-full"
    title = "The cart takes no more lines"
    example: ClassVar[dict[str, Any]] = {"detail": "A cart takes 100 lines.", "max_lines": 100}


class CurrencyMismatch(Conflict):
    """Everything in a cart is in one currency, `currency`, and this is sold in another."""

    slug = "currency-mismatch"
    title = "The cart is in another currency"
    example: ClassVar[dict[str, Any]] = {"detail": "The cart is in USD.", "currency": "USD"}


class EmptyCart(Conflict):
    """There is nothing in the cart that could be bought."""

    slug = "empty-cart"
    title = "The cart is empty"


def open_cart(session: Session, owner: str, *, settings: CartSettings, now: datetime) -> Cart:
    """The owner's cart, locked; a new one if there is none, or the one there was has lapsed."""
    for _ in range(5):
        cart = lock_cart(session, owner, now=now)
        if cart is not None:
            return cart
        # Another request may make it at this moment, or spend it: then look again.
        session.execute(
            insert(Cart)
            .values(
                id=uuid7(),
                owner=owner,
                state="active",
                coupons=[],
                expires_at=now + timedelta(days=settings.days),
                created_at=now,
                updated_at=now,
            )
            .on_conflict_do_nothing()
        )
    raise Conflict("The cart is being changed by too many requests at once.")


def lock_cart(session: Session, owner: str, *, now: datetime) -> Cart | None:
    """The owner's cart, locked, or None. One that has lapsed is closed."""
    cart = session.scalar(
        select(Cart)
        .where(Cart.owner == owner, Cart.state == "active")
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if cart is not None:
        # What was read before it was locked may have changed.
        session.expire(cart, ["lines"])
        if cart.expires_at <= now:
            close_cart(session, cart, "expired", now=now)
            return None
    return cart


def add_line(
    session: Session, cart: Cart, variant_id: UUID, quantity: int, *, settings: CartSettings, now: datetime
) -> CartLine:
    """Put so many more units of a variant into the cart (locked); its line.

    Raises UnknownVariant, CurrencyMismatch, CartFull, InvalidInput (too many for one line), OutOfStock, and what
    plugins refuse it for.
    """
    article = articles_of(session, [variant_id], now=now).get(variant_id)
    if article is None or not article.is_for_sale:
        raise UnknownVariant(variant_id)
    _check_currency(cart, article)
    line = next((line for line in cart.lines if line.variant_id == variant_id), None)
    if line is None:
        if len(cart.lines) >= settings.max_lines:
            raise CartFull(f"A cart takes {settings.max_lines} lines.", max_lines=settings.max_lines)
        check_edit(session, cart, line_id=None, variant_id=variant_id, quantity=quantity)
        line = CartLine(
            id=uuid7(), variant_id=variant_id, quantity=quantity, unit_price=article.price_amount, created_at=now
        )
        cart.lines.append(line)
    else:
        quantity += line.quantity
        check_edit(session, cart, line_id=line.id, variant_id=variant_id, quantity=quantity)
    cart.currency = article.currency
    _set_quantity(session, cart, line, quantity, article, settings=settings, now=now)
    return line


def change_line(
    session: Session, cart: Cart, line_id: UUID, quantity: int, *, settings: CartSettings, now: datetime
) -> CartLine:
    """Set the quantity of a line of the cart (locked), and accept its price of now.

    Raises NotFound, UnknownVariant, CurrencyMismatch, InvalidInput (too many for one line), OutOfStock, and what
    plugins refuse it for.
    """
    line = line_of(cart, line_id)
    article = articles_of(session, [line.variant_id], now=now)[line.variant_id]
    if not article.is_for_sale:
        raise UnknownVariant(line.variant_id)
    _check_currency(cart, article)
    check_edit(session, cart, line_id=line.id, variant_id=line.variant_id, quantity=quantity)
    _set_quantity(session, cart, line, quantity, article, settings=settings, now=now)
    return line


def remove_line(session: Session, cart: Cart, line_id: UUID, *, settings: CartSettings, now: datetime) -> None:
    """Take a line out of the cart (locked), and give back what was held for it. Raises NotFound."""
    line = line_of(cart, line_id)
    reservation.keep(session, cart, settings=settings, now=now, without=line)
    cart.lines.remove(line)
    if not cart.lines:
        cart.currency = None
    touch(session, cart, settings=settings, now=now)


def clear_cart(session: Session, cart: Cart, *, settings: CartSettings, now: datetime) -> None:
    """Take everything out of the cart (locked), coupons too, and give back what was held for it."""
    reservation.give_back(session, cart, cart.lines, now=now)
    cart.lines.clear()
    cart.currency = None
    cart.coupons = []
    touch(session, cart, settings=settings, now=now)


def close_cart(session: Session, cart: Cart, state: str, *, now: datetime) -> None:
    """The cart (locked) is `expired` or `merged`: nothing more happens to it, and what it held is given back."""
    reservation.give_back(session, cart, cart.lines, now=now)
    cart.state = state
    cart.updated_at = now
    session.flush()


def discard_cart(session: Session, owner: str, *, now: datetime) -> None:
    """Close the owner's cart, if there is one: the owner is leaving."""
    cart = lock_cart(session, owner, now=now)
    if cart is not None:
        close_cart(session, cart, "expired", now=now)


def renew(session: Session, cart: Cart, *, settings: CartSettings, now: datetime) -> None:
    """Something was done with the cart (locked): it lasts from now, and so does what is held for it."""
    reservation.keep(session, cart, settings=settings, now=now)
    touch(session, cart, settings=settings, now=now)


def touch(session: Session, cart: Cart, *, settings: CartSettings, now: datetime) -> None:
    """The cart (locked) lasts from now, and whoever follows carts is told."""
    cart.expires_at = now + timedelta(days=settings.days)
    cart.updated_at = now
    session.flush()
    emit(
        session,
        CartUpdated(
            cart_id=cart.id,
            user_id=user_of(cart.owner),
            lines=len(cart.lines),
            units=sum(line.quantity for line in cart.lines),
        ),
    )


def line_of(cart: Cart, line_id: UUID) -> CartLine:
    """Raises NotFound."""
    for line in cart.lines:
        if line.id == line_id:
            return line
    raise NotFound("There is no such line in your cart.")


def _check_currency(cart: Cart, article: Article) -> None:
    if cart.currency not in (None, article.currency):
        raise CurrencyMismatch(f"The cart is in {cart.currency}.", currency=cart.currency)


def _set_quantity(
    session: Session,
    cart: Cart,
    line: CartLine,
    quantity: int,
    article: Article,
    *,
    settings: CartSettings,
    now: datetime,
) -> None:
    if quantity > settings.max_quantity_per_line:
        raise InvalidInput.field(
            "quantity", "less_than_equal", f"there may be at most {settings.max_quantity_per_line} of one thing"
        )
    if not settings.reserve_on_add:
        # What this cart holds from when the setting was on counts as its own.
        own = reservation.held_by(session, [line], now=now).get(line.variant_id, 0)
        available = article.available(own)
        if available is not None and available < quantity:
            raise OutOfStock(line.variant_id, available)
    line.quantity = quantity
    line.unit_price = article.price_amount
    reservation.keep(session, cart, settings=settings, now=now, insist_on=line)
    touch(session, cart, settings=settings, now=now)
