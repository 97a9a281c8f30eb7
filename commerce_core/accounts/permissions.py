"""Who may do what: every permission, and the one table that says which role has it."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """Named by every view. `PUBLIC` says outright that anybody may."""

    PUBLIC = "public"
    HOLD_CREATE = "hold:create"
    HOLD_READ_ALL = "hold:read-all"
    HOLD_MANAGE = "hold:manage"
    ORDER_CREATE = "order:create"
    ORDER_READ_ALL = "order:read-all"
    ORDER_MANAGE = "order:manage"
    STOCK_READ = "stock:read"
    STOCK_WRITE = "stock:write"


GUEST = frozenset({Permission.PUBLIC, Permission.HOLD_CREATE, Permission.ORDER_CREATE})
CUSTOMER = GUEST
STAFF = CUSTOMER | {
    Permission.HOLD_READ_ALL,
    Permission.HOLD_MANAGE,
    Permission.ORDER_READ_ALL,
    Permission.ORDER_MANAGE,
    Permission.STOCK_READ,
    Permission.STOCK_WRITE,
}
ADMIN = frozenset(Permission)

PERMISSIONS_OF_ROLE: dict[str | None, frozenset[Permission]] = {
    None: GUEST,
    "customer": CUSTOMER,
    "staff": STAFF,
    "admin": ADMIN,
}
