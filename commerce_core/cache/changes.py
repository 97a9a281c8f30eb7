"""From events to tags: what is old when a product, a category, a brand or the stock of a variant has changed.

A change of the catalogue drops what it concerns before its request is answered. A change of stock waits for others, for
`cache.delay_ms`, because a flash sale has thousands a second: that is all a hold does for the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy import Engine, text

from commerce_core.cache.entry import EVERYTHING
from commerce_core.events import EventBus, ProductChanged, StockChanged

# On every answer about the catalogue; for CDNs, to purge all of it.
CATALOGUE = "catalogue"
# On every list and tree: any change of the catalogue may change what is in it, and in which order.
LISTS = "lists"
# On lists of what can be bought now, or cannot.
IN_STOCK = "in-stock"
_MOST_KNOWN_VARIANTS = 100_000
_PRODUCTS = text("SELECT id, product_id FROM variant WHERE id = ANY(:ids)")


def product_tag(product_id: object) -> str:
    return f"product:{product_id}"


def category_tag(category_id: object) -> str:
    return f"category:{category_id}"


def brand_tag(brand_id: object) -> str:
    return f"brand:{brand_id}"


def tags_of(event: ProductChanged) -> set[str]:
    """What has to go when the catalogue has changed."""
    tags = {product_tag(product_id) for product_id in event.product_ids}
    if event.category_id is not None:
        tags.add(category_tag(event.category_id))
    if event.brand_id is not None:
        tags.add(brand_tag(event.brand_id))
    return tags | {LISTS} if tags else {EVERYTHING}


class Changes:
    """Hears of changes in this process. `drop(tags)` drops here and now, `tell(tags)` lets the others know."""

    def __init__(
        self, engine: Engine, *, delay: float, drop: Callable[[Iterable[str]], None], tell: Callable[[set[str]], None]
    ) -> None:
        self._engine = engine
        self._delay = delay
        self._drop = drop
        self._tell = tell
        self._lock = threading.Lock()
        # The variants whose stock has changed, and whether they may have come into stock or gone out of it.
        self._variants: dict[UUID, bool] = {}
        # A variant never moves to another product.
        self._products: dict[UUID, UUID] = {}

    def subscribe(self, bus: EventBus) -> None:
        bus.subscribe(ProductChanged, self.product_changed)
        bus.subscribe(StockChanged, self.stock_changed)

    def product_changed(self, event: ProductChanged) -> None:
        tags = tags_of(event)
        self._drop(tags)
        self._tell(tags)

    def stock_changed(self, event: StockChanged) -> None:
        # A hold that leaves something has found something.
        crossed = event.kind != "hold" or event.on_hand <= event.reserved
        with self._lock:
            self._variants[event.variant_id] = crossed or self._variants.get(event.variant_id, False)
        if self._delay == 0:
            self.collect()
        else:
            self._tell(set())

    def collect(self) -> None:
        """Drop and tell what the changes of stock since the last time have made old. May ask the database."""
        if not self._variants:
            return
        with self._lock:
            variants, self._variants = self._variants, {}
        try:
            self._find_products(variants)
        except BaseException:
            with self._lock:
                for variant_id, crossed in variants.items():
                    self._variants[variant_id] = crossed or self._variants.get(variant_id, False)
            raise
        tags = {product_tag(self._products[variant_id]) for variant_id in variants if variant_id in self._products}
        if any(variants.values()):
            tags.add(IN_STOCK)
        self._drop(tags)
        self._tell(tags)

    def _find_products(self, variants: Iterable[UUID]) -> None:
        unknown = [variant_id for variant_id in variants if variant_id not in self._products]
        if not unknown:
            return
        if len(self._products) > _MOST_KNOWN_VARIANTS:
            self._products.clear()
            unknown = list(variants)
        with self._engine.connect() as connection:
            rows = connection.execute(_PRODUCTS, {"ids": unknown}).all()
        self._products.update((variant_id, product_id) for variant_id, product_id in rows)
