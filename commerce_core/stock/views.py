"""Holds for shoppers, and the stock room for staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id, replay
from commerce_core.api.idempotency import KeyedRequest, StoredAnswer
from commerce_core.api.kept import json_response, render
from commerce_core.api.problems import IdempotencyKeyReused, InvalidInput, NotFound
from commerce_core.api.schemas import INT64_MAX, CursorQuery, cursor_list_of
from commerce_core.database import uuid7
from commerce_core.plugins.context import Context
from commerce_core.plugins.facts import HoldLine
from commerce_core.stock import queries, service
from commerce_core.stock.desk import HoldRequest
from commerce_core.stock.models import Hold
from commerce_core.stock.schemas import (
    AdjustIn,
    HoldIn,
    HoldList,
    HoldOut,
    HoldQuery,
    LevelList,
    LevelOut,
    MovementList,
    MovementOut,
    ReceiveIn,
    WriteOffIn,
)


@api_view(
    route_name="holds",
    request_method="POST",
    permission=Permission.HOLD_CREATE,
    body=HoldIn,
    returns=HoldOut,
    status=201,
    located=True,
    keyed=False,  # the hold desk stores the key in the statement that takes the stock
    limit="hold",
    problems=(service.OutOfStock, service.UnknownVariant, IdempotencyKeyReused),
)
def create_hold(request: Any, body: HoldIn) -> Any:
    """Take units of one variant off sale for a limited time."""
    settings = request.settings.stock
    if body.quantity > settings.max_hold_quantity:
        raise InvalidInput.field("quantity", "less_than_equal", f"must be at most {settings.max_hold_quantity}")
    lasts = timedelta(seconds=settings.hold_seconds)
    if request.registry.plugins.runtime.hold_duration:
        lasts = _duration(request, HoldLine(variant_id=body.variant_id, quantity=body.quantity)) or lasts
    hold = HoldOut(
        id=uuid7(),
        variant_id=body.variant_id,
        quantity=body.quantity,
        state="active",
        expires_at=request.now + lasts,
        created_at=request.now,
    )
    answer = request.registry.hold_desk.place(
        HoldRequest(
            id=hold.id,
            variant_id=hold.variant_id,
            quantity=hold.quantity,
            owner=request.owner,
            created_at=hold.created_at,
            expires_at=hold.expires_at,
            answer=render(hold),
            keyed=KeyedRequest.of(request),
        )
    )
    if isinstance(answer, StoredAnswer):
        return replay(request, answer)
    response = json_response(answer, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@api_view(
    route_name="holds",
    request_method="GET",
    permission=Permission.HOLD_CREATE,
    query=HoldQuery,
    returns=HoldList,
)
def list_holds(request: Any, query: HoldQuery) -> Any:
    """Your own holds, newest first; all of them for staff."""
    everybody = request.has_permission(Permission.HOLD_READ_ALL)
    if not everybody and request.owner is None:
        return cursor_list_of(request.path, query, [], None)
    holds, more = queries.list_holds(
        request.db,
        now=request.now,
        owner=None if everybody else request.owner,
        variant_id=query.variant_id,
        state=query.state,
        before=query.after,
        limit=query.limit,
    )
    rows = [HoldOut.of(hold, request.now) for hold in holds]
    return cursor_list_of(request.path, query, rows, holds[-1].id if more else None)


@api_view(route_name="hold", request_method="GET", permission=Permission.HOLD_CREATE, returns=HoldOut)
def show_hold(request: Any) -> HoldOut:
    """One hold. A guest without a cart token reaches it by its id, which nobody can guess."""
    return HoldOut.of(_hold(request), request.now)


@api_view(
    route_name="hold",
    request_method="DELETE",
    permission=Permission.HOLD_CREATE,
    status=204,
    problems=(service.HoldNotActive,),
)
def release_hold(request: Any) -> None:
    """Give the units back at once. Releasing a released hold changes nothing."""
    hold = _hold(request, lock=True)
    if hold.state != "released":
        before = {"state": hold.state}
        service.release_hold(request.db, hold, now=request.now, actor=request.owner)
        request.audit_for(hold.owner, "hold.release", f"hold:{hold.id}", before=before, after={"state": hold.state})


@api_view(
    route_name="hold_extend",
    request_method="POST",
    permission=Permission.HOLD_CREATE,
    returns=HoldOut,
    problems=(service.HoldNotActive, service.TooManyExtensions),
)
def extend_hold(request: Any) -> HoldOut:
    """Start the hold's time anew. Only while it lasts, and only so many times."""
    settings = request.settings.stock
    lasts = timedelta(seconds=settings.hold_seconds)
    if request.registry.plugins.runtime.hold_duration:
        # Asked before anything is locked; what it is asked about never changes.
        seen = _hold(request)
        line = HoldLine(variant_id=seen.variant_id, quantity=seen.quantity, hold_id=seen.id)
        lasts = _duration(request, line) or lasts
    hold = _hold(request, lock=True)
    before = {"expires_at": hold.expires_at}
    service.extend_hold(
        request.db,
        hold,
        ttl=lasts,
        max_extensions=settings.max_extensions,
        now=request.now,
    )
    after = {"expires_at": hold.expires_at}
    request.audit_for(hold.owner, "hold.extend", f"hold:{hold.id}", before=before, after=after)
    return HoldOut.of(hold, request.now)


@api_view(
    route_name="admin_stock_low",
    request_method="GET",
    permission=Permission.STOCK_READ,
    query=CursorQuery,
    returns=LevelList,
)
def list_low_stock(request: Any, query: CursorQuery) -> Any:
    """Tracked variants whose available units have fallen to their threshold, but not to nothing."""
    return _levels(request, query, queries.LOW)


@api_view(
    route_name="admin_stock_out",
    request_method="GET",
    permission=Permission.STOCK_READ,
    query=CursorQuery,
    returns=LevelList,
)
def list_out_of_stock(request: Any, query: CursorQuery) -> Any:
    """Tracked variants with nothing available."""
    return _levels(request, query, queries.OUT)


@api_view(route_name="admin_stock", request_method="GET", permission=Permission.STOCK_READ, returns=LevelOut)
def show_level(request: Any) -> LevelOut:
    """The stock of one variant."""
    return _level(request, path_id(request))


@api_view(
    route_name="admin_stock_receive",
    request_method="POST",
    permission=Permission.STOCK_WRITE,
    body=ReceiveIn,
    returns=LevelOut,
    problems=(service.UnknownVariant,),
)
def receive_stock(request: Any, body: ReceiveIn) -> LevelOut:
    """Goods have arrived. Paid backorders are served first."""
    return _receive(request, body.quantity, body.reason, "receive")


@api_view(
    route_name="admin_stock_return",
    request_method="POST",
    permission=Permission.STOCK_WRITE,
    body=WriteOffIn,
    returns=LevelOut,
    problems=(service.UnknownVariant,),
)
def return_stock(request: Any, body: WriteOffIn) -> LevelOut:
    """Goods have come back and can be sold again."""
    return _receive(request, body.quantity, body.reason, "return")


@api_view(
    route_name="admin_stock_damage",
    request_method="POST",
    permission=Permission.STOCK_WRITE,
    body=WriteOffIn,
    returns=LevelOut,
    problems=(service.UnknownVariant, service.StockConflict),
)
def damage_stock(request: Any, body: WriteOffIn) -> LevelOut:
    """Write off units that cannot be sold. What is reserved cannot be written off."""
    variant_id = path_id(request)
    before = _level(request, variant_id)
    service.damage_stock(
        request.db, variant_id, body.quantity, now=request.now, actor=request.actor.name, reason=body.reason
    )
    return _audited(request, "damage", before, body.reason)


@api_view(
    route_name="admin_stock_adjust",
    request_method="POST",
    permission=Permission.STOCK_WRITE,
    body=AdjustIn,
    returns=LevelOut,
    problems=(service.UnknownVariant, service.StockConflict),
)
def adjust_stock(request: Any, body: AdjustIn) -> LevelOut:
    """Set what is on hand to what was counted."""
    variant_id = path_id(request)
    before = _level(request, variant_id)
    service.adjust_stock(
        request.db, variant_id, body.on_hand, now=request.now, actor=request.actor.name, reason=body.reason
    )
    return _audited(request, "adjust", before, body.reason)


@api_view(
    route_name="admin_stock_movements",
    request_method="GET",
    permission=Permission.STOCK_READ,
    query=CursorQuery,
    returns=MovementList,
)
def list_movements(request: Any, query: CursorQuery) -> Any:
    """The ledger of one variant, newest first."""
    variant_id = path_id(request)
    _level(request, variant_id)
    # A cursor of another list means nothing here, but does no harm.
    before = None if query.after is None else min(query.after.int, INT64_MAX)
    movements, more = queries.list_movements(request.db, variant_id, before=before, limit=query.limit)
    rows = [MovementOut.model_validate(movement, from_attributes=True) for movement in movements]
    return cursor_list_of(request.path, query, rows, UUID(int=movements[-1].version) if more else None)


def _hold(request: Any, *, lock: bool = False) -> Hold:
    """The hold in the path, if it is the requester's to see. Raises NotFound."""
    hold = service.get_hold(request.db, path_id(request), lock=lock)
    mine = hold is not None and (hold.owner is None or hold.owner == request.owner)
    if hold is None or not (
        mine or request.has_permission(Permission.HOLD_MANAGE if lock else Permission.HOLD_READ_ALL)
    ):
        raise NotFound("There is no such hold.")
    return hold


def _duration(request: Any, line: HoldLine) -> timedelta | None:
    """How long plugins let a hold last, if any of them says so. Raises PluginFailed."""
    host = request.registry.plugins
    ctx = Context(host, request=request)
    found = host.runtime.hold_duration.first(ctx, lines=(line,))
    if found is None:
        return None
    plugin, lasts = found
    if not (isinstance(lasts, timedelta) and timedelta(seconds=1) <= lasts <= timedelta(days=1)):
        raise plugin.refuse(ctx, f"returned {lasts!r}, which is not between a second and a day")
    return lasts


def _level(request: Any, variant_id: UUID) -> LevelOut:
    row = queries.level_with_sku(request.db, variant_id)
    if row is None:
        raise NotFound("There is no such variant.")
    return LevelOut.of(*row)


def _levels(request: Any, query: CursorQuery, which: Any) -> Any:
    rows, more = queries.list_levels(request.db, which, after=query.after, limit=query.limit)
    return cursor_list_of(
        request.path, query, [LevelOut.of(*row) for row in rows], rows[-1][0].variant_id if more else None
    )


def _receive(request: Any, quantity: int, reason: str | None, kind: str) -> LevelOut:
    variant_id = path_id(request)
    before = _level(request, variant_id)
    service.receive_stock(
        request.db, variant_id, quantity, now=request.now, actor=request.actor.name, reason=reason, kind=kind
    )
    return _audited(request, kind, before, reason)


def _audited(request: Any, kind: str, before: LevelOut, reason: str | None) -> LevelOut:
    """The level as it is now, with a line in the audit log."""
    after = _level(request, before.variant_id)
    request.audit(
        f"stock.{kind}",
        f"variant:{before.variant_id}",
        before=before.model_dump(),
        after={**after.model_dump(), "reason": reason},
    )
    return after
