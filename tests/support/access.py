"""The access matrix: everybody who may ask, everything that may be asked for, and what must come of it.

A new endpoint is one line in `CASES`; what its address needs and nothing makes yet is one method of `World`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Engine, update
from webob import Request, Response

from commerce_core.accounts.models import ApiToken, User
from commerce_core.accounts.permissions import PERMISSIONS_OF_ROLE, Permission
from commerce_core.accounts.tokens import issue_token
from commerce_core.accounts.users import create_user
from commerce_core.catalog.models import Variant
from commerce_core.catalog.service import create_brand, create_category
from commerce_core.database import transaction

API = "/api/v1"
_PLACEHOLDER = re.compile(r"{([a-z_]+)}")
# Who asks, and the role that they have. A token that is sent must be good, even where none is needed.
ROLES = {
    "nobody": None,
    "guest": None,
    "another guest": None,
    "customer": "customer",
    "another customer": "customer",
    "staff": "staff",
    "admin": "admin",
}
BAD_TOKENS = ("revoked", "expired", "deactivated")
# An administrator's token that allows everything but what the endpoint is about.
NARROW = "narrow"
EVERYBODY = (*ROLES, NARROW, *BAD_TOKENS)


@dataclass(frozen=True, slots=True)
class Case:
    """How to ask for an endpoint. `{hold}` in an address or a body is the id of a hold that `World.hold` makes."""

    path: str
    body: Any = None
    # Of whom the thing in the address is, each in turn; nobody but they reach it, and those who have `all_by`.
    owners: tuple[str, ...] = ()
    all_by: Permission | None = None
    # A list of what is one's own, and (with `all_by`) of everybody's: this is made first, and looked for.
    lists: str | None = None
    # What those who may ask may be told all the same, though it looks like a refusal.
    answers: int | None = None


def shared(path: str, body: Any = None, *, answers: int | None = None) -> Case:
    """The same for all who may ask. A body that is refused (422) does: permissions come before it."""
    return Case(API + path, body, answers=answers)


def owned(path: str, body: Any = None, *, all_by: Permission | None = None, users_only: bool = False) -> Case:
    """Something that belongs to somebody: a customer, and a guest unless `users_only`."""
    return Case(API + path, body, owners=("customer",) if users_only else ("customer", "guest"), all_by=all_by)


def listed(path: str, thing: str, *, all_by: Permission | None = None, users_only: bool = False) -> Case:
    """A list of one's own."""
    return Case(API + path, lists=thing, owners=("customer",) if users_only else ("customer", "guest"), all_by=all_by)


P = Permission
CASES: dict[tuple[str, str], Case] = {
    # about the API itself
    ("GET", "home"): Case("/"),
    ("GET", "healthz"): Case("/healthz"),
    ("GET", "readyz"): Case("/readyz"),
    ("GET", "capabilities"): shared("/capabilities"),
    ("GET", "admin_resources"): shared("/admin/resources"),
    ("GET", "problems"): Case("/problems"),
    ("GET", "problem"): Case("/problems/not-found"),
    ("GET", "openapi"): shared("/openapi.json"),
    ("GET", "docs"): shared("/docs"),
    # the catalogue
    ("GET", "products"): shared("/products"),
    ("GET", "product"): shared("/products/{product}"),
    ("GET", "categories"): shared("/categories"),
    ("GET", "category"): shared("/categories/{category_slug}"),
    ("GET", "category_products"): shared("/categories/{category_slug}/products"),
    ("GET", "brands"): shared("/brands"),
    # accounts
    ("POST", "register"): shared("/auth/register"),
    ("POST", "register_confirm"): shared("/auth/register/confirm"),
    ("POST", "login"): shared("/auth/login"),
    ("POST", "logout"): shared("/auth/logout"),
    ("POST", "logout_all"): shared("/auth/logout-all"),
    ("POST", "password_reset"): shared("/auth/password-reset"),
    ("POST", "password_reset_confirm"): shared("/auth/password-reset/confirm"),
    ("GET", "me"): shared("/auth/me"),
    ("PATCH", "me"): shared("/auth/me"),
    ("POST", "me_delete"): shared("/auth/me/delete"),
    ("POST", "password"): shared("/auth/password"),
    ("POST", "email"): shared("/auth/email"),
    ("POST", "email_confirm"): shared("/auth/email/confirm"),
    ("GET", "tokens"): listed("/auth/tokens", "token", users_only=True),
    ("POST", "tokens"): shared("/auth/tokens"),
    ("DELETE", "token"): owned("/auth/tokens/{token}", users_only=True),
    ("GET", "admin_users"): shared("/admin/users"),
    ("POST", "admin_users"): shared("/admin/users"),
    ("GET", "admin_user"): shared("/admin/users/{user}"),
    ("PATCH", "admin_user"): shared("/admin/users/{user}"),
    ("POST", "admin_user_logout_all"): shared("/admin/users/{user}/logout-all"),
    # holds and stock
    ("POST", "holds"): shared("/holds", {"variant_id": "{variant}", "quantity": 1}),
    ("GET", "holds"): listed("/holds", "hold", all_by=P.HOLD_READ_ALL),
    ("GET", "hold"): owned("/holds/{hold}", all_by=P.HOLD_READ_ALL),
    ("DELETE", "hold"): owned("/holds/{hold}", all_by=P.HOLD_MANAGE),
    ("POST", "hold_extend"): owned("/holds/{hold}/extend", all_by=P.HOLD_MANAGE),
    ("GET", "admin_stock_low"): shared("/admin/stock/low"),
    ("GET", "admin_stock_out"): shared("/admin/stock/out"),
    ("GET", "admin_stock"): shared("/admin/stock/{variant}"),
    ("GET", "admin_stock_movements"): shared("/admin/stock/{variant}/movements"),
    ("POST", "admin_stock_receive"): shared("/admin/stock/{variant}/receive", {"quantity": 1}),
    ("POST", "admin_stock_return"): shared("/admin/stock/{variant}/return", {"quantity": 1, "reason": "came back"}),
    ("POST", "admin_stock_damage"): shared("/admin/stock/{variant}/damage", {"quantity": 1, "reason": "fell down"}),
    ("POST", "admin_stock_adjust"): shared("/admin/stock/{variant}/adjust", {"on_hand": 9_000, "reason": "counted"}),
    # carts
    ("GET", "cart"): listed("/cart", "cart_line"),
    ("DELETE", "cart"): shared("/cart"),
    ("POST", "cart_lines"): shared("/cart/lines", {"variant_id": "{variant}"}),
    ("PATCH", "cart_line"): owned("/cart/lines/{cart_line}", {"quantity": 2}),
    ("DELETE", "cart_line"): owned("/cart/lines/{cart_line}"),
    ("POST", "cart_coupons"): shared("/cart/coupons"),
    ("DELETE", "cart_coupon"): shared("/cart/coupons/SPRING", answers=404),  # nobody has it
    ("GET", "cart_quote"): shared("/cart/quote", answers=404),  # nobody has a cart
    ("POST", "cart_merge"): shared("/cart/merge"),
    # orders and payments
    ("GET", "orders"): listed("/orders", "order", all_by=P.ORDER_READ_ALL),
    ("POST", "orders"): owned("/orders", {"hold_id": "{hold}"}),
    ("POST", "order_lookup"): shared("/orders/lookup"),
    ("GET", "order"): owned("/orders/{order}", all_by=P.ORDER_READ_ALL),
    ("POST", "order_cancel"): owned("/orders/{order}/cancel", all_by=P.ORDER_MANAGE),
    ("POST", "order_payments"): owned("/orders/{order}/payments", {"provider": "manual"}, all_by=P.ORDER_MANAGE),
    ("POST", "manual_webhook"): shared("/payments/webhook", answers=401),  # its signature is wrong
    # staff: orders
    ("GET", "admin_orders"): shared("/admin/orders"),
    ("GET", "admin_order"): shared("/admin/orders/{order}"),
    ("PATCH", "admin_order"): shared("/admin/orders/{order}"),
    ("POST", "admin_order_cancel"): shared("/admin/orders/{order}/cancel"),
    ("POST", "admin_order_mark_paid"): shared("/admin/orders/{order}/mark-paid"),
    ("POST", "admin_order_fulfillments"): shared("/admin/orders/{order}/fulfillments"),
    ("PATCH", "admin_order_fulfillment"): shared("/admin/orders/{order}/fulfillments/{missing}", answers=404),
    ("POST", "admin_order_fulfillment_cancel"): shared(
        "/admin/orders/{order}/fulfillments/{missing}/cancel", answers=404
    ),
    ("GET", "admin_order_refunds"): shared("/admin/orders/{order}/refunds"),
    ("POST", "admin_order_refunds"): shared("/admin/orders/{order}/refunds"),
    ("GET", "admin_refunds"): shared("/admin/refunds"),
    ("POST", "admin_refund_retry"): shared("/admin/refunds/{missing}/retry", answers=404),
    ("GET", "admin_webhook_events"): shared("/admin/webhook-events"),
    ("POST", "admin_webhook_event_retry"): shared("/admin/webhook-events/{missing}/retry", answers=404),
    # jobs
    ("GET", "admin_jobs"): shared("/admin/jobs"),
    ("GET", "admin_stats"): shared("/admin/stats"),
    ("GET", "admin_jobs_stats"): shared("/admin/jobs/stats"),
    ("POST", "admin_jobs_retry"): shared("/admin/jobs/retry", {}),
    ("GET", "admin_job"): shared("/admin/jobs/{missing}", answers=404),
    ("POST", "admin_job_retry"): shared("/admin/jobs/{missing}/retry", answers=404),
    ("POST", "admin_job_cancel"): shared("/admin/jobs/{missing}/cancel", answers=404),
    ("POST", "admin_job_ignore"): shared("/admin/jobs/{missing}/ignore", {}, answers=404),
    ("POST", "admin_job_resolve"): shared("/admin/jobs/{missing}/resolve", {"notes": "seen to by hand"}, answers=404),
    ("POST", "admin_job_assign"): shared("/admin/jobs/{missing}/assign", {"assigned_to": None}, answers=404),
    ("GET", "admin_batch"): shared("/admin/batches/{missing}", answers=404),
    # staff: webhooks that the shop sends
    ("GET", "admin_webhook_endpoints"): shared("/admin/webhook-endpoints"),
    ("POST", "admin_webhook_endpoints"): shared("/admin/webhook-endpoints"),
    ("GET", "admin_webhook_endpoint"): shared("/admin/webhook-endpoints/{webhook_endpoint}"),
    ("PATCH", "admin_webhook_endpoint"): shared("/admin/webhook-endpoints/{webhook_endpoint}"),
    ("DELETE", "admin_webhook_endpoint"): shared("/admin/webhook-endpoints/{webhook_endpoint}"),
    ("POST", "admin_webhook_endpoint_rotate"): shared("/admin/webhook-endpoints/{webhook_endpoint}/rotate-secret"),
    ("POST", "admin_webhook_endpoint_test"): shared("/admin/webhook-endpoints/{webhook_endpoint}/test"),
    ("GET", "admin_webhook_deliveries"): shared("/admin/webhook-endpoints/{webhook_endpoint}/deliveries"),
    ("POST", "admin_webhook_deliveries_replay"): shared(
        "/admin/webhook-endpoints/{webhook_endpoint}/deliveries/replay"
    ),
    ("GET", "admin_webhook_delivery"): shared(
        "/admin/webhook-endpoints/{webhook_endpoint}/deliveries/{missing}", answers=404
    ),
    ("POST", "admin_webhook_delivery_replay"): shared(
        "/admin/webhook-endpoints/{webhook_endpoint}/deliveries/{missing}/replay", answers=404
    ),
    # staff: the catalogue
    ("GET", "admin_products"): shared("/admin/products"),
    ("POST", "admin_products"): shared("/admin/products"),
    ("GET", "admin_product"): shared("/admin/products/{product}"),
    ("PATCH", "admin_product"): shared("/admin/products/{product}"),
    ("DELETE", "admin_product"): shared("/admin/products/{product}"),
    ("POST", "admin_product_publish"): shared("/admin/products/{product}/publish"),
    ("POST", "admin_product_unpublish"): shared("/admin/products/{product}/unpublish"),
    ("GET", "admin_variants"): shared("/admin/products/{product}/variants"),
    ("POST", "admin_variants"): shared("/admin/products/{product}/variants"),
    ("GET", "admin_variant"): shared("/admin/products/{product}/variants/{variant}"),
    ("PATCH", "admin_variant"): shared("/admin/products/{product}/variants/{variant}"),
    ("DELETE", "admin_variant"): shared("/admin/products/{product}/variants/{variant}"),
    ("GET", "admin_categories"): shared("/admin/categories"),
    ("POST", "admin_categories"): shared("/admin/categories"),
    ("GET", "admin_category"): shared("/admin/categories/{category}"),
    ("PATCH", "admin_category"): shared("/admin/categories/{category}"),
    ("DELETE", "admin_category"): shared("/admin/categories/{category}"),
    ("GET", "admin_brands"): shared("/admin/brands"),
    ("POST", "admin_brands"): shared("/admin/brands"),
    ("GET", "admin_brand"): shared("/admin/brands/{brand}"),
    ("PATCH", "admin_brand"): shared("/admin/brands/{brand}"),
    ("DELETE", "admin_brand"): shared("/admin/brands/{brand}"),
    ("GET", "admin_products_export"): shared("/admin/products/export"),
    ("POST", "admin_products_import"): shared("/admin/products/import", answers=415),  # JSON is no CSV
    ("GET", "admin_stock_export"): shared("/admin/stock/export"),
    ("POST", "admin_stock_import"): shared("/admin/stock/import", answers=415),
    # staff: what they have done
    ("GET", "admin_audit_log"): shared("/admin/audit-log"),
}


@dataclass
class World:
    """A shop with everybody in it, and makers of what addresses speak of."""

    application: Any
    engine: Engine
    clock: Any
    make_variant: Callable[..., UUID]
    permission: str

    def __post_init__(self) -> None:
        self.environs: dict[str, dict[str, str]] = {"nobody": {}}
        self.users: dict[str, UUID] = {}
        self.variant_id = self.make_variant(stock=10_000)
        for who in ("guest", "another guest"):
            self.environs[who] = {"HTTP_X_CART_TOKEN": f"{who} {uuid4()}"}
        with transaction(self.engine) as session:
            for who in EVERYBODY:
                if who not in self.environs:
                    user = create_user(session, f"{uuid4()}@example.com", who.title(), ROLES.get(who) or "admin")
                    abilities = [each for each in Permission if each != self.permission] if who == NARROW else None
                    expires_at = self.clock.now() - timedelta(seconds=1) if who == "expired" else None
                    token = issue_token(session, user, "test", abilities=abilities, expires_at=expires_at)
                    self.users[who] = user.id
                    self.environs[who] = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
            session.execute(update(User).where(User.id == self.users["deactivated"]).values(is_active=False))
            session.execute(
                update(ApiToken).where(ApiToken.user_id == self.users["revoked"]).values(revoked_at=self.clock.now())
            )

    def ask(self, who: str, method: str, path: str, body: Any = None) -> Response:
        request = Request.blank(path, method=method, environ=self.environs[who])
        if method != "GET":
            request.body = orjson.dumps({} if body is None else body)
            request.content_type = "application/json"
        response = request.get_response(self.application)
        assert response.body is not None  # read to its end, as a server would, though it be streamed
        return response

    def fill(self, case: Case, owner: str) -> tuple[str, Any]:
        """The case's address and body, with new things of `owner` where they name them."""
        names = {*_PLACEHOLDER.findall(case.path), *_PLACEHOLDER.findall(str(case.body))}
        things = {name: getattr(self, name)(owner) for name in names}
        return _filled(case.path, things), _filled(case.body, things)

    # What addresses speak of. Each makes a new one, and returns its id.

    def _make(self, owner: str, path: str, body: Any) -> Any:
        response = self.ask(owner, "POST", API + path, body)
        assert response.status_code == 201, f"{owner} cannot make what the case needs: {response.text}"
        return response.json

    def variant(self, _owner: str) -> str:
        return str(self.variant_id)

    def product(self, _owner: str) -> str:
        with transaction(self.engine) as session:
            return str(session.get_one(Variant, self.variant_id).product_id)

    def category_slug(self, _owner: str) -> str:
        slug = f"category-{uuid4()}"
        with transaction(self.engine) as session:
            create_category(session, slug=slug, name="Category")
        return slug

    def category(self, _owner: str) -> str:
        with transaction(self.engine) as session:
            category = create_category(session, slug=f"category-{uuid4()}", name="Category")
            session.flush()
            return str(category.id)

    def brand(self, _owner: str) -> str:
        with transaction(self.engine) as session:
            brand = create_brand(session, slug=f"brand-{uuid4()}", name="Brand")
            session.flush()
            return str(brand.id)

    def webhook_endpoint(self, _owner: str) -> str:
        body = {"url": f"https://{uuid4()}.example", "topics": ["order.*"]}
        return str(self._make("admin", "/admin/webhook-endpoints", body)["id"])

    def user(self, _owner: str) -> str:
        return str(self.users["customer"])

    def missing(self, _owner: str) -> str:
        """Of what there is none."""
        return str(uuid4())

    def token(self, owner: str) -> str:
        return str(self._make(owner, "/auth/tokens", {"device_name": "another"})["id"])

    def hold(self, owner: str) -> str:
        return str(self._make(owner, "/holds", {"variant_id": str(self.variant_id), "quantity": 1})["id"])

    def order(self, owner: str) -> str:
        return str(self._make(owner, "/orders", {"hold_id": self.hold(owner)})["id"])

    def cart_line(self, owner: str) -> str:
        return str(self._make(owner, "/cart/lines", {"variant_id": str(self.variant_id)})["lines"][-1]["id"])


def _filled(template: Any, things: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, things) for key, value in template.items()}
    return _PLACEHOLDER.sub(lambda found: things[found[1]], template) if isinstance(template, str) else template


def may_ask(who: str, permission: str) -> bool:
    """Whether the role of one with a good token, or without any, allows it."""
    return permission in PERMISSIONS_OF_ROLE[ROLES[who]]


def sequential_ids(value: Any, at: str = "$") -> Iterator[str]:
    """Where an answer tells an id that is no UUID, or a number that counts up."""
    if isinstance(value, dict):
        for key, inner in value.items():
            is_id = key == "id" or key.endswith("_id")
            if is_id and inner is not None and not _is_uuid(inner):
                yield f"{at}.{key} = {inner!r}"
            if key in ("number", "sequence", "serial") and isinstance(inner, int):
                yield f"{at}.{key} = {inner!r}"
            yield from sequential_ids(inner, f"{at}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from sequential_ids(inner, f"{at}[{index}]")


def _is_uuid(value: Any) -> bool:
    try:
        return str(UUID(value)) == value
    except (TypeError, ValueError, AttributeError):
        return False
