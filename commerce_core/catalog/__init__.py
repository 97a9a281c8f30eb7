"""The catalogue: categories, brands, products, variants."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    config.add_route("products", f"{API_PREFIX}/products")
    config.add_route("product", f"{API_PREFIX}/products/{{id}}")
    config.add_route("categories", f"{API_PREFIX}/categories")
    config.add_route("category", f"{API_PREFIX}/categories/{{slug}}")
    config.add_route("category_products", f"{API_PREFIX}/categories/{{slug}}/products")
    config.add_route("brands", f"{API_PREFIX}/brands")
    config.include(".finding")
    config.scan(".views")
