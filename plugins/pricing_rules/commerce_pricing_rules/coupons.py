"""Coupon codes that customers put into their carts: whether there are such, and whether they are any good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from commerce_core.api.problems import Problem
from commerce_core.carts.coupons import CouponVerdict
from commerce_core.money import formatted
from commerce_core.plugin import CartFacts
from commerce_core.pricing.basket import Basket, Buyer
from commerce_pricing_rules import facts
from commerce_pricing_rules.conditions import Why
from commerce_pricing_rules.planning import Rejected, plan
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.ruleset import RuleSet
from commerce_pricing_rules.situation import CouponFact, Situation, lines_of
from commerce_pricing_rules.uses import CouponUnusable

Checker = Callable[[Session, str, Basket], CouponVerdict | None]
# Coupons are read with whatever rules there are; here with none.
_NO_RULES = RuleSet((), zone=ZoneInfo("UTC"))
_SENTENCES = {
    "coupon-inactive": "This coupon is not valid any more.",
    "coupon-not-started": "This coupon is not valid yet.",
    "coupon-ended": "This coupon is not valid any more.",
    "coupon-used-up": "This coupon has been used up.",
    "coupon-used-up-by-customer": "You have used this coupon before.",
    "guest": "This coupon is for customers who have signed in.",
    "used-up": "This offer has been used up.",
    "used-up-by-customer": "You have had this offer before.",
    "budget-spent": "This offer has been used up.",
    "not-started": "This coupon is not valid yet.",
    "ended": "This coupon is not valid any more.",
    "first-order": "This coupon is for a first order.",
    "not-stackable": "This coupon does not go with another discount in your cart.",
    "stopped": "This coupon does not go with another discount in your cart.",
    "exclusive-group": "This coupon does not go with another discount in your cart.",
}


def checker(book: RuleBook) -> Checker:
    """Who is asked about codes that are put into carts."""

    def check(session: Session, code: str, basket: Basket) -> CouponVerdict | None:
        codes = (*(known for known in basket.coupons if known != code), code)
        evaluation = book.prefetch(session, replace(basket, coupons=codes))
        coupon = next((each for each in evaluation.facts.coupons if each.code == code), None)
        if coupon is None:
            return None
        if coupon.refusal is not None:
            return CouponVerdict(False, sentence(Why(*coupon.refusal), basket.currency))
        ruleset = evaluation.ruleset
        rules = [*ruleset.codes.get(code, ()), *ruleset.campaigns.get(coupon.campaign or "", ())]
        if not rules:
            return CouponVerdict(False, "Nothing is reduced by this coupon at the moment.")
        lines = lines_of(((item, item.unit_amount) for item in basket.items), ruleset.categories)
        situation = Situation(replace(basket, coupons=codes), lines, evaluation.facts, ruleset.zone)
        steps = [step for of_level in plan(ruleset, situation, book.floors.of).steps.values() for step in of_level]
        of_coupon = [step for step in steps if step.rule in rules]
        if any(not isinstance(step, Rejected) for step in of_coupon):
            return CouponVerdict(True)
        why = next((step.why for step in of_coupon if isinstance(step, Rejected)), Why("not-in-scope"))
        return CouponVerdict(False, sentence(why, basket.currency))

    return check


def sentence(why: Why, currency: str) -> str:
    """Why a coupon is refused, for the customer."""
    match why:
        case Why("min-subtotal", int(wanted), _):
            return f"This coupon is valid from {formatted(wanted, currency)} on."
        case Why("min-quantity", int(wanted), _):
            return f"This coupon is valid from {wanted} units on."
    return _SENTENCES.get(why.reason, "This coupon does not apply to what is in your cart.")


def refused_at_checkout(session: Session, cart: CartFacts, *, user_id: UUID | None, now: datetime) -> Iterator[Problem]:
    """Coupons of a cart that is being ordered which cannot be used any more: the customer counts on them.

    One statement. A code that nobody of ours knows is another plugin's.
    """
    if not cart.coupons or cart.currency is None:
        return
    buyer = Buyer(owner=cart.owner, user_id=user_id)
    basket = Basket(currency=cart.currency, items=(), now=now, buyer=buyer, coupons=cart.coupons)
    _, found = facts.read(session, basket, _NO_RULES)
    for coupon in found.coupons:
        if coupon.refusal is not None:
            yield _unusable(coupon)


def _unusable(coupon: CouponFact) -> CouponUnusable:
    assert coupon.refusal is not None
    reason = coupon.refusal[0]
    return CouponUnusable(f"The coupon {coupon.code} cannot be used any more.", code=coupon.code, reason=reason)
