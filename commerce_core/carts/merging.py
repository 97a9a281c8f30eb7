"""A guest signs in: what is in the guest's cart goes into the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.carts import reservation
from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.queries import Article, articles_of
from commerce_core.carts.service import MAX_COUPONS, close_cart, lock_cart, open_cart, renew
from commerce_core.database import uuid7
from commerce_core.settings import CartSettings
from commerce_core.stock.several import lock_levels


@dataclass(frozen=True, slots=True)
class Capped:
    """A line of which `got` units are in the cart, fewer than the `wanted` of both carts together."""

    variant_id: UUID
    sku: str
    name: str
    wanted: int
    got: int
    reason: str


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What has become the user's, and what has not. See schemas.CartMerge."""

    cart_id: UUID | None = None
    lines: int = 0
    capped: list[Capped] = field(default_factory=list)
    dropped_coupons: list[str] = field(default_factory=list)
    holds: int = 0
    orders: int = 0

    def with_adopted(self, *, holds: int, orders: int) -> MergeReport:
        return replace(self, holds=holds, orders=orders)


def merge_carts(
    session: Session, *, guest_owner: str, user_owner: str, settings: CartSettings, now: datetime
) -> MergeReport | None:
    """Put the guest's cart into the user's, which is made if there is none; None when the guest has nothing in one.

    Quantities are added up, as far as there is enough and the limits allow; what was cut is in the report. The user
    keeps at least what was in the user's cart before. The guest's cart is `merged` then: a second call finds nothing.
    Locks the guest's cart, the user's, their holds, then the levels of all their variants where some are held.
    """
    guest = lock_cart(session, guest_owner, now=now)
    if guest is None:
        return None
    if not guest.lines:
        close_cart(session, guest, "merged", now=now)
        return None
    user = open_cart(session, user_owner, settings=settings, now=now)
    both = [*guest.lines, *user.lines]
    variant_ids = {line.variant_id for line in both}
    held = Counter[UUID]()
    for hold in reservation.active_holds(session, both, now=now).values():
        held[hold.variant_id] += hold.reserved
    if held or settings.reserve_on_add:
        # All of them at once, and in order: the guest's are given back, and the user's taken, in two steps.
        lock_levels(session, variant_ids)
    articles = articles_of(session, variant_ids, now=now)
    # Lines are shown in the order of their ids, and ids of the same instant have none.
    incoming = list(zip(guest.lines, sorted(uuid7() for _ in guest.lines), strict=True))
    close_cart(session, guest, "merged", now=now)
    user.currency = user.currency or guest.currency
    user.seen = None
    capped = []
    for line, new_id in incoming:
        cut = _take_over(user, line, new_id, articles[line.variant_id], held, settings=settings, now=now)
        if cut is not None:
            capped.append(cut)
    if not user.lines:
        user.currency = None
    known = [*user.coupons, *(code for code in guest.coupons if code not in user.coupons)]
    user.coupons = known[:MAX_COUPONS]
    renew(session, user, settings=settings, now=now)
    dropped = sum(cut.got == 0 for cut in capped)
    return MergeReport(user.id, len(incoming) - dropped, capped, known[MAX_COUPONS:])


def _take_over(
    user: Cart,
    incoming: CartLine,
    new_id: UUID,
    article: Article,
    held: Mapping[UUID, int],
    *,
    settings: CartSettings,
    now: datetime,
) -> Capped | None:
    """Add a guest's line to the user's cart, or as much of it as may be; what was cut, if anything."""
    line = next((line for line in user.lines if line.variant_id == incoming.variant_id), None)
    had = 0 if line is None else line.quantity
    wanted = had + incoming.quantity
    got, reason = _allowed(user, line, wanted, article, held, settings=settings)
    got = max(had, got)
    if line is not None and got > had:
        line.quantity = got
        line.unit_price = incoming.unit_price
    elif line is None and got:
        user.lines.append(
            CartLine(
                id=new_id,
                variant_id=article.variant_id,
                quantity=got,
                unit_price=incoming.unit_price,
                created_at=now,
            )
        )
    if reason is None:
        return None
    return Capped(article.variant_id, article.sku, article.product_name, wanted, got, reason)


def _allowed(
    user: Cart,
    line: CartLine | None,
    wanted: int,
    article: Article,
    held: Mapping[UUID, int],
    *,
    settings: CartSettings,
) -> tuple[int, str | None]:
    """How many units there may be of a variant, and why not as many as wanted."""
    if not article.is_for_sale:
        return 0, "not_for_sale"
    if article.currency != user.currency:
        return 0, "other_currency"
    if line is None and len(user.lines) >= settings.max_lines:
        return 0, "max_lines"
    limits: list[tuple[int, str | None]] = [(wanted, None), (settings.max_quantity_per_line, "max_quantity_per_line")]
    available = article.available(held.get(article.variant_id, 0))
    if available is not None:
        limits.append((available, "out_of_stock"))
    return min(limits, key=lambda limit: limit[0])
