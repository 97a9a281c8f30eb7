"""Who may listen to which channel: one table; and what is told in them.

Public channels (`inventory`, `inventory.product.{id}`, `inventory.variant.{id}`, and whatever has no prefix) need no
leave. Another plugin adds rules with the hook `realtime_register_channels`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from commerce_core.accounts.permissions import Permission
from commerce_core.events import (
    Event,
    FulfillmentCancelled,
    JobDied,
    OrderCancelled,
    OrderCompleted,
    OrderFulfilled,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    RefundDue,
    RefundFailed,
    RefundRequested,
    RefundSucceeded,
    StockBack,
    StockLow,
    StockOut,
)
from commerce_core.orders.queries import get_order

STAFF = "private-staff"
OF_USER = "private-user."
OF_ORDER = "private-order."
WATCH = "realtime:watch"
# False: no. True: yes. A mapping: yes, as this member (`user_id`, and `user_info` for the others to see).
Leave = bool | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRule:
    """Who may subscribe to private and presence channels of a name.

    `pattern` is the whole name, with `{id}` and the like for parts without a dot. `may(request, **parts)` says whether
    who asks may listen; for a presence channel it returns who they are there. `setting` names a setting of realtime
    without which there is no such channel.
    """

    pattern: str
    may: Callable[..., Leave]
    setting: str | None = None
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = re.split(r"\{([a-z_]+)\}", self.pattern)
        literal = [re.escape(part) if number % 2 == 0 else f"(?P<{part}>[^.\\s]+)" for number, part in enumerate(parts)]
        object.__setattr__(self, "_compiled", re.compile("".join(literal)))

    def parts_of(self, name: str) -> dict[str, str] | None:
        """The parts of a name that this rule is about; None for other names."""
        found = self._compiled.fullmatch(name)
        return None if found is None else found.groupdict()


def _is_user(request: Any, id: str) -> bool:
    return request.actor is not None and str(request.actor.user_id) == id


def _sees_order(request: Any, id: str) -> bool:
    """By the same rule as `GET /orders/{id}`: the owner, a guest by the cart's token, or who has nothing but the id."""
    try:
        order = get_order(request.db, UUID(id))
    except ValueError:
        return False
    if order is None:
        return False
    is_mine = order.owner is None or order.owner == request.owner
    return is_mine or bool(request.has_permission(Permission.ORDER_READ_ALL))


def _is_staff(request: Any) -> bool:
    return bool(request.has_permission(WATCH))


def _looks_at_product(request: Any, id: str) -> Leave:
    """Anybody, under a name that says nothing: the same for all tabs of a user or of a cart, else a socket's own."""
    try:
        UUID(id)
    except ValueError:
        return False
    who = request.owner or f"socket:{request.realtime_socket_id}"
    return {"user_id": hashlib.sha256(f"{id}:{who}".encode()).hexdigest()[:16], "user_info": {}}


RULES: tuple[ChannelRule, ...] = (
    ChannelRule(pattern="private-user.{id}", may=_is_user),
    ChannelRule(pattern="private-order.{id}", may=_sees_order),
    ChannelRule(pattern="private-staff", may=_is_staff),
    ChannelRule(pattern="presence-product.{id}", may=_looks_at_product, setting="presence"),
)

# --- What is told to whom ---

_OF_ORDERS: tuple[type[Event], ...] = (
    OrderPlaced,
    OrderPaid,
    OrderPaymentFailed,
    OrderCancelled,
    OrderFulfilled,
    OrderCompleted,
    FulfillmentCancelled,
    RefundRequested,
    RefundDue,
    RefundSucceeded,
    RefundFailed,
)
_OF_STAFF: tuple[type[Event], ...] = (OrderPlaced, JobDied, StockLow, StockOut, StockBack)
TOLD: tuple[type[Event], ...] = tuple(dict.fromkeys((*_OF_ORDERS, *_OF_STAFF)))
# What providers say of failures is for staff.
_NOT_FOR_CUSTOMERS = frozenset({"error"})


def channels_of(event: Event) -> Callable[[str | None], Sequence[str]]:
    """The channels of an event, once it is known whose order it is about."""
    names = [STAFF] if isinstance(event, _OF_STAFF) else []
    order_id = getattr(event, "order_id", None)
    if isinstance(event, _OF_ORDERS):
        names.append(f"{OF_ORDER}{order_id}")

    def channels(owner: str | None) -> Sequence[str]:
        of_user = isinstance(event, _OF_ORDERS) and owner is not None and owner.startswith("user:")
        return [*names, OF_USER + str(owner).removeprefix("user:")] if of_user else names

    return channels


def data_of(event: Event) -> dict[str, Any]:
    """What is told of an event: its ids and figures."""
    hidden = _NOT_FOR_CUSTOMERS if isinstance(event, _OF_ORDERS) else frozenset()
    return {each.name: getattr(event, each.name) for each in fields(event) if each.name not in hidden}
