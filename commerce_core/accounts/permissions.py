"""Who may do what: every permission, and the one table that says which role has it."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """Named by every view. `PUBLIC` says outright that anybody may."""

    PUBLIC = "public"
    ACCOUNT = "account:self"
    HOLD_CREATE = "hold:create"
    HOLD_READ_ALL = "hold:read-all"
    HOLD_MANAGE = "hold:manage"
    CART = "cart:use"
    ORDER_CREATE = "order:create"
    ORDER_READ_ALL = "order:read-all"
    ORDER_MANAGE = "order:manage"
    ORDER_REFUND = "order:refund"
    STOCK_READ = "stock:read"
    STOCK_WRITE = "stock:write"
    CATALOG_READ_ALL = "catalog:read-all"
    CATALOG_WRITE = "catalog:write"
    USER_READ = "user:read"
    USER_MANAGE = "user:manage"
    AUDIT_READ = "audit:read"
    JOB_READ = "job:read"
    JOB_MANAGE = "job:manage"
    WEBHOOK_READ = "webhook:read"
    WEBHOOK_MANAGE = "webhook:manage"


GUEST = frozenset({Permission.PUBLIC, Permission.HOLD_CREATE, Permission.CART, Permission.ORDER_CREATE})
CUSTOMER = GUEST | {Permission.ACCOUNT}
STAFF = CUSTOMER | {
    Permission.HOLD_READ_ALL,
    Permission.HOLD_MANAGE,
    Permission.ORDER_READ_ALL,
    Permission.ORDER_MANAGE,
    Permission.ORDER_REFUND,
    Permission.STOCK_READ,
    Permission.STOCK_WRITE,
    Permission.CATALOG_READ_ALL,
    Permission.CATALOG_WRITE,
    Permission.USER_READ,
    Permission.JOB_READ,
    Permission.JOB_MANAGE,
    Permission.WEBHOOK_READ,
    Permission.WEBHOOK_MANAGE,
}
ADMIN = frozenset(Permission)

PERMISSIONS_OF_ROLE: dict[str | None, frozenset[Permission]] = {
    None: GUEST,
    "customer": CUSTOMER,
    "staff": STAFF,
    "admin": ADMIN,
}
