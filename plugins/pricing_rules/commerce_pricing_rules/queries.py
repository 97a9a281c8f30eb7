"""Reading rules, coupons, price lists and their history. Nothing here locks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from commerce_pricing_rules.models import (
    PricingChange,
    PricingCoupon,
    PricingList,
    PricingListPrice,
    PricingRule,
    PricingUse,
)


def list_rules(
    session: Session, *, active: bool | None = None, before: UUID | None = None, limit: int
) -> tuple[Sequence[PricingRule], bool]:
    """Rules that are not deleted, newest first, and whether more follow."""
    query = select(PricingRule).where(PricingRule.deleted_at.is_(None))
    if active is not None:
        query = query.where(PricingRule.active.is_(active))
    return _newest(session, query, PricingRule, before, limit)


def list_coupons(
    session: Session, *, campaign: str | None = None, code: str | None = None, before: UUID | None = None, limit: int
) -> tuple[Sequence[PricingCoupon], bool]:
    """Coupons, newest first, and whether more follow."""
    query = select(PricingCoupon)
    if campaign is not None:
        query = query.where(PricingCoupon.campaign == campaign)
    if code is not None:
        query = query.where(PricingCoupon.code == code.upper())
    return _newest(session, query, PricingCoupon, before, limit)


def uses_of(session: Session, subject_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many orders, those that were cancelled left out, have each of these. One statement."""
    rows = session.execute(
        select(PricingUse.subject_id, func.count().label("uses"))
        .where(PricingUse.subject_id.in_(subject_ids), PricingUse.released_at.is_(None))
        .group_by(PricingUse.subject_id)
    )
    return {row.subject_id: row.uses for row in rows}


def list_lists(session: Session, *, before: UUID | None = None, limit: int) -> tuple[Sequence[PricingList], bool]:
    """Price lists, newest first, and whether more follow."""
    return _newest(session, select(PricingList), PricingList, before, limit)


def list_prices(
    session: Session, list_id: UUID, *, after: UUID | None = None, limit: int
) -> tuple[Sequence[PricingListPrice], bool]:
    """A list's prices of so many variants, by variant, and whether more follow."""
    variants = select(PricingListPrice.variant_id).where(PricingListPrice.list_id == list_id).distinct()
    if after is not None:
        variants = variants.where(PricingListPrice.variant_id > after)
    chosen = session.scalars(variants.order_by(PricingListPrice.variant_id).limit(limit + 1)).all()
    rows = session.scalars(
        select(PricingListPrice)
        .where(PricingListPrice.list_id == list_id, PricingListPrice.variant_id.in_(chosen[:limit]))
        .order_by(PricingListPrice.variant_id, PricingListPrice.from_quantity)
    ).all()
    return rows, len(chosen) > limit


def list_changes(
    session: Session, *, subject: str | None = None, before: UUID | None = None, limit: int
) -> tuple[Sequence[PricingChange], bool]:
    """The history, newest first, and whether more follows."""
    query = select(PricingChange)
    if subject is not None:
        query = query.where(PricingChange.subject == subject)
    return _newest(session, query, PricingChange, before, limit)


def _newest(
    session: Session, query: Select[Any], model: Any, before: UUID | None, limit: int
) -> tuple[Sequence[Any], bool]:
    if before is not None:
        query = query.where(model.id < before)
    found = session.scalars(query.order_by(model.id.desc()).limit(limit + 1)).all()
    return found[:limit], len(found) > limit
