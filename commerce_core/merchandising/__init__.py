"""Merchandising: the catalogue as staff keep it. Products and variants, categories and brands, drafts and all."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    config.add_route("admin_products", f"{API_PREFIX}/admin/products")
    config.add_route("admin_product", f"{API_PREFIX}/admin/products/{{id}}")
    config.add_route("admin_product_publish", f"{API_PREFIX}/admin/products/{{id}}/publish")
    config.add_route("admin_product_unpublish", f"{API_PREFIX}/admin/products/{{id}}/unpublish")
    config.add_route("admin_variants", f"{API_PREFIX}/admin/products/{{id}}/variants")
    config.add_route("admin_variant", f"{API_PREFIX}/admin/products/{{id}}/variants/{{variant_id}}")
    for one, all_of_them in (("category", "categories"), ("brand", "brands")):
        config.add_route(f"admin_{all_of_them}", f"{API_PREFIX}/admin/{all_of_them}")
        config.add_route(f"admin_{one}", f"{API_PREFIX}/admin/{all_of_them}/{{id}}")
    config.scan(".views")
