"""What a rule would do, before it does anything: to a cart, and to orders of the past. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from commerce_core.accounts.models import User
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.database import uuid7
from commerce_core.orders.models import Order, OrderLine
from commerce_core.pricing.basket import Basket, Buyer, Item
from commerce_core.pricing.core_rules import CATALOGUE_PRICE
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.service import items_of, quote_basket
from commerce_core.pricing.settlement import calculate
from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.models import PricingCoupon
from commerce_pricing_rules.quoting import CART, LINES, Evaluation, price_rules
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.situation import CouponFact, Facts
from commerce_pricing_rules.uses import user_of

# Who is asked about when only a group of customers is named.
_SOMEBODY = UUID(int=0)
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CartItem:
    variant_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True)
class Setting:
    """For whom, and when, a cart is tried. Without a customer or a tier: a guest."""

    now: datetime
    customer_id: UUID | None = None
    tier: str | None = None
    channel: str | None = None
    coupons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderEffect:
    """What the goods of an order would have cost without the draft and with it. Amounts in minor units."""

    order_id: UUID
    number: str
    currency: str
    before: int
    after: int


def draft(definition: RuleDefinition, ruleset: RuleSet, replaces: UUID | None) -> tuple[Rule, RuleSet]:
    """The rules of now, with the draft as an active one; instead of another, if that is what it `replaces`."""
    active = definition.model_copy(update={"active": True})
    rule = Rule(replaces or uuid7(), active)
    return rule, ruleset.with_rules([*(each for each in ruleset.rules if each.id != replaces), rule])


def try_on_cart(
    session: Session,
    pricing: Pricing,
    book: RuleBook,
    rulesets: Iterable[RuleSet],
    items: Sequence[CartItem],
    setting: Setting,
) -> list[Quote]:
    """What a cart costs by each of these sets of rules, all explained. Raises InvalidInput, NotFound."""
    offers = items_of(session, [(uuid7(), item.variant_id, item.quantity) for item in items])
    if len(offers) < len(items):
        raise InvalidInput.field("cart.items", "unknown", "has variants that there are not")
    currencies = {offer.currency for offer in offers}
    if len(currencies) != 1:
        raise InvalidInput.field("cart.items", "several_currencies", "must be of one currency")
    basket = Basket(
        currency=currencies.pop(),
        items=tuple(offer.item for offer in offers),
        now=setting.now,
        buyer=_buyer(session, setting),
        coupons=setting.coupons,
        explain=True,
    )
    quotes = []
    for ruleset in rulesets:
        with book.one_reading(session, basket, ruleset):
            quotes.append(quote_basket(session, pricing, basket))
    return quotes


def _buyer(session: Session, setting: Setting) -> Buyer:
    if setting.customer_id is None:
        user_id = None if setting.tier is None else _SOMEBODY
        owner = None if user_id is None else f"user:{user_id}"
        return Buyer(owner=owner, user_id=user_id, tier=setting.tier, channel=setting.channel)
    user = session.get(User, setting.customer_id)
    if user is None:
        raise NotFound("There is no such customer.")
    tier = user.tier if setting.tier is None else setting.tier
    return Buyer(owner=f"user:{user.id}", user_id=user.id, tier=tier, email=user.email, channel=setting.channel)


def try_on_orders(
    session: Session, book: RuleBook, before: RuleSet, after: RuleSet, *, number: int
) -> list[OrderEffect]:
    """What the last orders would have cost by these rules, each at its time, for its customer, at its prices of then.

    Coupons of an order are taken for usable; what was used up then, nobody knows any more. Five statements.
    """
    orders = session.scalars(
        select(Order)
        .where(Order.status != "cancelled")
        .order_by(Order.id.desc())
        .limit(number)
        .options(selectinload(Order.lines))
    ).all()
    if not orders:
        return []
    items = _items(session, [line for order in orders for line in order.lines])
    tiers = _tiers(session, orders)
    first = _first_orders(session, orders)
    coupons = _coupons(session, orders)
    pricing = Pricing((CATALOGUE_PRICE,))
    for rule in price_rules(book.prefetch):
        if rule.code in (LINES, CART):
            pricing = pricing.with_rule(rule)
    effects = []
    for order in orders:
        lines = tuple(
            replace(items[line.variant_id], key=line.id, quantity=line.quantity, unit_amount=line.unit_price)
            for line in order.lines
            if line.variant_id in items
        )
        user_id = user_of(order.owner)
        basket = Basket(
            currency=order.currency,
            items=lines,
            now=order.created_at,
            buyer=Buyer(owner=order.owner, user_id=user_id, tier=tiers.get(user_id) if user_id else None),
            coupons=tuple(order.coupons),
        )
        facts = Facts(
            coupons=tuple(coupons[code] for code in order.coupons if code in coupons),
            is_first_order=None if user_id is None else first.get(order.owner or "") == order.id,
        )
        totals = []
        for ruleset in (before, after):
            evaluation = Evaluation(ruleset, facts, book.floors)
            totals.append(calculate(pricing, basket, evaluation.as_prefetched()).goods_total)
        effects.append(OrderEffect(order.id, order.number, order.currency, *totals))
    return effects


def summed_up(effects: Sequence[OrderEffect]) -> dict[str, Any]:
    """How many orders would have been other ones, by how much in each currency, and those that changed most."""
    changed = [effect for effect in effects if effect.before != effect.after]
    currencies = [
        {
            "currency": currency,
            "before": sum(effect.before for effect in of_currency),
            "after": sum(effect.after for effect in of_currency),
        }
        for currency in sorted({effect.currency for effect in effects})
        for of_currency in [[effect for effect in effects if effect.currency == currency]]
    ]
    most = sorted(changed, key=lambda effect: -abs(effect.before - effect.after))[:_MOST_SHOWN]
    return {"orders": len(effects), "changed": len(changed), "totals": currencies, "most_changed": most}


def _items(session: Session, lines: Sequence[OrderLine]) -> dict[UUID, Item]:
    variant_ids = {line.variant_id for line in lines}
    return {
        offer.item.variant_id: offer.item
        for offer in items_of(session, [(variant_id, variant_id, 1) for variant_id in variant_ids])
    }


def _tiers(session: Session, orders: Sequence[Order]) -> Mapping[UUID, str | None]:
    ids = {user_id for order in orders if (user_id := user_of(order.owner)) is not None}
    return {row.id: row.tier for row in session.execute(select(User.id, User.tier).where(User.id.in_(ids)))}


def _first_orders(session: Session, orders: Sequence[Order]) -> Mapping[str, UUID]:
    """The first order that was not cancelled, by the owner."""
    owners = {order.owner for order in orders if order.owner is not None}
    ids = func.array_agg(Order.id).label("ids")
    rows = session.execute(
        select(Order.owner, ids).where(Order.owner.in_(owners), Order.status != "cancelled").group_by(Order.owner)
    )
    return {row.owner: min(row.ids) for row in rows}


def _coupons(session: Session, orders: Sequence[Order]) -> Mapping[str, CouponFact]:
    codes = {code for order in orders for code in order.coupons}
    rows = session.execute(
        select(PricingCoupon.id, PricingCoupon.code, PricingCoupon.campaign).where(PricingCoupon.code.in_(codes))
    )
    return {row.code: CouponFact(row.id, row.code, row.campaign) for row in rows}
