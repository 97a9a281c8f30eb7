"""Carts over REST. Everybody has one: a user by signing in, a guest by the token that comes with the first line."""

from __future__ import annotations

import secrets
from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.accounts.policy import owner_of_cart_token
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.carts import coupons, queries, service
from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.presentation import EMPTY, present_cart
from commerce_core.carts.pricing import basket_of, price_cart, remember_seen, seen_total
from commerce_core.carts.schemas import (
    CartOut,
    CouponIn,
    LineChange,
    LineIn,
    QuoteOut,
    QuoteQuery,
)
from commerce_core.carts.validation import CartRefused
from commerce_core.pricing.rules import AmountTooLarge, PriceRuleFailed
from commerce_core.stock.service import OutOfStock, UnknownVariant


@api_view(route_name="cart", request_method="GET", permission=Permission.CART, returns=CartOut)
def show_cart(request: Any) -> CartOut:
    """Your cart, and what has changed since you filled it. An empty one if you have none."""
    cart = queries.find_cart(request.db, request.owner, now=request.now)
    return EMPTY if cart is None else present(request, cart, changed=False)


@api_view(route_name="cart", request_method="DELETE", permission=Permission.CART, returns=CartOut)
def clear_cart(request: Any) -> CartOut:
    """Take everything out, coupons too."""
    cart = None if request.owner is None else service.lock_cart(request.db, request.owner, now=request.now)
    if cart is None:
        return EMPTY
    service.clear_cart(request.db, cart, settings=request.settings.carts, now=request.now)
    return present(request, cart)


@api_view(
    route_name="cart_lines",
    request_method="POST",
    permission=Permission.CART,
    body=LineIn,
    returns=CartOut,
    status=201,
    problems=(OutOfStock, UnknownVariant, service.CurrencyMismatch, service.CartFull, AmountTooLarge, CartRefused),
)
def add_line(request: Any, body: LineIn) -> CartOut:
    """Put units of a variant into your cart. A guest without a token gets a cart, and its token, with it."""
    settings = request.settings.carts
    _count_hold(request)
    token = None if request.owner is not None else secrets.token_urlsafe(32)
    owner = request.owner if token is None else owner_of_cart_token(token)
    cart = service.open_cart(request.db, owner, settings=settings, now=request.now)
    line = service.add_line(request.db, cart, body.variant_id, body.quantity, settings=settings, now=request.now)
    return present(request, cart, accepted=line, token=token)


@api_view(
    route_name="cart_line",
    request_method="PATCH",
    permission=Permission.CART,
    body=LineChange,
    returns=CartOut,
    problems=(OutOfStock, UnknownVariant, service.CurrencyMismatch, AmountTooLarge, CartRefused, NotFound),
)
def change_line(request: Any, body: LineChange) -> CartOut:
    """Set a line's quantity, and accept its price of now."""
    _count_hold(request)
    cart = _cart(request)
    line = service.change_line(
        request.db, cart, path_id(request), body.quantity, settings=request.settings.carts, now=request.now
    )
    return present(request, cart, accepted=line)


@api_view(
    route_name="cart_line", request_method="DELETE", permission=Permission.CART, returns=CartOut, problems=(NotFound,)
)
def remove_line(request: Any) -> CartOut:
    """Take a line out of your cart."""
    cart = _cart(request)
    service.remove_line(request.db, cart, path_id(request), settings=request.settings.carts, now=request.now)
    return present(request, cart)


@api_view(
    route_name="cart_coupons",
    request_method="POST",
    permission=Permission.CART,
    body=CouponIn,
    returns=CartOut,
    limit="coupon",
    problems=(
        coupons.UnknownCoupon,
        coupons.CouponRefused,
        coupons.TooManyCoupons,
        service.EmptyCart,
        NotFound,
    ),
)
def add_coupon(request: Any, body: CouponIn) -> CartOut:
    """Use a coupon code. What it is worth is in the cart's totals, and in the quote."""
    cart = _cart(request)
    basket, _ = basket_of(request.db, cart, buyer=request.buyer, now=request.now)
    if basket is None:
        raise service.EmptyCart()
    coupons.add_coupon(request.db, cart, body.code, basket, request.registry.coupon_checkers)
    service.renew(request.db, cart, settings=request.settings.carts, now=request.now)
    return present(request, cart)


@api_view(
    route_name="cart_coupon", request_method="DELETE", permission=Permission.CART, returns=CartOut, problems=(NotFound,)
)
def remove_coupon(request: Any) -> CartOut:
    """Use a coupon no more."""
    cart = _cart(request)
    coupons.remove_coupon(cart, request.matchdict["code"])
    service.renew(request.db, cart, settings=request.settings.carts, now=request.now)
    return present(request, cart)


@api_view(
    route_name="cart_quote",
    request_method="GET",
    permission=Permission.CART,
    query=QuoteQuery,
    returns=QuoteOut,
    problems=(service.EmptyCart, PriceRuleFailed, NotFound),
)
def quote_cart(request: Any, query: QuoteQuery) -> QuoteOut:
    """What your cart costs when it is sent there, and how that comes about, rule by rule."""
    cart = queries.find_cart(request.db, request.owner, now=request.now)
    if cart is None:
        raise NotFound("You have no cart.")
    priced = price_cart(
        request.db,
        request.registry.pricing,
        cart,
        buyer=request.buyer,
        now=request.now,
        destination=query.destination,
        explain=query.explain,
    )
    if priced.quote is None:
        raise service.EmptyCart()
    remember_seen(request.db, cart, priced.quote, query.destination)
    return QuoteOut.of_cart(priced.quote, [line.id for line in priced.left_out], request.locale)


def present(
    request: Any, cart: Cart, *, accepted: CartLine | None = None, token: str | None = None, changed: bool = True
) -> CartOut:
    """The cart as it is shown. The line that was just `accepted` is at its price of now.

    Who has `changed` the cart, which is locked then, is held to the total that this shows.
    """
    session, now = request.db, request.now
    priced = price_cart(session, request.registry.pricing, cart, buyer=request.buyer, now=now)
    # Staff may have taken it off sale since it was accepted.
    if accepted is not None and priced.quote is not None and accepted not in priced.left_out:
        accepted.unit_price = priced.quote.line(accepted.id).unit_amount
    if changed:
        cart.seen = None if priced.quote is None else seen_total(priced.quote, None)
        session.flush()
    articles = queries.articles_of(session, {line.variant_id for line in cart.lines}, now=now)
    holds = queries.holds_of(session, cart.lines)
    shown = present_cart(cart, priced.quote, articles, holds, now=now, locale=request.locale, token=token)
    request.registry.extensions.extend(request, "cart", [shown])
    return shown


def _count_hold(request: Any) -> None:
    """Where carts keep stock, filling one counts for the limit on holds as well. Raises TooManyRequests."""
    if request.settings.carts.reserve_on_add:
        request.limits.hit("hold")


def _cart(request: Any) -> Cart:
    """The requester's cart, locked. Raises NotFound."""
    cart = None if request.owner is None else service.lock_cart(request.db, request.owner, now=request.now)
    if cart is None:
        raise NotFound("You have no cart.")
    return cart
