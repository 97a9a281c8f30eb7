"""Stock of several variants at once: all or nothing, or as much as can be had.

Two steps, in the caller's transaction. `available_of` locks the levels of all variants, in the order of their ids, and
says how many of each could be had; what it says holds until the transaction ends. `place_holds` then takes them. For 20
variants that is two statements instead of twenty, and every one that is short is known at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.database import uuid7
from commerce_core.stock.models import Hold
from commerce_core.stock.service import announce, end_holds, reclaim_expired
from commerce_core.stock.statements import LOCK_LEVELS, TAKE_SEVERAL

# More than anybody may ask for: of what is not tracked, or may be backordered.
UNLIMITED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many units of a variant, or none. `instead_of` is an active hold, locked, that is given up for them."""

    variant_id: UUID
    quantity: int
    instead_of: Hold | None = None


def lock_levels(session: Session, variant_ids: Iterable[UUID]) -> dict[UUID, Any]:
    """Lock the levels of these variants, by ascending id, for a transaction that is going to move several of them."""
    session.flush()
    rows = session.connection().exec_driver_sql(LOCK_LEVELS, {"variant_ids": list(variant_ids)})
    return {row.variant_id: row for row in rows}


def available_of(session: Session, wanted: Sequence[Wanted], *, now: datetime) -> dict[UUID, int]:
    """How many units of each variant could be had: UNLIMITED when not tracked, 0 when not for sale.

    What a hold that is given up has reserved counts as available. Gives lapsed holds back where there is too little.
    Locks the levels, by ascending variant id. Each variant may be wanted once.
    """
    levels = lock_levels(session, [want.variant_id for want in wanted])
    available = {want.variant_id: _available(levels, want) for want in wanted}
    short = sorted(
        want.variant_id for want in wanted if want.variant_id in levels and available[want.variant_id] < want.quantity
    )
    reclaimed = [variant_id for variant_id in short if _reclaim_all(session, variant_id, now=now)]
    if reclaimed:
        levels |= lock_levels(session, reclaimed)
        available |= {want.variant_id: _available(levels, want) for want in wanted}
    return available


def place_holds(
    session: Session,
    wanted: Sequence[Wanted],
    *,
    now: datetime,
    expires_at: datetime,
    owner: str | None,
    order_id: UUID | None = None,
) -> dict[UUID, UUID]:
    """Take what `available_of` has said can be had; the id of the hold of each variant.

    With `order_id` the holds belong to that order from the start (they are converted). Holds that are given up are
    released first; nobody can come in between, because the levels are locked.
    """
    end_holds(session, [want.instead_of for want in wanted if want.instead_of is not None], now=now, actor=owner)
    session.flush()
    taken = [want for want in wanted if want.quantity]
    if not taken:
        return {}
    ids = {want.variant_id: uuid7() for want in taken}
    rows = session.connection().exec_driver_sql(
        TAKE_SEVERAL,
        {
            "ids": list(ids.values()),
            "variant_ids": list(ids),
            "quantities": [want.quantity for want in taken],
            "owner": owner,
            "order_id": order_id,
            "now": now,
            "expires_at": expires_at,
        },
    )
    for level in sorted(rows, key=lambda row: row.variant_id):
        announce(session, level.variant_id, "hold", level, hold_id=level.id, order_id=order_id)
    return ids


def _available(levels: Mapping[UUID, Any], want: Wanted) -> int:
    level = levels.get(want.variant_id)
    if level is None or not level.sellable:
        return 0
    if level.policy == "ignore" or level.allow_backorder:
        return UNLIMITED
    own = 0 if want.instead_of is None else want.instead_of.reserved
    return max(0, int(level.on_hand - level.reserved + own))


def _reclaim_all(session: Session, variant_id: UUID, *, now: datetime) -> bool:
    """Give back all lapsed holds of a variant, of which one statement takes only so many; whether there were any."""
    found = False
    while reclaim_expired(session, variant_id, now=now):
        found = True
    return found
