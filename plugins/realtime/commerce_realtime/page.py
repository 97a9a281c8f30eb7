"""The live product page at `/`: what is on the shelves, as it is when asked, with forms that need no script.

The page is whole without JavaScript: a hold is a form, and the holds of a visitor are in the address. page.js and
stock.js make it move.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import orjson
from mako.lookup import TemplateLookup
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.security import NO_PERMISSION_REQUIRED
from sqlalchemy import select

from commerce_core.api.problems import Forbidden, MalformedRequest, Problem, TooManyRequests
from commerce_core.catalog.models import Product, Variant
from commerce_core.catalog.queries import Listing, list_categories, list_products
from commerce_core.catalog.schemas import ProductFilters, present_product
from commerce_core.stock.models import Hold
from commerce_core.stock.service import (
    HoldNotActive,
    OutOfStock,
    UnknownVariant,
    get_hold,
    place_hold,
    release_hold,
    state_of,
)
from commerce_realtime.views import show_config

# As many as one connection may subscribe to by far: see realtime.max_channels.
PER_PAGE = 48
# Of one visitor, in the address.
MOST_HOLDS = 10
_LAST_PAGE = 10_000
_HERE = Path(__file__).parent
_LOOKUP = TemplateLookup(
    [str(_HERE / "templates")], default_filters=["h"], input_encoding="utf-8", strict_undefined=True
)
_ASSETS = ("page.css", "page.js", "stock.js")


@dataclass(frozen=True, slots=True)
class Query:
    """What the address says: which products, which holds are the visitor's, and what was refused a moment ago."""

    category: str | None = None
    page: int = 1
    holds: tuple[UUID, ...] = ()
    refused: UUID | None = None

    @classmethod
    def of(cls, request: Any) -> Query:
        """As far as it can be read: an address that somebody has mistyped is no reason to show nothing."""
        given = request.GET
        page = given.get("page", "")
        holds = dict.fromkeys(id_ for text in given.getall("hold")[-MOST_HOLDS:] if (id_ := _uuid(text)))
        return cls(
            category=given.get("category", "").replace("\0", "") or None,
            page=min(max(1, int(page)), _LAST_PAGE) if page.isascii() and page.isdigit() else 1,
            holds=tuple(holds),
            refused=_uuid(given.get("refused", "")),
        )

    def address(self, path: str = "/", **changes: Any) -> str:
        """An address that says the same, with changes."""
        said = {"category": self.category, "page": self.page, "hold": self.holds, "refused": self.refused, **changes}
        pairs = [
            (name, value)
            for name, values in said.items()
            for value in (values if isinstance(values, tuple) else (values,))
            if value is not None and (name, value) != ("page", 1)
        ]
        return f"{path}?{urlencode(pairs)}" if pairs else path


def show_page(request: Any) -> Response:
    """The products, with their stock of this moment."""
    _count(request, "default")
    query = Query.of(request)
    listing = list_products(
        request.db,
        ProductFilters.model_construct(category=query.category),
        sort="popular",
        page=query.page,
        per_page=PER_PAGE,
        with_variants=True,
    )
    products = [_product(request, listing, row) for row in listing.products]
    holds = [hold for id_ in query.holds if (hold := _own_hold(request, id_)) is not None]
    names = _names(request, [*(hold.variant_id for hold in holds), *filter(None, [query.refused])])
    body = _LOOKUP.get_template("page.mako").render_unicode(
        query=query,
        products=products,
        last_page=max(1, -(-listing.total // PER_PAGE)),
        categories=[category for category in list_categories(request.db) if category.parent_id is None],
        holds=[_shown(hold, names, request.now) for hold in holds if hold.variant_id in names],
        refused=None if query.refused is None else names.get(query.refused),
        hold_words=_duration(request.settings.stock.hold_seconds),
        now=request.now,
        realtime=orjson.dumps(
            show_config(request).model_dump(include={"key", "host", "port", "tls", "path", "presence"})
        ).decode(),
        asset=_asset_of(request),
        is_development=request.settings.commerce.environment == "development",
        own_address=request.host_url,
        state_of=stock_state,
        words_of=stock_words,
    )
    response = Response(body, content_type="text/html", charset="utf-8")
    response.headers.update(
        {
            "Cache-Control": "private, no-cache",
            **_headers(*_content_policy(request, products)),
        }
    )
    return response


def hold_one(request: Any) -> Response:
    """The form of a product: hold one, and show the page again."""
    _count(request, "hold")
    _refuse_other_sites(request)
    query = Query.of(request)
    variant_id = _id_in_form(request, "variant_id")
    ttl = timedelta(seconds=request.settings.stock.hold_seconds)
    try:
        if variant_id is None:
            raise UnknownVariant(UUID(int=0))
        hold_id = place_hold(request.db, variant_id, 1, ttl=ttl, now=request.now, owner=request.owner)
    except OutOfStock:
        return _see_other(query.address(refused=variant_id))
    return _see_other(query.address(hold=(*query.holds, hold_id)[-MOST_HOLDS:], refused=None))


def give_back(request: Any) -> Response:
    """The form of a hold: release it, and show the page again."""
    _count(request, "default")
    _refuse_other_sites(request)
    query = Query.of(request)
    hold_id = _id_in_form(request, "hold_id")
    hold = None if hold_id is None else _own_hold(request, hold_id, lock=True)
    if hold is not None:
        with contextlib.suppress(HoldNotActive):  # it has ended by itself
            release_hold(request.db, hold, now=request.now, actor=request.owner)
    return _see_other(query.address(hold=tuple(id_ for id_ in query.holds if id_ != hold_id), refused=None))


def show_trouble(problem: Problem, request: Any) -> Response:
    """What a form is answered when it cannot be done: a page, for people. It asks the database for nothing."""
    is_too_much = isinstance(problem, TooManyRequests)
    body = _LOOKUP.get_template("trouble.mako").render_unicode(
        title="One moment" if is_too_much else problem.title,
        detail=f"You have been very quick. {problem.detail}" if is_too_much else problem.detail or "",
        back=Query.of(request).address(refused=None),
        asset=_asset_of(request),
    )
    response = Response(body, status=problem.status, content_type="text/html", charset="utf-8")
    response.headers.update(problem.headers)
    response.headers.update({"Cache-Control": "no-store", **_headers("style-src 'self'", "img-src 'self'")})
    return response


def stock_state(stock: dict[str, Any]) -> str:
    """One of `out`, `backorder`, `low` and `plenty`; page.js says the same."""
    if not stock["in_stock"]:
        return "out"
    if stock["available"] == 0:
        return "backorder"
    return "low" if stock["low"] else "plenty"


def stock_words(stock: dict[str, Any]) -> str:
    """A level for people; page.js says the same."""
    available = stock["available"]
    counted = f"Only {available} left" if stock["low"] else f"{available} in stock"
    return {
        "out": "Sold out",
        "backorder": "On backorder",
        "low": counted,
        "plenty": "In stock" if available is None else counted,
    }[stock_state(stock)]


def _product(request: Any, listing: Listing, row: Any) -> dict[str, Any]:
    variants = (listing.variants or {})[row.id]
    product = present_product(row, request.locale, variants)
    product["images"] = request.registry.image_addresses.listed(row.images)
    # What is offered first: the default variant, unless another can be had and it cannot.
    shown = sorted(
        product["variants"], key=lambda variant: (not variant["stock"]["in_stock"], not variant["is_default"])
    )
    product["chosen"] = shown[0]["id"] if shown else None
    return product


def _own_hold(request: Any, id_: UUID, *, lock: bool = False) -> Hold | None:
    """A hold that lasts, if it is the visitor's."""
    hold = get_hold(request.db, id_, lock=lock)
    if hold is None or hold.owner not in (None, request.owner) or state_of(hold, request.now) != "active":
        return None
    return hold


def _names(request: Any, variant_ids: Sequence[UUID]) -> dict[UUID, str]:
    """What variants are called, with their product: by its name alone if there is only one."""
    if not variant_ids:
        return {}
    found = request.db.execute(
        select(Variant.id, Product.name, Variant.name.label("variant"), Product.variant_count)
        .join(Product, Product.id == Variant.product_id)
        .where(Variant.id.in_(variant_ids))
    )
    return {row.id: f"{row.name}, {row.variant}" if row.variant_count > 1 else row.name for row in found}


def _shown(hold: Hold, names: dict[UUID, str], now: datetime) -> dict[str, Any]:
    return {
        "id": hold.id,
        "variant_id": hold.variant_id,
        "name": names[hold.variant_id],
        "until": hold.expires_at,
        "milliseconds": int((hold.expires_at - now).total_seconds() * 1000),
        "of": int((hold.expires_at - hold.created_at).total_seconds() * 1000),
    }


def _duration(seconds: int) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds} seconds"
    return f"{minutes} minutes"


def _count(request: Any, limit: str) -> None:
    """Raise TooManyRequests above a rate limit: here and not as the view's option, whose answer is for programs."""
    strategy = request.registry.limiter.strategies[limit]
    if not strategy.is_off:
        request.limits.hit_endpoint(limit, strategy)


def _refuse_other_sites(request: Any) -> None:
    """Raise Forbidden for a form of somebody else's page: visitors do not take stock unknowingly."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("This form belongs to another site.")


def _see_other(address: str) -> Response:
    return Response(status=303, location=address)


def _asset_of(request: Any) -> Callable[[str], str]:
    return lambda name: f"/static/realtime/{name}?v={request.registry.realtime_assets}"


def _headers(*policy: str) -> dict[str, str]:
    """What keeps a page from being made to do what it is not meant to."""
    policies = ["default-src 'none'", *policy, "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    return {
        "Content-Security-Policy": "; ".join(policies),
        # Who knows a hold's id can give it back.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def _content_policy(request: Any, products: Iterable[dict[str, Any]]) -> list[str]:
    """Only what is ours, the WebSocket server, and the hosts of the pictures that are shown."""
    config = show_config(request)
    socket = f"{'wss' if config.tls else 'ws'}://{config.host or request.domain}:{config.port}"
    hosts = {
        f"{address.scheme}://{address.netloc}"
        for product in products
        for image in product["images"]
        if (address := urlsplit(image["url"])).netloc and address.scheme in ("http", "https")
    }
    return [
        "script-src 'self'",
        "style-src 'self'",
        " ".join(["img-src 'self' data:", *sorted(hosts)]),
        f"connect-src 'self' {socket}",
    ]


def _id_in_form(request: Any, name: str) -> UUID | None:
    """What a form of the page says in a field; None where that is no id. Raises MalformedRequest.

    The page's own forms are sent URL-encoded, and whatever else somebody sends says nothing.
    """
    try:
        fields = dict(parse_qsl(request.raw_body.decode(), max_num_fields=20))
    except ValueError:
        raise MalformedRequest("The body is no form.") from None
    return _uuid(fields.get(name, ""))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def includeme(config: Configurator) -> None:
    content = b"".join((_HERE / "static" / name).read_bytes() for name in _ASSETS)
    # Part of the addresses, so that a browser never mixes those of two versions.
    config.registry.realtime_assets = hashlib.sha256(content).hexdigest()[:12]
    config.add_root_route("realtime_page_hold", "/hold")
    config.add_root_route("realtime_page_release", "/hold/release")
    for view, route, method in (
        (show_page, "home", "GET"),
        (hold_one, "realtime_page_hold", "POST"),
        (give_back, "realtime_page_release", "POST"),
    ):
        config.add_view(view, route_name=route, request_method=method, permission=NO_PERMISSION_REQUIRED)
        config.add_exception_view(show_trouble, context=Problem, route_name=route)
