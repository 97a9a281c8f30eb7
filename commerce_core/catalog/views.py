"""The catalogue for shoppers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.api.schemas import page_of
from commerce_core.catalog import queries, tags
from commerce_core.catalog.finding import ProductFinder
from commerce_core.catalog.models import Category
from commerce_core.catalog.presentation import present_products
from commerce_core.catalog.queries import Listing
from commerce_core.catalog.schemas import (
    BrandList,
    CategoryList,
    CategoryOut,
    CategoryProductsQuery,
    ListOptions,
    ProductDetail,
    ProductFilters,
    ProductPage,
    ProductQuery,
    present_brand,
    present_categories,
)


@api_view(
    route_name="products",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=ProductQuery,
    returns=ProductPage,
    cached=tags.of_page,
)
def list_products(request: Any, query: ProductQuery) -> dict[str, Any]:
    """Products by filter, sort and page."""
    return _page(request, query, _listing(request, query, query))


@api_view(
    route_name="product",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=ProductDetail,
    cached=tags.of_product,
    problems=(NotFound,),
)
def show_product(request: Any) -> dict[str, Any]:
    """One product, by its id or its slug, with its variants."""
    product = queries.get_product(request.db, _from_path(request, "id"))
    if product is None:
        raise NotFound("No product with this id or slug is on sale.")
    variants = queries.variants_of_products(request.db, [product.id])
    [shown] = present_products(request, [product], variants)
    return shown


@api_view(
    route_name="categories",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=CategoryList,
    cached=tags.of_groups,
)
def list_categories(request: Any) -> dict[str, Any]:
    """The category tree."""
    return {"data": _categories(request, queries.list_categories(request.db))}


@api_view(
    route_name="category",
    request_method="GET",
    permission=Permission.PUBLIC,
    returns=CategoryOut,
    cached=tags.of_groups,
    problems=(NotFound,),
)
def show_category(request: Any) -> dict[str, Any]:
    """One category with those below it."""
    branch = queries.category_branch(request.db, _from_path(request, "slug"))
    if not branch:
        raise _no_such_category()
    (category,) = _categories(request, branch)
    return category


@api_view(
    route_name="category_products",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=CategoryProductsQuery,
    returns=ProductPage,
    cached=tags.of_page,
    problems=(NotFound,),
)
def list_category_products(request: Any, query: CategoryProductsQuery) -> dict[str, Any]:
    """The products of a category and of those below it."""
    listing = _listing(request, query.within(_from_path(request, "slug")), query)
    if not listing.category_is_known:
        raise _no_such_category()
    return _page(request, query, listing)


@api_view(
    route_name="brands", request_method="GET", permission=Permission.PUBLIC, returns=BrandList, cached=tags.of_groups
)
def list_brands(request: Any) -> dict[str, Any]:
    """All brands."""
    brands = [present_brand(brand) for brand in queries.list_brands(request.db)]
    request.registry.extensions.extend(request, "brand", brands)
    return {"data": brands}


def _listing(request: Any, filters: ProductFilters, options: ListOptions) -> Listing:
    if options.q:
        return _found(request, options.q, filters, options)
    return queries.list_products(
        request.db,
        filters,
        sort=options.sort,
        page=options.page,
        per_page=options.per_page,
        with_variants=options.include == "variants",
    )


def _found(request: Any, text: str, filters: ProductFilters, options: ListOptions) -> Listing:
    """The page of what a plugin finds by text."""
    finder: ProductFinder | None = request.registry.product_finder
    if finder is None:
        raise InvalidInput.field("q", "unsupported", "this shop has nothing that finds products by text")
    sort = options.sort if "sort" in options.model_fields_set else None
    found = finder.find(request, text, filters, sort=sort, page=options.page, per_page=options.per_page)
    return queries.listing_of(request.db, found.ids, found.total, with_variants=options.include == "variants")


def _page(request: Any, query: ListOptions, listing: Listing) -> dict[str, Any]:
    products = present_products(request, listing.products, listing.variants)
    return page_of(request.path, query, products, listing.total)


def _categories(request: Any, categories: Sequence[Category]) -> list[dict[str, Any]]:
    """The tree, with what plugins show of each."""
    tree = present_categories(categories)
    every = list(tree)
    for category in every:  # grows while it is gone through
        every += category["children"]
    request.registry.extensions.extend(request, "category", every)
    return tree


def _from_path(request: Any, name: str) -> str:
    value: str = request.matchdict[name]
    if "\x00" in value:  # which no text in PostgreSQL can hold
        raise NotFound
    return value


def _no_such_category() -> NotFound:
    return NotFound("There is no category with this slug.")
