"""The catalogue for staff."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.schemas import CursorQuery, cursor_list_of
from commerce_core.catalog.models import Brand, Category, Variant
from commerce_core.merchandising import groups, queries, service
from commerce_core.merchandising.schemas import (
    AdminBrand,
    AdminBrandList,
    AdminCategory,
    AdminCategoryList,
    AdminProduct,
    AdminProductList,
    AdminVariant,
    AdminVariantList,
    BrandIn,
    BrandPatch,
    CategoryIn,
    CategoryPatch,
    ProductIn,
    ProductPatch,
    ProductsQuery,
    RemovalQuery,
    VariantIn,
    VariantPatch,
)
from commerce_core.stock.models import StockLevel
from commerce_core.stock.service import StockConflict


@api_view(
    route_name="admin_products",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    query=ProductsQuery,
    returns=AdminProductList,
)
def list_admin_products(request: Any, query: ProductsQuery) -> Any:
    """All products, newest first: drafts and archived ones, too."""
    products, more = queries.list_products(
        request.db,
        status=query.status,
        q=query.q,
        category=query.category,
        brand=query.brand,
        deleted=query.deleted,
        before=query.after,
        limit=query.limit,
    )
    rows = [AdminProduct.of(product) for product in products]
    return cursor_list_of(request.path, query, rows, products[-1].id if more else None)


@api_view(
    route_name="admin_products",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    body=ProductIn,
    returns=AdminProduct,
    status=201,
    versioned=True,
    problems=(service.SlugTaken,),
)
def create_product(request: Any, body: ProductIn) -> Any:
    """Add a product. It can be bought once it is active and has a variant."""
    product = service.add_product(request.db, body.model_dump(), now=request.now)
    return _audited(request, "product.create", None, AdminProduct.of(product))


@api_view(
    route_name="admin_product",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    returns=AdminProduct,
    versioned=True,
)
def show_admin_product(request: Any) -> AdminProduct:
    """One product, also a deleted one."""
    return AdminProduct.of(service.get_product(request.db, path_id(request), deleted=True))


@api_view(
    route_name="admin_product",
    request_method="PATCH",
    permission=Permission.CATALOG_WRITE,
    body=ProductPatch,
    returns=AdminProduct,
    versioned=True,
    problems=(service.SlugTaken,),
)
def change_product(request: Any, body: ProductPatch) -> Any:
    """Change what is given of a product."""
    return _change_product(request, body.model_dump(exclude_unset=True), "product.update")


@api_view(
    route_name="admin_product_publish",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    returns=AdminProduct,
    versioned=True,
)
def publish_product(request: Any) -> Any:
    """Put a product on sale: it becomes active, and is published now unless it has been."""
    return _change_product(request, {"status": "active"}, "product.publish")


@api_view(
    route_name="admin_product_unpublish",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    returns=AdminProduct,
    versioned=True,
)
def unpublish_product(request: Any) -> Any:
    """Take a product off sale: it becomes a draft. Holds and orders keep what they have."""
    return _change_product(request, {"status": "draft"}, "product.unpublish")


@api_view(
    route_name="admin_product",
    request_method="DELETE",
    permission=Permission.CATALOG_WRITE,
    status=204,
    versioned=True,
)
def delete_product(request: Any) -> None:
    """Take a product off sale for good. It is kept, because orders speak of it, and so is its slug."""
    product = service.get_product(request.db, path_id(request), lock=True)
    request.check_version(product.version)
    before = AdminProduct.of(product)
    service.delete_product(request.db, product, now=request.now)
    _audited(request, "product.delete", before, None)


@api_view(
    route_name="admin_variants",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    returns=AdminVariantList,
)
def list_admin_variants(request: Any) -> Any:
    """The variants of a product, in their order."""
    product = service.get_product(request.db, path_id(request), deleted=True)
    return {"data": [AdminVariant.of(*row) for row in queries.list_variants(request.db, product.id)]}


@api_view(
    route_name="admin_variants",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    body=VariantIn,
    returns=AdminVariant,
    status=201,
    versioned=True,
    problems=(service.SkuTaken,),
)
def create_variant(request: Any, body: VariantIn) -> Any:
    """Add a variant to a product, after the others, with nothing on hand. The first one is the default."""
    variant = service.create_variant(request.db, path_id(request), body.model_dump(), now=request.now)
    return _audited(request, "variant.create", None, _variant(request, variant))


@api_view(
    route_name="admin_variant",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    returns=AdminVariant,
    versioned=True,
)
def show_admin_variant(request: Any) -> AdminVariant:
    """One variant, also a deleted one."""
    return _variant(request, _variant_in_path(request, deleted=True))


@api_view(
    route_name="admin_variant",
    request_method="PATCH",
    permission=Permission.CATALOG_WRITE,
    body=VariantPatch,
    returns=AdminVariant,
    versioned=True,
    problems=(service.SkuTaken, StockConflict),
)
def change_variant(request: Any, body: VariantPatch) -> Any:
    """Change what is given of a variant. Open orders keep the prices they were placed at."""
    variant = _variant_in_path(request, lock=True)
    request.check_version(variant.version)
    before = _variant(request, variant)
    service.change_variant(request.db, variant, body.model_dump(exclude_unset=True), now=request.now)
    return _audited(request, "variant.update", before, _variant(request, variant))


@api_view(
    route_name="admin_variant",
    request_method="DELETE",
    permission=Permission.CATALOG_WRITE,
    status=204,
    versioned=True,
)
def delete_variant(request: Any) -> None:
    """Take a variant off sale for good. Holds and orders keep theirs; the next one becomes the default."""
    variant = _variant_in_path(request, lock=True)
    request.check_version(variant.version)
    before = _variant(request, variant)
    service.delete_variant(request.db, variant, now=request.now)
    _audited(request, "variant.delete", before, None)


@api_view(
    route_name="admin_categories",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    query=CursorQuery,
    returns=AdminCategoryList,
)
def list_admin_categories(request: Any, query: CursorQuery) -> Any:
    """All categories, oldest first. `parent_id` makes them a tree."""
    return _list_groups(request, query, Category)


@api_view(
    route_name="admin_categories",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    body=CategoryIn,
    returns=AdminCategory,
    status=201,
    versioned=True,
    problems=(service.SlugTaken, groups.TreeTooDeep),
)
def create_category(request: Any, body: CategoryIn) -> Any:
    """Add a category, at the top or below another one."""
    return _add_group(request, Category, body)


@api_view(
    route_name="admin_category",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    returns=AdminCategory,
    versioned=True,
)
def show_admin_category(request: Any) -> Any:
    """One category."""
    return AdminCategory.of(groups.get_group(request.db, Category, path_id(request)))


@api_view(
    route_name="admin_category",
    request_method="PATCH",
    permission=Permission.CATALOG_WRITE,
    body=CategoryPatch,
    returns=AdminCategory,
    versioned=True,
    problems=(service.SlugTaken, groups.CategoryLoop, groups.TreeTooDeep),
)
def change_category(request: Any, body: CategoryPatch) -> Any:
    """Change what is given of a category, or move it with all that is below it."""
    return _change_group(request, Category, body)


@api_view(
    route_name="admin_category",
    request_method="DELETE",
    permission=Permission.CATALOG_WRITE,
    query=RemovalQuery,
    status=204,
    versioned=True,
    problems=(groups.GroupNotEmpty, groups.CategoryLoop, groups.TreeTooDeep),
)
def delete_category(request: Any, query: RemovalQuery) -> None:
    """Delete a category that is empty, or whose products and subcategories go to another one."""
    _delete_group(request, Category, query)


@api_view(
    route_name="admin_brands",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    query=CursorQuery,
    returns=AdminBrandList,
)
def list_admin_brands(request: Any, query: CursorQuery) -> Any:
    """All brands, oldest first."""
    return _list_groups(request, query, Brand)


@api_view(
    route_name="admin_brands",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    body=BrandIn,
    returns=AdminBrand,
    status=201,
    versioned=True,
    problems=(service.SlugTaken,),
)
def create_brand(request: Any, body: BrandIn) -> Any:
    """Add a brand."""
    return _add_group(request, Brand, body)


@api_view(
    route_name="admin_brand",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    returns=AdminBrand,
    versioned=True,
)
def show_admin_brand(request: Any) -> Any:
    """One brand."""
    return AdminBrand.of(groups.get_group(request.db, Brand, path_id(request)))


@api_view(
    route_name="admin_brand",
    request_method="PATCH",
    permission=Permission.CATALOG_WRITE,
    body=BrandPatch,
    returns=AdminBrand,
    versioned=True,
    problems=(service.SlugTaken,),
)
def change_brand(request: Any, body: BrandPatch) -> Any:
    """Change what is given of a brand."""
    return _change_group(request, Brand, body)


@api_view(
    route_name="admin_brand",
    request_method="DELETE",
    permission=Permission.CATALOG_WRITE,
    query=RemovalQuery,
    status=204,
    versioned=True,
    problems=(groups.GroupNotEmpty,),
)
def delete_brand(request: Any, query: RemovalQuery) -> None:
    """Delete a brand that has no products, or whose products go to another one."""
    _delete_group(request, Brand, query)


_SHOWN: dict[type[Any], Any] = {Category: AdminCategory, Brand: AdminBrand}


def _change_product(request: Any, changes: dict[str, Any], action: str) -> Any:
    product = service.get_product(request.db, path_id(request), lock=True)
    request.check_version(product.version)
    before = AdminProduct.of(product)
    service.change_product(request.db, product, changes, now=request.now, what=action)
    return _audited(request, action, before, AdminProduct.of(product))


def _variant_in_path(request: Any, **how: bool) -> Variant:
    return service.get_variant(request.db, path_id(request), path_id(request, "variant_id"), **how)


def _variant(request: Any, variant: Variant) -> AdminVariant:
    return AdminVariant.of(variant, request.db.get_one(StockLevel, variant.id))


def _list_groups(request: Any, query: CursorQuery, kind: type[Any]) -> Any:
    found, more = queries.list_groups(request.db, kind, after=query.after, limit=query.limit)
    rows = [_SHOWN[kind].of(group) for group in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


def _add_group(request: Any, kind: type[Any], body: Any) -> Any:
    group = groups.add_group(request.db, kind, body.model_dump())
    return _audited(request, f"{kind.__tablename__}.create", None, _SHOWN[kind].of(group))


def _change_group(request: Any, kind: type[Any], body: Any) -> Any:
    group = groups.get_group(request.db, kind, path_id(request), lock=True)
    request.check_version(group.version)
    before = _SHOWN[kind].of(group)
    groups.change_group(request.db, group, body.model_dump(exclude_unset=True))
    return _audited(request, f"{kind.__tablename__}.update", before, _SHOWN[kind].of(group))


def _delete_group(request: Any, kind: type[Any], query: RemovalQuery) -> None:
    group = groups.get_group(request.db, kind, path_id(request), lock=True)
    request.check_version(group.version)
    before = _SHOWN[kind].of(group)
    groups.delete_group(request.db, group, reassign_to=query.reassign_to)
    _audited(request, f"{kind.__tablename__}.delete", before, None)


def _audited(request: Any, action: str, before: Any, after: Any) -> Any:
    """What is answered, with a line in the audit log."""
    subject = f"{action.partition('.')[0]}:{(after or before).id}"
    request.audit(action, subject, before=before and before.model_dump(), after=after and after.model_dump())
    return after
