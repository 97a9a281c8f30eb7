"""What a guest pays now for one unit of what lists show: "was 100, now 70, until ...".

One statement for a page, which also says whether the rules in memory are those of now. What is shown is kept in caches
until the next moment at which a rule begins or ends, and no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, bindparam, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from commerce_core.money import Money
from commerce_core.plugin import Context, ExtensionField
from commerce_core.pricing.basket import Basket, Item
from commerce_core.pricing.rounding import divide
from commerce_pricing_rules.conditions import CartSubtotal, Quantity
from commerce_pricing_rules.facts import MARK_COLUMNS, USED_COLUMN, Mark, usage_of
from commerce_pricing_rules.modifiers import Level
from commerce_pricing_rules.planning import Applied, plan
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.ruleset import Rule, RuleSet, changes_of
from commerce_pricing_rules.situation import Facts, Line, Situation, lines_of

# What makes the price of a thing on its own: not what is off the cart or the delivery.
_LEVELS: tuple[Level, ...] = ("line", "lines")
_COLUMNS = f"""
    SELECT {MARK_COLUMNS}, {USED_COLUMN},
        variant.id, variant.product_id, product.category_id, product.brand_id, variant.sku, product.name,
        product.attributes || variant.attributes AS attributes, variant.currency, variant.price_amount,
        variant.cost_amount, product.tax_class,
        (
            SELECT json_build_array(price.amount, list.name, list.ends_at AT TIME ZONE 'UTC')
            FROM pricing_list_price AS price JOIN pricing_list AS list ON list.id = price.list_id
            WHERE price.variant_id = variant.id AND price.from_quantity = 1
                AND list.active AND list.tier IS NULL AND list.currency = variant.currency
                AND (list.starts_at IS NULL OR list.starts_at <= :now) AND (list.ends_at IS NULL OR list.ends_at > :now)
            ORDER BY list.priority DESC, price.amount, list.id LIMIT 1
        ) AS list_price
    FROM variant JOIN product ON product.id = variant.product_id
    WHERE variant.deleted_at IS NULL"""
_IDS = [bindparam(name, type_=ARRAY(PG_UUID)) for name in ("ids", "limited")]
_OF_VARIANTS = text(f"{_COLUMNS} AND variant.id = ANY(:ids)").bindparams(*_IDS)
_OF_PRODUCTS = text(f"{_COLUMNS} AND variant.is_default AND variant.product_id = ANY(:ids)").bindparams(*_IDS)

_MONEY = {"type": "object", "description": "Money."}
SCHEMA = {
    "type": ["object", "null"],
    "description": "What a guest pays for one now, where that is not the price in the catalogue.",
    "properties": {
        "was": _MONEY,
        "now": _MONEY,
        "savings": _MONEY,
        "discount_percentage": {"type": "integer", "description": "Whole per cent, rounded."},
        "until": {"type": ["string", "null"], "format": "date-time", "description": "If it ends by itself."},
        "rules": {"type": "array", "items": {"type": "string"}, "description": "What makes it so, by name."},
    },
}


def fields(book: RuleBook) -> Iterable[ExtensionField]:
    """`extensions.pricing.offer` of products (of their default variants) and of variants."""

    def loader(of_products: bool) -> Callable[[Context, Sequence[UUID]], Mapping[UUID, Any]]:
        return lambda ctx, ids: load(book, ctx, ids, of_products=of_products)

    yield ExtensionField(resource="product", name="offer", load_many=loader(True), schema=SCHEMA)
    yield ExtensionField(resource="variant", name="offer", load_many=loader(False), schema=SCHEMA)


def load(book: RuleBook, ctx: Context, ids: Sequence[UUID], *, of_products: bool) -> dict[UUID, Any]:
    """The offers by the ids of products or variants; those that cost what the catalogue says are left out."""
    known = book.known
    statement = _OF_PRODUCTS if of_products else _OF_VARIANTS
    given = {"ids": list(ids), "with_tree": known.needs_categories, "now": ctx.now, "limited": known.limited}
    rows = ctx.session.execute(statement, given).all()
    if not rows:
        return {}
    ruleset = book.at(ctx.session, Mark(rows[0].token, rows[0].tree), now=ctx.now)
    if ruleset.limited != known.limited:  # the rules have just changed
        rows = ctx.session.execute(statement, {**given, "limited": ruleset.limited}).all()
        if not rows:
            return {}
    facts = Facts(usage=usage_of(next((row.used for row in rows if row.used is not None), None)))
    until = ruleset.next_change(ctx.now)
    if until is not None:
        ctx.keep_until(until)
    for_guests = {
        currency: rules_for_guests(ruleset, currency, ctx.now, facts) for currency in {row.currency for row in rows}
    }
    found = {}
    for row in rows:
        offer = _offer(book, for_guests[row.currency], row, ctx, facts)
        if offer is not None:
            found[row.product_id if of_products else row.id] = offer
    return found


def rules_for_guests(ruleset: RuleSet, currency: str, now: datetime, facts: Facts) -> RuleSet:
    """Those of the rules that may change what a guest pays now for something on its own."""
    nothing = Item(
        key=UUID(int=0),
        variant_id=UUID(int=0),
        product_id=UUID(int=0),
        category_id=None,
        brand_id=None,
        sku="",
        name="",
        quantity=1,
        unit_amount=0,
        attributes={},
        weight_grams=None,
        tax_class="",
    )
    situation, lines = _situation(ruleset, nothing, currency, now, facts)

    def may_apply(rule: Rule) -> bool:
        if rule.level not in _LEVELS:
            return False
        depends = rule.condition is not None and any(
            part.depends_on_line() or isinstance(part, (Quantity, CartSubtotal)) for part in rule.condition.within()
        )
        return depends or rule.why_not(situation, lines) is None

    return ruleset.with_rules(rule for rule in ruleset.rules if may_apply(rule))


def _situation(
    ruleset: RuleSet, item: Item, currency: str, now: datetime, facts: Facts
) -> tuple[Situation, list[Line]]:
    lines = lines_of([(item, item.unit_amount)], ruleset.categories)
    return Situation(Basket(currency=currency, items=(item,), now=now), lines, facts, ruleset.zone), lines


def _offer(book: RuleBook, ruleset: RuleSet, row: Any, ctx: Context, facts: Facts) -> dict[str, Any] | None:
    base, names, ends = row.price_amount, [], []
    if row.list_price is not None:
        base, list_name, list_end = row.list_price
        names.append(list_name)
        if list_end is not None:
            ends.append(datetime.fromisoformat(list_end).replace(tzinfo=UTC))
    item = Item(
        key=row.id,
        variant_id=row.id,
        product_id=row.product_id,
        category_id=row.category_id,
        brand_id=row.brand_id,
        sku=row.sku,
        name=row.name,
        quantity=1,
        unit_amount=base,
        attributes=row.attributes,
        weight_grams=None,
        tax_class=row.tax_class,
        cost_amount=row.cost_amount,
    )
    situation, lines = _situation(ruleset, item, row.currency, ctx.now, facts)
    applied = plan(ruleset, situation, book.floors.of, levels=_LEVELS).applied(*_LEVELS)
    price = base - sum(step.amount for step in applied)
    if price == row.price_amount:
        return None
    savings = max(0, row.price_amount - price)
    ends += [end for step in applied if (end := _end_of(step, situation, lines)) is not None]
    return {
        "was": Money.of(row.price_amount, row.currency, ctx.locale).model_dump(),
        "now": Money.of(price, row.currency, ctx.locale).model_dump(),
        "savings": Money.of(savings, row.currency, ctx.locale).model_dump(),
        "discount_percentage": divide(savings * 100, row.price_amount) if row.price_amount else 0,
        "until": min(ends).isoformat().replace("+00:00", "Z") if ends else None,
        "rules": names + [step.rule.name for step in applied],
    }


def _end_of(step: Applied, situation: Situation, lines: list[Line]) -> datetime | None:
    """When the rule, which applies now, will not any more by itself; None if that is not within some days."""
    rule = step.rule
    for moment in changes_of(rule, situation.now, situation.zone):
        then = replace(situation, basket=replace(situation.basket, now=moment))
        over = rule.why_not(then, lines) is not None
        if over or (rule.condition is not None and not rule.condition.holds(then, lines[0], lines)):
            return moment
    return None
