"""What only the database knows: read in one statement for a quote, however many rules and lines there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Session

from commerce_core.pricing.basket import Basket
from commerce_pricing_rules.ruleset import RuleSet
from commerce_pricing_rules.situation import CouponFact, Facts, ListPrice, Usage


class Mark(NamedTuple):
    """What rules were compiled from: the token of the last change, and the shape of the tree of categories."""

    token: UUID | None
    tree: str | None


# Any change of the tree gives another sum, in whatever order the rows are read.
_SUM_OF_TREE = "(SELECT coalesce(sum(hashtextextended(concat(id, parent_id), 0)), 0)::text FROM category)"
_TOKEN = "(SELECT token FROM pricing_state)"
# Two columns, for any statement; with the parameter `with_tree`.
MARK_COLUMNS = f"{_TOKEN} AS token, CASE WHEN :with_tree THEN {_SUM_OF_TREE} END AS tree"
_MARK = text(f"SELECT {MARK_COLUMNS}")
# What was given back and is not yet collected is free again (uses.py).
_USED = """(SELECT json_agg(json_build_array(part.subject_id,
            part.uses - (SELECT count(*) FROM pricing_use AS given WHERE given.subject_id = part.subject_id
                AND given.released_at IS NOT NULL AND NOT given.collected),
            part.spent - (SELECT coalesce(sum(amount), 0) FROM pricing_use AS given
                WHERE given.subject_id = part.subject_id
                AND given.released_at IS NOT NULL AND NOT given.collected)))
        FROM pricing_limit AS part"""
# A column of one row, for any statement; with the parameter `limited`, the ids of rules that have limits.
USED_COLUMN = f"CASE WHEN row_number() OVER () = 1 THEN {_USED} WHERE part.subject_id = ANY(:limited)) END AS used"
_FACTS = text(f"""
    SELECT {MARK_COLUMNS},
        CASE WHEN :owner IS NOT NULL THEN
            NOT EXISTS (SELECT FROM orders WHERE owner = :owner AND status <> 'cancelled')
        END AS is_first_order,
        (SELECT json_agg(json_build_array(coupon.id, coupon.code, coupon.campaign, coupon.active,
                extract(epoch FROM coupon.starts_at)::text, extract(epoch FROM coupon.ends_at)::text,
                coupon.usage_limit, coupon.usage_limit_per_customer))
            FROM pricing_coupon AS coupon WHERE coupon.code = ANY(:codes)) AS coupons,
        {_USED} WHERE part.subject_id = ANY(:limited) OR part.subject_id IN
            (SELECT id FROM pricing_coupon WHERE code = ANY(:codes))) AS used,
        CASE WHEN CAST(:user_id AS uuid) IS NOT NULL THEN (SELECT json_object_agg(subject_id, times) FROM (
            SELECT subject_id, count(*) AS times FROM pricing_use
            WHERE user_id = :user_id AND released_at IS NULL AND (subject_id = ANY(:limited) OR subject_id IN
                (SELECT id FROM pricing_coupon WHERE code = ANY(:codes)))
            GROUP BY subject_id) AS own) END AS own
    """).bindparams(
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("limited", type_=ARRAY(PG_UUID)),
    bindparam("owner", type_=Text),
    bindparam("user_id", type_=PG_UUID),
)
_LIST_PRICES = text("""
    SELECT price.variant_id, list.id, list.name, list.priority, price.from_quantity, price.amount
    FROM pricing_list_price AS price JOIN pricing_list AS list ON list.id = price.list_id
    WHERE price.variant_id = ANY(:variant_ids) AND list.active AND list.currency = :currency
        AND (list.tier IS NULL OR list.tier = :tier)
        AND (list.starts_at IS NULL OR list.starts_at <= :now) AND (list.ends_at IS NULL OR list.ends_at > :now)
    """).bindparams(bindparam("variant_ids", type_=ARRAY(PG_UUID)), bindparam("tier", type_=Text))


def read(session: Session, basket: Basket, ruleset: RuleSet) -> tuple[Mark, Facts]:
    """What there is to know for a quote of this basket by these rules, and the mark of the rules as they are now."""
    buyer = basket.buyer
    row = session.execute(
        _FACTS,
        {
            "with_tree": ruleset.needs_categories,
            "owner": f"user:{buyer.user_id}" if ruleset.needs_first_order and buyer.user_id is not None else None,
            "codes": list(basket.coupons),
            "limited": ruleset.limited,
            "user_id": buyer.user_id,
        },
    ).one()
    usage = usage_of(row.used, row.own)
    coupons = [_coupon(each, usage, basket) for each in row.coupons or ()]
    order = {code: number for number, code in enumerate(basket.coupons)}
    coupons.sort(key=lambda coupon: order[coupon.code])
    return Mark(row.token, row.tree), Facts(coupons=tuple(coupons), usage=usage, is_first_order=row.is_first_order)


def usage_of(used: Iterable[Sequence[Any]] | None, own: Mapping[str, int] | None = None) -> dict[UUID, Usage]:
    """What was used, from the column `used`; `own` is how often by this customer."""
    by_customer = own or {}
    return {UUID(subject): Usage(uses, spent, by_customer.get(subject, 0)) for subject, uses, spent in used or ()}


def read_mark(session: Session, ruleset: RuleSet | None) -> Mark:
    """The mark of the rules as they are now; with the tree of categories where these rules need it, or if none are."""
    with_tree = ruleset is None or ruleset.needs_categories
    row = session.execute(_MARK, {"with_tree": with_tree}).one()
    return Mark(row.token, row.tree)


def _coupon(columns: Sequence[Any], usage: Mapping[UUID, Usage], basket: Basket) -> CouponFact:
    id_, code, campaign, active, starts, ends, limit, limit_per_customer = columns
    used = usage.get(UUID(id_), Usage())
    now = basket.now.timestamp()
    refusal: tuple[str, Any, Any] | None = None
    if not active:
        refusal = ("coupon-inactive", code, None)
    elif starts is not None and now < float(starts):
        refusal = ("coupon-not-started", code, None)
    elif ends is not None and now >= float(ends):
        refusal = ("coupon-ended", code, None)
    elif limit is not None and used.uses >= limit:
        refusal = ("coupon-used-up", limit, used.uses)
    elif limit_per_customer is not None and basket.buyer.user_id is None:
        refusal = ("guest", "customer", None)
    elif limit_per_customer is not None and used.by_customer >= limit_per_customer:
        refusal = ("coupon-used-up-by-customer", limit_per_customer, used.by_customer)
    return CouponFact(UUID(id_), code, campaign, refusal)


def read_list_prices(
    session: Session, variant_ids: Iterable[UUID], currency: str, tier: str | None, now: datetime
) -> dict[UUID, list[ListPrice]]:
    """The prices of price lists that this customer may have now, by variant. One statement."""
    found: defaultdict[UUID, list[ListPrice]] = defaultdict(list)
    given = {"variant_ids": list(variant_ids), "currency": currency, "tier": tier, "now": now}
    for variant_id, *rest in session.execute(_LIST_PRICES, given):
        found[variant_id].append(ListPrice(*rest))
    return found


def with_prices(facts: Facts, prices: Mapping[UUID, Sequence[ListPrice]]) -> Facts:
    return replace(facts, list_prices=prices)
