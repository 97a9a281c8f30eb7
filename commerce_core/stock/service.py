"""The rules of stock: what may be taken, given back, sold and counted.

Every function here works in the caller's transaction, locks the rows it changes until that ends, and flushes but
never commits. (Placing a hold over HTTP is the exception: see desk.py.) Lock order: holds, then levels by ascending
variant id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, NotFound
from commerce_core.database import uuid7
from commerce_core.events import StockChanged, emit
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.statements import MOVE, RECLAIM, RECLAIM_LIMIT, TAKE


class OutOfStock(Conflict):
    """There is too little of this variant to take that many. `available` is what could be had at that moment."""

    slug = "out-of-stock"
    title = "Not enough in stock"
    example: ClassVar[dict[str, Any]] = {
        "detail": "Only 1 available.",
        "variant_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70",
        "available": 1,
    }

    def __init__(self, variant_id: UUID, available: int) -> None:
        available = max(0, available)
        super().__init__(
            f"Only {available} available." if available else "Sold out.",
            variant_id=str(variant_id),
            available=available,
        )
        self.available = available


class UnknownVariant(NotFound):
    """No variant with this id is for sale."""

    def __init__(self, variant_id: UUID) -> None:
        super().__init__("No variant with this id is for sale.", variant_id=str(variant_id))


class HoldNotActive(Conflict):
    """The hold has been converted, released or has expired, so nothing more can be done with it."""

    slug = "hold-not-active"
    title = "The hold is not active any more"
    example: ClassVar[dict[str, Any]] = {"detail": "The hold is expired.", "state": "expired", "order_id": None}

    def __init__(self, hold: Hold, now: datetime) -> None:
        state = state_of(hold, now)
        super().__init__(f"The hold is {state}.", state=state, order_id=hold.order_id and str(hold.order_id))


class TooManyExtensions(Conflict):
    """The hold has been extended as often as this shop allows."""

    slug = "too-many-extensions"
    title = "The hold cannot be extended again"


class StockConflict(Conflict):
    """The stock on hand may not fall below what is reserved, nor below zero, nor exceed what can be counted."""

    slug = "stock-conflict"
    title = "The stock does not allow this"


@dataclass(frozen=True, slots=True)
class Move:
    """One line for the ledger: units added to (or taken from) what is on hand and what is reserved."""

    kind: str
    on_hand: int = 0
    reserved: int = 0
    hold_id: UUID | None = None


def state_of(hold: Hold, now: datetime) -> str:
    """The hold's state at `now`: one that has lapsed is expired, whether or not anybody has swept it."""
    return "expired" if hold.state == "active" and hold.expires_at <= now else hold.state


def place_hold(
    session: Session,
    variant_id: UUID,
    quantity: int,
    *,
    ttl: timedelta,
    now: datetime,
    owner: str | None = None,
) -> UUID:
    """Take `quantity` units of a variant off sale for `ttl`; the id of the hold.

    Locks the variant's level until the transaction ends: for several variants call it in ascending order of their
    ids. Raises OutOfStock or UnknownVariant.
    """
    hold_id = uuid7()
    parameters: dict[str, Any] = {
        "variant_id": variant_id,
        "total": quantity,
        "count": 1,
        "ids": [hold_id],
        "quantities": [quantity],
        "owners": [owner],
        "created_at": [now],
        "expires_at": [now + ttl],
    }
    level = run(session, TAKE, parameters)
    lapsed = 0
    if level is None:
        state = run(session, RECLAIM, {"variant_id": variant_id, "now": now})
        if state is None or not state.sellable:
            raise UnknownVariant(variant_id)
        lapsed = state.expired
        while state.expired >= RECLAIM_LIMIT:
            state = run(session, RECLAIM, {"variant_id": variant_id, "now": now})
            lapsed += state.expired
        level = run(session, TAKE, parameters)
        if level is None:
            raise OutOfStock(variant_id, state.on_hand - state.reserved)
    announce(session, variant_id, "hold", level, hold_id=hold_id, lapsed=lapsed or None)
    return hold_id


def get_hold(session: Session, hold_id: UUID, *, lock: bool = False) -> Hold | None:
    """The hold, its row locked if asked."""
    return session.get(Hold, hold_id, with_for_update={"of": Hold} if lock else None, populate_existing=lock)


def release_hold(session: Session, hold: Hold, *, now: datetime, actor: str | None = None) -> None:
    """Give an active hold's units back. The hold must be locked. Raises HoldNotActive."""
    if state_of(hold, now) != "active":
        raise HoldNotActive(hold, now)
    end_holds(session, [hold], now=now, actor=actor)


def extend_hold(session: Session, hold: Hold, *, ttl: timedelta, max_extensions: int, now: datetime) -> None:
    """Let an active hold last `ttl` from now. The hold must be locked. Raises HoldNotActive or TooManyExtensions."""
    if state_of(hold, now) != "active":
        raise HoldNotActive(hold, now)
    if hold.extensions >= max_extensions:
        raise TooManyExtensions(f"A hold may be extended {max_extensions} times.")
    hold.extensions += 1
    # One that a cart keeps may last longer already.
    hold.expires_at = max(hold.expires_at, now + ttl)
    session.flush()


def convert_hold(session: Session, hold: Hold, order_id: UUID, *, now: datetime) -> None:
    """Give an active hold to an order; its units stay reserved. The hold must be locked. Raises HoldNotActive."""
    convert_holds(session, [hold], order_id, now=now)


def convert_holds(session: Session, holds: Iterable[Hold], order_id: UUID, *, now: datetime) -> None:
    """Give active holds, all locked, to an order; their units stay reserved. Raises HoldNotActive."""
    for hold in holds:
        if state_of(hold, now) != "active":
            raise HoldNotActive(hold, now)
        hold.state = "converted"
        hold.closed_at = now
        hold.order_id = order_id
    session.flush()


def adopt_holds(session: Session, owner: str, new_owner: str, *, now: datetime, except_for: Iterable[UUID] = ()) -> int:
    """Give the active holds of one owner to another; how many. Locks them, by ascending id."""
    holds = session.scalars(
        select(Hold)
        .where(Hold.owner == owner, Hold.state == "active", Hold.expires_at > now)
        .where(Hold.id.not_in(list(except_for)))
        .order_by(Hold.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for hold in holds:
        hold.owner = new_owner
    session.flush()
    return len(holds)


def end_holds(
    session: Session, holds: Iterable[Hold], *, now: datetime, actor: str | None = None, reason: str | None = None
) -> None:
    """Give the units of these holds (locked, and not sold) back: they are released."""
    for variant_id, group in _by_variant(holds):
        order_id = group[0].order_id
        for hold in group:
            hold.state = "released"
            hold.closed_at = now
        moves = [Move("release", reserved=-hold.reserved, hold_id=hold.id) for hold in group if hold.reserved]
        move_stock(session, variant_id, moves, now=now, actor=actor, reason=reason, order_id=order_id)


def shrink_backorder(
    session: Session, hold: Hold, quantity: int, *, now: datetime, actor: str | None = None, reason: str | None = None
) -> Hold:
    """Give `quantity` units of a paid backorder (locked) that still waits back; the hold of the rest.

    A hold ends once and as a whole, so the rest gets a new one, which keeps the old one's place in the queue.
    """
    rest = Hold(
        id=uuid7(),
        variant_id=hold.variant_id,
        quantity=hold.quantity - quantity,
        reserved=hold.quantity - quantity,
        owner=hold.owner,
        state="converted",
        created_at=hold.created_at,
        expires_at=hold.expires_at,
        closed_at=now,
        order_id=hold.order_id,
        awaiting_stock=True,
    )
    session.add(rest)
    hold.state = "released"
    hold.closed_at = now
    moves = [
        Move("release", reserved=-hold.reserved, hold_id=hold.id),
        Move("hold", reserved=rest.reserved, hold_id=rest.id),
    ]
    move_stock(session, hold.variant_id, moves, now=now, actor=actor, reason=reason, order_id=hold.order_id)
    serve_backorders(session, hold.variant_id, now=now, actor=actor)
    return rest


def sell_holds(session: Session, holds: Iterable[Hold], *, now: datetime, actor: str | None = None) -> None:
    """Turn an order's converted holds (locked) into sales: the units leave the shop.

    Backordered units that are not on hand yet stay reserved and are sold by the delivery that brings them.
    """
    for variant_id, group in _by_variant(holds):
        level = session.get_one(StockLevel, variant_id, with_for_update=True, populate_existing=True)
        on_hand = level.on_hand
        moves = []
        for hold in group:
            if hold.reserved > on_hand:
                hold.awaiting_stock = True
                continue
            on_hand -= hold.reserved
            hold.sold_at = now
            if hold.reserved:
                moves.append(_sale(hold))
        move_stock(session, variant_id, moves, now=now, actor=actor, order_id=group[0].order_id)


def receive_stock(
    session: Session,
    variant_id: UUID,
    quantity: int,
    *,
    now: datetime,
    actor: str | None = None,
    reason: str | None = None,
    kind: str = "receive",
    order_id: UUID | None = None,
) -> None:
    """Add units to what is on hand (`kind`: receive, or return). Paid backorders are served first, oldest first.

    Locks the level. Raises UnknownVariant when the variant has none.
    """
    move_stock(
        session,
        variant_id,
        [Move(kind, on_hand=quantity)],
        now=now,
        actor=actor,
        reason=reason,
        order_id=order_id,
    )
    serve_backorders(session, variant_id, now=now, actor=actor)


def serve_backorders(session: Session, variant_id: UUID, *, now: datetime, actor: str | None = None) -> int:
    """Sell what is on hand to the paid backorders that wait for it, oldest first; how many were served.

    Locks the level first: a payment that found too little has committed then, and one to come finds these units. A hold
    that somebody else is busy with is left out; the scheduler serves it later.
    """
    session.get_one(StockLevel, variant_id, with_for_update=True, populate_existing=True)
    awaiting = session.scalars(
        select(Hold)
        .where(Hold.variant_id == variant_id, Hold.awaiting_stock, Hold.sold_at.is_(None), Hold.state == "converted")
        .order_by(Hold.created_at, Hold.id)
        .with_for_update(skip_locked=True)
    ).all()
    for hold in awaiting:
        sell_holds(session, [hold], now=now, actor=actor)
    return sum(hold.sold_at is not None for hold in awaiting)


def adjust_stock(
    session: Session, variant_id: UUID, on_hand: int, *, now: datetime, actor: str | None, reason: str
) -> None:
    """Set what is on hand to what was counted. Locks the level. Raises StockConflict if more is reserved than that."""
    level = session.get(StockLevel, variant_id, with_for_update=True, populate_existing=True)
    if level is None:
        raise UnknownVariant(variant_id)
    change = on_hand - level.on_hand
    if change > 0:
        receive_stock(session, variant_id, change, now=now, actor=actor, reason=reason, kind="adjust")
    elif change < 0:
        move_stock(session, variant_id, [Move("adjust", on_hand=change)], now=now, actor=actor, reason=reason)


def damage_stock(
    session: Session, variant_id: UUID, quantity: int, *, now: datetime, actor: str | None, reason: str
) -> None:
    """Write off units. Locks the level. Raises StockConflict if what is left is less than what is reserved."""
    move_stock(session, variant_id, [Move("damage", on_hand=-quantity)], now=now, actor=actor, reason=reason)


def reclaim_expired(session: Session, variant_id: UUID, *, now: datetime) -> int:
    """Give back what a variant's lapsed holds had reserved; how many there were. Locks those holds and the level."""
    state = run(session, RECLAIM, {"variant_id": variant_id, "now": now})
    if state is None or not state.expired:
        return 0
    announce(session, variant_id, "expire", state, lapsed=state.expired)
    return int(state.expired)


def move_stock(
    session: Session,
    variant_id: UUID,
    moves: Sequence[Move],
    *,
    now: datetime,
    actor: str | None = None,
    reason: str | None = None,
    order_id: UUID | None = None,
) -> None:
    """Change a level and write the ledger, in one statement. Locks the level. Raises UnknownVariant, StockConflict."""
    session.flush()
    if not moves:
        return
    try:
        level = run(
            session,
            MOVE,
            {
                "variant_id": variant_id,
                "kinds": [move.kind for move in moves],
                "on_hand_deltas": [move.on_hand for move in moves],
                "reserved_deltas": [move.reserved for move in moves],
                "hold_ids": [move.hold_id for move in moves],
                "order_id": order_id,
                "actor": actor,
                "reason": reason,
                "now": now,
            },
        )
    except IntegrityError as error:
        if "ck_stock_level" in str(error.orig):
            raise StockConflict("What is on hand may not fall below what is reserved, nor below zero.") from error
        raise
    except DataError as error:
        raise StockConflict("That is more than can be counted (2,147,483,647).") from error
    if level is None:
        raise UnknownVariant(variant_id)
    announce(session, variant_id, moves[-1].kind, level, order_id=order_id)


def _sale(hold: Hold) -> Move:
    return Move("sale", on_hand=-hold.reserved, reserved=-hold.reserved, hold_id=hold.id)


def _by_variant(holds: Iterable[Hold]) -> list[tuple[UUID, list[Hold]]]:
    """Groups by variant, in the order in which levels are locked."""
    ordered = sorted(holds, key=lambda hold: (hold.variant_id, hold.id))
    return [(variant_id, list(group)) for variant_id, group in groupby(ordered, key=lambda hold: hold.variant_id)]


def run(session: Session, statement: str, parameters: dict[str, Any]) -> Any:
    """The row that one of statements.py answers, or None."""
    return session.connection().exec_driver_sql(statement, parameters).one_or_none()


def announce(
    session: Session,
    variant_id: UUID,
    kind: str,
    level: Any,
    *,
    hold_id: UUID | None = None,
    order_id: UUID | None = None,
    lapsed: int | None = None,
) -> None:
    """Emit that a variant's level has changed. A level that the session knows is read again when it is needed."""
    known = session.identity_map.get(session.identity_key(StockLevel, variant_id))
    if known is not None:
        session.expire(known)
    emit(
        session,
        StockChanged(
            variant_id=variant_id,
            kind=kind,
            on_hand=level.on_hand,
            reserved=level.reserved,
            version=level.version,
            hold_id=hold_id,
            order_id=order_id,
            lapsed=lapsed,
        ),
    )
