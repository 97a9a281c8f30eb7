"""What a cart keeps off sale for its owner, with `carts.reserve_on_add`: a hold for each line.

A hold lasts `carts.hold_seconds` from the last activity on the cart. One that has lapsed is taken again when there is
enough, and else its line stays without. All functions want the cart locked. Lock order: the cart's holds by ascending
id, then all levels concerned by ascending variant id, so that carts with crossed lines wait, and never deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.carts.models import Cart, CartLine
from commerce_core.carts.queries import holds_of
from commerce_core.settings import CartSettings
from commerce_core.stock.models import Hold
from commerce_core.stock.service import OutOfStock, end_holds, state_of
from commerce_core.stock.several import Wanted, available_of, place_holds


def keep(
    session: Session,
    cart: Cart,
    *,
    settings: CartSettings,
    now: datetime,
    insist_on: CartLine | None = None,
    without: CartLine | None = None,
) -> None:
    """Let the cart's holds last from now, and hold what should be held and is not, as far as there is enough.

    A hold of another quantity than its line's is replaced: the new one is sure before the old one is given up. Raises
    OutOfStock when there is too little for the line `insist_on`; what is held for the line `without` is given back.
    """
    expires_at = now + timedelta(seconds=settings.hold_seconds)
    active = active_holds(session, cart.lines, now=now)
    lines: dict[UUID, CartLine] = {}
    wanted = []
    for line in cart.lines:
        hold = active.get(line.id)
        if line is without:
            if hold is not None:
                wanted.append(Wanted(line.variant_id, 0, hold))
        elif hold is not None and hold.quantity == line.quantity:
            if settings.reserve_on_add:
                # Activity is no extension that the customer has asked for: those are counted.
                hold.expires_at = max(hold.expires_at, expires_at)
        elif settings.reserve_on_add or hold is not None:
            lines[line.variant_id] = line
            wanted.append(Wanted(line.variant_id, line.quantity, hold))
    if not wanted:
        return
    available = available_of(session, wanted, now=now)
    if insist_on is not None and available.get(insist_on.variant_id, insist_on.quantity) < insist_on.quantity:
        raise OutOfStock(insist_on.variant_id, available[insist_on.variant_id])
    enough = [want for want in wanted if available[want.variant_id] >= want.quantity]
    for variant_id, hold_id in place_holds(session, enough, now=now, expires_at=expires_at, owner=cart.owner).items():
        lines[variant_id].hold_id = hold_id


def give_back(session: Session, cart: Cart, lines: Sequence[CartLine], *, now: datetime) -> None:
    """Release what is held for these lines of the cart."""
    active = active_holds(session, lines, now=now)
    for line in lines:
        line.hold_id = None
    end_holds(session, active.values(), now=now, actor=cart.owner)


def active_holds(session: Session, lines: Sequence[CartLine], *, now: datetime) -> dict[UUID, Hold]:
    """The holds that are still active, locked, by the id of their line."""
    holds = holds_of(session, lines, lock=True)
    return {
        line.id: holds[line.hold_id]
        for line in lines
        if line.hold_id is not None and state_of(holds[line.hold_id], now) == "active"
    }


def held_by(session: Session, lines: Sequence[CartLine], *, now: datetime) -> dict[UUID, int]:
    """How many units of each variant these lines hold. Takes no locks."""
    held: dict[UUID, int] = {}
    for hold in holds_of(session, lines).values():
        if state_of(hold, now) == "active":
            held[hold.variant_id] = held.get(hold.variant_id, 0) + hold.reserved
    return held
