"""Coupon codes. A cart keeps them; what they are worth, and whether they are any good, only plugins know.

A plugin says so with `config.add_coupon_checker(checker)`, and gives them their effect with a price rule, which finds
them in `basket.coupons`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pyramid.config import Configurator
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, NotFound, Problem
from commerce_core.carts.models import Cart
from commerce_core.carts.service import MAX_COUPONS
from commerce_core.pricing.basket import Basket


@dataclass(frozen=True, slots=True)
class CouponVerdict:
    """What a checker says of a code that it knows. `reason` is for the customer, when it is refused."""

    accepted: bool
    reason: str = ""


# Asked in the request's transaction with the code in upper case and the basket as it is: no I/O but the database, and
# nothing written. None when the code is none of the checker's.
CouponChecker = Callable[[Session, str, Basket], CouponVerdict | None]


class UnknownCoupon(Problem):
    """Nobody knows this coupon code."""

    slug = "unknown-coupon"
    title = "There is no such coupon"
    status = 422
    example: ClassVar[dict[str, Any]] = {"detail": "The code SPRING is not known.", "code": "SPRING"}


class CouponRefused(Conflict):
    """The coupon exists, but not for this cart, or not now; `detail` says why."""

    slug = "coupon-refused"
    title = "The coupon cannot be used"
    example: ClassVar[dict[str, Any]] = {"detail": "Valid from 50.00 on.", "code": "SPRING"}


class TooManyCoupons(Conflict):
    """The cart has as many coupons as it takes."""

    slug = "too-many-coupons"
    title = "The cart takes no more coupons"


def add_coupon(session: Session, cart: Cart, code: str, basket: Basket, checkers: Sequence[CouponChecker]) -> None:
    """Keep a code for the cart (locked), unless it has it. Raises UnknownCoupon, CouponRefused, TooManyCoupons."""
    code = code.upper()
    if code in cart.coupons:
        return
    verdicts = (checker(session, code, basket) for checker in checkers)
    verdict = next((verdict for verdict in verdicts if verdict is not None), None)
    if verdict is None:
        raise UnknownCoupon(f"The code {code} is not known.", code=code)
    if not verdict.accepted:
        raise CouponRefused(verdict.reason or None, code=code)
    if len(cart.coupons) >= MAX_COUPONS:
        raise TooManyCoupons(f"A cart takes {MAX_COUPONS} coupons.")
    cart.coupons = [*cart.coupons, code]


def remove_coupon(cart: Cart, code: str) -> None:
    """Take a code out of the cart (locked). Raises NotFound."""
    code = code.upper()
    if code not in cart.coupons:
        raise NotFound("There is no such coupon in your cart.")
    cart.coupons = [known for known in cart.coupons if known != code]


def add_coupon_checker(config: Configurator, checker: CouponChecker) -> None:
    """Directive: ask `checker` about codes that are put into carts. The first that knows a code decides."""
    config.action(None, config.registry.coupon_checkers.append, args=(checker,))
