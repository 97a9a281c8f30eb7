"""Rules, coupons and price lists as staff keep them. Flushes, never commits; each change is in the history.

What changes prices changes the token as well (`changed`), so that every process compiles anew, and tells that the
catalogue has changed, so that no cache shows the old prices. Coupons do neither: they are read with every quote.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.preconditions import save
from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.database import uuid7
from commerce_core.events import ProductChanged, emit
from commerce_pricing_rules.definitions import RuleDefinition, plain_of
from commerce_pricing_rules.models import (
    PricingChange,
    PricingCoupon,
    PricingLimit,
    PricingList,
    PricingListPrice,
    PricingRule,
    PricingState,
)
from commerce_pricing_rules.uses import keep_limit

# Without I, L, O and U, so that a code can be read out: 32 letters are 5 bits, and 12 of them 60.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LETTERS = 12
# More active rules than this are a mistake of some program.
MOST_RULES = 10_000
_KINDS: dict[str, Any] = {"product": Product, "variant": Variant, "category": Category, "brand": Brand}
_PLACES = {"product": "products", "variant": "variants", "category": "categories", "brand": "brands"}


class CouponExists(Conflict):
    """There is a coupon with this code."""

    slug = "pricing/coupon-exists"
    title = "The code is taken"
    example: ClassVar[dict[str, Any]] = {"detail": "There is a coupon SPRING.", "code": "SPRING"}


class TooManyRules(Conflict):
    """A shop can have 10,000 active rules. Deactivate those that nobody needs any more."""

    slug = "pricing/too-many-rules"
    title = "There are too many rules"


# --- Rules ---


def get_rule(session: Session, rule_id: UUID, *, lock: bool = False) -> PricingRule:
    """A rule that is not deleted, its row locked if asked. Raises NotFound."""
    found = session.get(PricingRule, rule_id, with_for_update=lock or None, populate_existing=lock)
    if found is None or found.deleted_at is not None:
        raise NotFound("There is no such rule.")
    return found


def add_rule(session: Session, definition: RuleDefinition, *, actor: str, now: datetime) -> PricingRule:
    """Add a rule. Raises InvalidInput for goods that there are not, TooManyRules."""
    check_references(session, definition)
    if definition.active:
        _check_number_of_rules(session)
    rule = PricingRule(**definition.columns(), created_at=now, updated_at=now)
    session.add(rule)
    session.flush()
    _keep_limit_of_rule(session, rule)
    note(session, f"rule:{rule.id}", "create", rule.version, _plain(rule), actor=actor, now=now)
    changed(session, "pricing.rule.create")
    return rule


def change_rule(session: Session, rule: PricingRule, definition: RuleDefinition, *, actor: str, now: datetime) -> None:
    """Make a rule, which is locked, what `definition` says. Raises InvalidInput, PreconditionFailed, TooManyRules."""
    check_references(session, definition)
    if definition.active and not rule.active:
        _check_number_of_rules(session)
    before = rule.version
    save(session, rule, definition.columns())
    if rule.version == before:
        return
    rule.updated_at = now
    session.flush()
    _keep_limit_of_rule(session, rule)
    note(session, f"rule:{rule.id}", "update", rule.version, _plain(rule), actor=actor, now=now)
    changed(session, "pricing.rule.update")


def delete_rule(session: Session, rule: PricingRule, *, actor: str, now: datetime) -> None:
    """Delete a rule, which is locked: it applies to nothing more, and its history stays. Raises PreconditionFailed."""
    save(session, rule, {"active": False, "deleted_at": now})
    note(session, f"rule:{rule.id}", "delete", rule.version, None, actor=actor, now=now)
    changed(session, "pricing.rule.delete")


def _check_number_of_rules(session: Session) -> None:
    active = select(func.count()).select_from(PricingRule).where(PricingRule.active, PricingRule.deleted_at.is_(None))
    if (session.scalar(active) or 0) >= MOST_RULES:
        raise TooManyRules(f"There are {MOST_RULES:,} already.")


def check_references(session: Session, definition: RuleDefinition) -> None:
    """Refuse a rule about goods that there are not, since it would never apply. Raises InvalidInput."""
    errors = []
    for kind, ids in definition.references().items():
        model = _KINDS[kind]
        known = set(session.scalars(select(model.id).where(model.id.in_(ids)))) if ids else set()
        errors += [
            {"field": _PLACES[kind], "code": "unknown", "message": f"there is no {kind} {id_}"}
            for id_ in sorted(ids - known)
        ]
    if errors:
        raise InvalidInput(errors)


def changed(session: Session, what: str) -> None:
    """Prices are others from this commit on, in every process, and in what caches show. Locks the token's row."""
    statement = insert(PricingState).values(id=1, token=uuid7())
    session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"token": statement.excluded.token}))
    emit(session, ProductChanged(what=what))


def note(
    session: Session,
    subject: str,
    action: str,
    version: int,
    after: dict[str, Any] | None,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Write a line of the history."""
    session.add(
        PricingChange(subject=subject, action=action, actor=actor, version=version, after=after, created_at=now)
    )
    session.flush()


def _keep_limit_of_rule(session: Session, rule: PricingRule) -> None:
    keep_limit(
        session,
        PricingLimit(
            subject_id=rule.id,
            usage_limit=rule.usage_limit,
            usage_limit_per_customer=rule.usage_limit_per_customer,
            budget_amount=rule.budget_amount,
            budget_currency=rule.budget_currency,
        ),
    )


def _plain(rule: PricingRule) -> dict[str, Any]:
    plain: dict[str, Any] = RuleDefinition.model_validate(plain_of(rule)).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    return plain


# --- Coupons ---


def get_coupon(session: Session, coupon_id: UUID, *, lock: bool = False) -> PricingCoupon:
    """A coupon, its row locked if asked. Raises NotFound."""
    found = session.get(PricingCoupon, coupon_id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise NotFound("There is no such coupon.")
    return found


def add_coupon(session: Session, given: Mapping[str, Any], *, actor: str, now: datetime) -> PricingCoupon:
    """Add a coupon, with a code that nobody guesses unless one is given. Raises CouponExists."""
    code = (given.get("code") or new_code()).upper()
    coupon = PricingCoupon(**{**given, "code": code}, created_at=now)
    try:
        with session.begin_nested():
            session.add(coupon)
    except IntegrityError as error:
        raise CouponExists(f"There is a coupon {code}.", code=code) from error
    _keep_limits_of_coupons(session, [coupon])
    note(session, f"coupon:{coupon.id}", "create", 1, _coupon_as_json(coupon), actor=actor, now=now)
    return coupon


def generate_coupons(
    session: Session, campaign: str, number: int, given: Mapping[str, Any], *, prefix: str, actor: str, now: datetime
) -> list[str]:
    """Add so many coupons of a campaign; their codes, 60 random bits each, after `prefix`."""
    made: list[str] = []
    while len(made) < number:
        rows = [
            {"id": uuid7(), "code": prefix + new_code(), "campaign": campaign, "version": 1, "created_at": now, **given}
            for _ in range(number - len(made))
        ]
        # A code that is taken, once in a very long time, is made anew. Rows beside the statement are sent in batches:
        # PostgreSQL takes 65,535 parameters at once.
        statement = insert(PricingCoupon).on_conflict_do_nothing().returning(PricingCoupon.code)
        added = set(session.scalars(statement, rows))
        _keep_limits(session, [row for row in rows if row["code"] in added])
        made += [str(row["code"]) for row in rows if row["code"] in added]
    note(session, f"campaign:{campaign}", "generate", 1, {"number": number}, actor=actor, now=now)
    return made


def change_coupon(
    session: Session, coupon: PricingCoupon, changes: Mapping[str, Any], *, actor: str, now: datetime
) -> None:
    """Change a coupon, which is locked. Its code stays. Raises InvalidInput, PreconditionFailed."""
    merged = {name: changes.get(name, getattr(coupon, name)) for name in ("starts_at", "ends_at")}
    check_period(**merged)
    before = coupon.version
    save(session, coupon, changes)
    if coupon.version != before:
        _keep_limits_of_coupons(session, [coupon])
        after = _coupon_as_json(coupon)
        note(session, f"coupon:{coupon.id}", "update", coupon.version, after, actor=actor, now=now)


def check_period(starts_at: datetime | None, ends_at: datetime | None) -> None:
    """Raises InvalidInput."""
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise InvalidInput.field("ends_at", "empty_range", "must be after starts_at")


def new_code() -> str:
    """Twelve random letters and digits in groups of four: 7K3F-Q2ZD-9WRM."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS))
    return "-".join(letters[start : start + 4] for start in range(0, _LETTERS, 4))


def _keep_limits_of_coupons(session: Session, coupons: Iterable[PricingCoupon]) -> None:
    for coupon in coupons:
        keep_limit(
            session,
            PricingLimit(
                subject_id=coupon.id,
                usage_limit=coupon.usage_limit,
                usage_limit_per_customer=coupon.usage_limit_per_customer,
            ),
        )


def _keep_limits(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    limits = [
        {
            "subject_id": row["id"],
            "usage_limit": row.get("usage_limit"),
            "usage_limit_per_customer": row.get("usage_limit_per_customer"),
        }
        for row in rows
        if row.get("usage_limit") is not None or row.get("usage_limit_per_customer") is not None
    ]
    if limits:
        session.execute(insert(PricingLimit), limits)


def _coupon_as_json(coupon: PricingCoupon) -> dict[str, Any]:
    return {
        "code": coupon.code,
        "campaign": coupon.campaign,
        "active": coupon.active,
        "starts_at": coupon.starts_at and coupon.starts_at.isoformat(),
        "ends_at": coupon.ends_at and coupon.ends_at.isoformat(),
        "usage_limit": coupon.usage_limit,
        "usage_limit_per_customer": coupon.usage_limit_per_customer,
    }


# --- Price lists ---


def get_list(session: Session, list_id: UUID, *, lock: bool = False) -> PricingList:
    """A price list, its row locked if asked. Raises NotFound."""
    found = session.get(PricingList, list_id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise NotFound("There is no such price list.")
    return found


def add_list(session: Session, given: Mapping[str, Any], *, actor: str, now: datetime) -> PricingList:
    """Add a price list, still empty. Raises InvalidInput."""
    check_period(given.get("starts_at"), given.get("ends_at"))
    made = PricingList(**given, created_at=now)
    session.add(made)
    session.flush()
    note(session, f"price-list:{made.id}", "create", 1, _list_as_json(made), actor=actor, now=now)
    changed(session, "pricing.list.create")
    return made


def change_list(session: Session, made: PricingList, changes: Mapping[str, Any], *, actor: str, now: datetime) -> None:
    """Change a price list, which is locked. Raises InvalidInput, PreconditionFailed."""
    check_period(**{name: changes.get(name, getattr(made, name)) for name in ("starts_at", "ends_at")})
    before = made.version
    save(session, made, changes)
    if made.version != before:
        note(session, f"price-list:{made.id}", "update", made.version, _list_as_json(made), actor=actor, now=now)
        changed(session, "pricing.list.update")


def delete_list(session: Session, made: PricingList, *, actor: str, now: datetime) -> None:
    """Delete a price list, which is locked, with its prices."""
    note(session, f"price-list:{made.id}", "delete", made.version, None, actor=actor, now=now)
    session.execute(delete(PricingList).where(PricingList.id == made.id))
    changed(session, "pricing.list.delete")


def set_prices(
    session: Session, made: PricingList, prices: Sequence[Mapping[str, Any]], *, actor: str, now: datetime
) -> None:
    """Put prices into a list, which is locked; an amount of None takes one out.

    A price must be in the variant's currency, or nobody would ever pay it. Raises InvalidInput, PreconditionFailed.
    """
    ids = {price["variant_id"] for price in prices}
    found = session.execute(select(Variant.id, Variant.currency).where(Variant.id.in_(ids))).all()
    currencies: dict[UUID, str] = {row.id: row.currency for row in found}
    errors = []
    for number, price in enumerate(prices):
        currency = currencies.get(price["variant_id"])
        if currency is None:
            errors.append({"field": f"prices.{number}.variant_id", "code": "unknown", "message": "is no variant"})
        elif currency != made.currency:
            message = f"costs {currency}, and the list is in {made.currency}"
            errors.append({"field": f"prices.{number}.variant_id", "code": "other_currency", "message": message})
    if errors:
        raise InvalidInput(errors)
    gone = [price for price in prices if price["amount"] is None]
    kept = {(price["variant_id"], price["from_quantity"]): price for price in prices if price["amount"] is not None}
    for price in gone:
        session.execute(
            delete(PricingListPrice).where(
                PricingListPrice.list_id == made.id,
                PricingListPrice.variant_id == price["variant_id"],
                PricingListPrice.from_quantity == price["from_quantity"],
            )
        )
    if kept:
        statement = insert(PricingListPrice).values([{"list_id": made.id, **price} for price in kept.values()])
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["list_id", "variant_id", "from_quantity"],
                set_={"amount": statement.excluded.amount},
            )
        )
    save(session, made, {}, always=True)
    after = {"prices": [{**price, "variant_id": str(price["variant_id"])} for price in prices]}
    note(session, f"price-list:{made.id}", "prices", made.version, after, actor=actor, now=now)
    changed(session, "pricing.list.prices")


def _list_as_json(made: PricingList) -> dict[str, Any]:
    return {
        "name": made.name,
        "tier": made.tier,
        "currency": made.currency,
        "priority": made.priority,
        "active": made.active,
        "starts_at": made.starts_at and made.starts_at.isoformat(),
        "ends_at": made.ends_at and made.ends_at.isoformat(),
    }
