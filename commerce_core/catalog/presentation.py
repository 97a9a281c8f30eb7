"""How products are shown in a list, whoever found them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from commerce_core.catalog import queries
from commerce_core.catalog.rows import ProductRow
from commerce_core.catalog.schemas import present_product


def show_products(request: Any, ids: Sequence[UUID], *, with_variants: bool = False) -> list[dict[str, Any]]:
    """These products as `/products` lists them, in this order, with their stock and prices of now.

    Those that shoppers may not see are left out. One statement, one more for variants, and what plugins show.
    """
    listing = queries.listing_of(request.db, ids, len(ids), with_variants=with_variants)
    return present_products(request, listing.products, listing.variants)


def present_products(
    request: Any, rows: Iterable[ProductRow], variants: queries.Variants | None
) -> list[dict[str, Any]]:
    """Rows as they are listed, with what plugins show of them."""
    products = []
    for row in rows:
        product = present_product(row, request.locale, None if variants is None else variants[row.id])
        product["images"] = request.registry.image_addresses.listed(row.images)
        products.append(product)
    extensions = request.registry.extensions
    extensions.extend(request, "product", products)
    extensions.extend(request, "variant", [variant for product in products for variant in product.get("variants", ())])
    return products
