"""Uses of rules and coupons: taken in the transaction that places the order, and given back in the one that cancels it.

Who wants a use locks the limit's row, so that of two that want the last one, one waits and then gets none. That
happens while the order's stock is locked: stock first, then limits, by ascending id. Who gives one back must not lock a
limit, as an order is cancelled before its stock is let go of, which would be the other way around. It only marks its
own rows; who is next to lock the limit collects what is marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.database import uuid7
from commerce_core.events import ProductChanged, emit
from commerce_pricing_rules.models import PricingLimit, PricingUse
from commerce_pricing_rules.quoting import SOURCE


class OfferUsedUp(Conflict):
    """A rule or a coupon was used up while the order was placed. Ask for a new quote; `code` names a coupon."""

    slug = "pricing/used-up"
    title = "An offer has just been used up"
    example: ClassVar[dict[str, Any]] = {"detail": "The coupon SPRING has just been used up.", "code": "SPRING"}


class CouponUnusable(Conflict):
    """A coupon of the cart cannot be used any more: take it out, and look at the total. `reason` says why."""

    slug = "pricing/coupon-unusable"
    title = "A coupon cannot be used any more"
    example: ClassVar[dict[str, Any]] = {
        "detail": "The coupon SPRING cannot be used any more.",
        "code": "SPRING",
        "reason": "coupon-used-up",
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order uses. `amount` is what it takes off, in minor units; `code` is the coupon's, for people."""

    kind: Literal["rule", "coupon"]
    subject_id: UUID
    amount: int
    code: str | None = None


_LOCK = select(PricingLimit.subject_id).order_by(PricingLimit.subject_id).with_for_update()
_IDS = bindparam("ids", type_=ARRAY(PG_UUID))
_TAKE = text("""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:amounts AS bigint[])) AS wanted (subject_id, amount)
    ), collected AS (
        UPDATE pricing_use SET collected = true
        WHERE subject_id = ANY(:ids) AND released_at IS NOT NULL AND NOT collected
        RETURNING subject_id, amount
    ), free AS (
        SELECT subject_id, count(*) AS uses, sum(amount) AS amount FROM collected GROUP BY subject_id
    ), left_over AS (
        SELECT part.subject_id, part.uses - coalesce(free.uses, 0) AS uses,
            part.spent - coalesce(free.amount, 0) AS spent, wanted.amount
        FROM pricing_limit AS part JOIN wanted USING (subject_id) LEFT JOIN free USING (subject_id)
    )
    UPDATE pricing_limit AS part SET uses = now.uses + 1, spent = now.spent + now.amount
    FROM left_over AS now
    WHERE part.subject_id = now.subject_id
        AND (part.usage_limit IS NULL OR now.uses < part.usage_limit)
        AND (part.budget_amount IS NULL
            OR (part.budget_currency = :currency AND now.spent + now.amount <= part.budget_amount))
        AND (part.usage_limit_per_customer IS NULL OR (CAST(:user_id AS uuid) IS NOT NULL
            AND (SELECT count(*) FROM pricing_use AS own WHERE own.subject_id = part.subject_id
                AND own.user_id = :user_id AND own.released_at IS NULL) < part.usage_limit_per_customer))
    RETURNING part.subject_id,
        coalesce(part.uses >= part.usage_limit, false) OR coalesce(part.spent >= part.budget_amount, false)
        AS is_used_up""").bindparams(
    _IDS,
    bindparam("amounts", type_=ARRAY(BigInteger)),
    bindparam("currency", type_=Text),
    bindparam("user_id", type_=PG_UUID),
)
_TAKE_BACK = text("""
    WITH taken AS (
        UPDATE pricing_use SET released_at = NULL, collected = false
        WHERE order_id = :order_id AND released_at IS NOT NULL
        RETURNING id
    ), counted AS (
        SELECT before.subject_id, before.amount FROM pricing_use AS before JOIN taken USING (id) WHERE before.collected
    )
    UPDATE pricing_limit AS part SET uses = part.uses + 1, spent = part.spent + counted.amount
    FROM counted WHERE counted.subject_id = part.subject_id""")


def user_of(owner: str | None) -> UUID | None:
    """The user that an owner of carts and orders is; None for guests."""
    kind, _, user_id = (owner or "").partition(":")
    return UUID(user_id) if kind == "user" else None


def uses_in(trace: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    """What an order uses of ours, by its trace: the rules that took something off, and the coupons they went by."""
    amounts: dict[UUID, int] = {}
    coupons: dict[UUID, Wanted] = {}
    for entry in trace:
        details = entry.get("details", {})
        if entry["source"] != SOURCE or entry["outcome"] == "rejected" or details.get("type") == "price_list":
            continue
        rule_id = UUID(entry["code"])
        amounts[rule_id] = amounts.get(rule_id, 0) - entry["amount"]
        for code, id_ in details.get("coupons", {}).items():
            known = coupons.get(UUID(id_))
            off = -entry["amount"] + (0 if known is None else known.amount)
            coupons[UUID(id_)] = Wanted("coupon", UUID(id_), off, code)
    rules = [Wanted("rule", rule_id, amount) for rule_id, amount in amounts.items() if amount]
    return rules + [coupon for coupon in coupons.values() if coupon.amount]


def take(
    session: Session, order_id: UUID, wanted: Sequence[Wanted], *, currency: str, user_id: UUID | None, now: datetime
) -> None:
    """Take what an order uses, all or nothing. Three statements. Locks the limits. Raises OfferUsedUp."""
    if not wanted:
        return
    by_id = {each.subject_id: each for each in wanted}
    limited = session.scalars(_LOCK.where(PricingLimit.subject_id.in_(by_id))).all()
    if limited:
        # In a statement of its own: it sees what those have done that were waited for.
        taken = session.execute(
            _TAKE,
            {
                "ids": list(limited),
                "amounts": [by_id[subject_id].amount for subject_id in limited],
                "currency": currency,
                "user_id": user_id,
            },
        ).all()
        is_used_up = {row.subject_id: row.is_used_up for row in taken}
        missing = [by_id[subject_id] for subject_id in limited if subject_id not in is_used_up]
        if missing:
            raise _used_up(missing)
        if any(by_id[subject_id].kind == "rule" for subject_id, used_up in is_used_up.items() if used_up):
            emit(session, ProductChanged(what="pricing.used-up"))  # lists must not show it any more
    session.execute(
        insert(PricingUse),
        [
            {
                "id": uuid7(),
                "kind": each.kind,
                "subject_id": each.subject_id,
                "order_id": order_id,
                "user_id": user_id,
                "amount": each.amount,
                "currency": currency,
                "created_at": now,
            }
            for each in by_id.values()
        ],
    )


def give_back(session: Session, order_id: UUID, *, now: datetime) -> None:
    """The order was cancelled: others may have what it used. Locks nothing but its own uses."""
    session.execute(
        update(PricingUse)
        .where(PricingUse.order_id == order_id, PricingUse.released_at.is_(None))
        .values(released_at=now)
    )


def take_back(session: Session, order_id: UUID) -> None:
    """A cancelled order was paid after all, and lives: it uses again what it used, even beyond a limit."""
    session.execute(_TAKE_BACK, {"order_id": order_id})


def keep_limit(session: Session, limit: PricingLimit) -> None:
    """Remember the limits of a rule or coupon, and what has been used of it so far; or that it has none (any more)."""
    subject_id = limit.subject_id
    known = session.get(PricingLimit, subject_id, with_for_update=True, populate_existing=True)
    if limit.usage_limit is None and limit.usage_limit_per_customer is None and limit.budget_amount is None:
        if known is not None:
            session.execute(delete(PricingLimit).where(PricingLimit.subject_id == subject_id))
            session.expunge(known)
        return
    counted = session.execute(
        text("""
            SELECT count(*) AS uses, coalesce(sum(amount) FILTER (WHERE currency = :currency), 0) AS spent
            FROM pricing_use WHERE subject_id = :subject_id AND NOT collected"""),
        {"subject_id": subject_id, "currency": limit.budget_currency},
    ).one()
    limit.uses, limit.spent = counted.uses, int(counted.spent)
    session.merge(limit)
    session.flush()


def _used_up(missing: Sequence[Wanted]) -> OfferUsedUp:
    coupon = next((each for each in missing if each.kind == "coupon"), None)
    if coupon is None:
        return OfferUsedUp("An offer has just been used up.", code=None)
    return OfferUsedUp(f"The coupon {coupon.code} has just been used up.", code=coupon.code)
