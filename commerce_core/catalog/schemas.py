"""What may be asked of the catalogue, and what it answers.

The models describe the answers: the OpenAPI document is made from them, and tests hold the answers against them. The
functions at the end build the answers as plain dicts, because a page of models takes several times as long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from commerce_core.api.schemas import Output, Page, PageQuery, Query, ShortText, Text
from commerce_core.catalog.models import Brand, Category
from commerce_core.catalog.rows import ProductRow, VariantRow
from commerce_core.money import Money, formatted
from commerce_core.plugins.extensions import extensions_of

BIGINT_MAX = 2**63 - 1
Sort = Literal["newest", "price_asc", "price_desc", "name", "popular"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AttributeValues = Annotated[list[ShortText], BeforeValidator(_as_list), Field(min_length=1, max_length=20)]


class FiltersWithinCategory(Query):
    """Which products of a category. Filters narrow each other down."""

    brand: ShortText | None = Field(default=None, description="Slug of a brand.", examples=["kestrel"])
    min_price: int | None = Field(
        default=None, ge=0, le=BIGINT_MAX, description="Lowest displayed price, in minor units.", examples=[1000]
    )
    max_price: int | None = Field(
        default=None, ge=0, le=BIGINT_MAX, description="Highest displayed price, in minor units.", examples=[5000]
    )
    in_stock: bool | None = Field(
        default=None, description="`true`: at least one variant can be bought now. `false`: none can."
    )
    featured: bool | None = Field(default=None, description="`true`: featured products. `false`: the others.")
    attributes: dict[ShortText, AttributeValues] = Field(
        default_factory=dict,
        max_length=10,
        description="`attributes[color]=red`: a value that the product or one of its variants has. Values of the same"
        " name are alternatives; different names must all match.",
        examples=[{"color": ["red"]}],
    )


class ProductFilters(FiltersWithinCategory):
    """Which products."""

    category: ShortText | None = Field(
        default=None, description="Slug of a category; its subcategories count as well.", examples=["clothing"]
    )


class ListOptions(PageQuery):
    """How a list of products is answered."""

    q: Text | None = Field(
        default=None,
        max_length=20_000,
        description="What to look for. Only where a plugin finds products by text: the best come first unless `sort`"
        " says otherwise, and the total is of what was found.",
        examples=["red sneaker"],
    )
    sort: Sort = Field(default="newest", description="`newest`: latest published first. `popular`: most popular first.")
    include: Literal["variants"] | None = Field(default=None, description="Answer each product's variants, too.")

    @property
    def is_kept(self) -> bool:
        """What a text finds changes with more than the catalogue."""
        return not self.q


class ProductQuery(ProductFilters, ListOptions):
    """The parameters of the list of products."""


class CategoryProductsQuery(FiltersWithinCategory, ListOptions):
    """The parameters of the list of a category's products."""

    def within(self, category: str) -> ProductFilters:
        """These filters, and the category."""
        chosen = {name: getattr(self, name) for name in FiltersWithinCategory.model_fields}
        return ProductFilters.model_construct(category=category, **chosen)


class Image(Output):
    url: str = Field(examples=["/static/demo/canvas-tote.svg"])
    alt: str = Field(description="For those who do not see it.", examples=["Canvas tote, natural"])
    sizes: dict[str, str] = Field(
        default={}, description="Where a CDN makes images fit: their addresses by width in pixels."
    )


class CategoryRef(Output):
    id: UUID
    slug: str = Field(examples=["jackets"])
    name: str = Field(examples=["Jackets"])


class CategoryOut(CategoryRef):
    """A category with those below it."""

    description: str
    children: list[CategoryOut]
    extensions: dict[str, Any] = extensions_of("category")


class BrandRef(Output):
    id: UUID
    slug: str = Field(examples=["kestrel"])
    name: str = Field(examples=["Kestrel"])


class BrandOut(BrandRef):
    extensions: dict[str, Any] = extensions_of("brand")


class StockOut(Output):
    available: int | None = Field(description="Units that can be taken now; null when stock is not tracked.")
    in_stock: bool = Field(description="Whether it can be bought now, if need be on backorder.")
    low: bool = Field(description="Whether no more than its threshold is left, but not nothing.")
    version: int = Field(description="Counts the movements of this variant's stock: drop what is older.")


class VariantOut(Output):
    """The thing sold."""

    id: UUID
    sku: str = Field(examples=["TEE-RED-M"])
    name: str = Field(examples=["Red / M"])
    price: Money
    compare_at_price: Money | None = Field(description="What it used to cost, if it is reduced.")
    discount_percentage: int | None = Field(description="Whole per cent off compare_at_price, rounded down.")
    attributes: dict[str, Any] = Field(examples=[{"color": "red", "size": "M"}])
    weight_grams: int | None
    is_default: bool = Field(description="Whether its price is the product's.")
    stock: StockOut
    extensions: dict[str, Any] = extensions_of("variant")


class PriceRange(Output):
    min: Money
    max: Money


class ProductOut(Output):
    """What a shopper looks at. Sold as one of its variants."""

    id: UUID
    slug: str = Field(examples=["canvas-tote"])
    name: str = Field(examples=["Canvas Tote"])
    description: str
    status: Literal["draft", "active", "archived"]
    price: Money = Field(description="Of the default variant.")
    price_range: PriceRange
    compare_at_price: Money | None = Field(description="What the default variant used to cost, if it is reduced.")
    discount_percentage: int | None = Field(description="Whole per cent off compare_at_price, rounded down.")
    currency: str = Field(description="ISO 4217 code.", examples=["USD"])
    available: int | None = Field(description="Units of all variants; null when one of them is not tracked.")
    category: CategoryRef | None
    brand: BrandRef | None
    images: list[Image]
    attributes: dict[str, Any] = Field(examples=[{"material": "cotton"}])
    variant_count: int
    is_featured: bool
    published_at: datetime
    extensions: dict[str, Any] = extensions_of("product")


class ProductDetail(ProductOut):
    variants: list[VariantOut]


class ListedProduct(ProductOut):
    variants: list[VariantOut] = Field(default=[], description="Only with `include=variants`.")


class ProductPage(Page[ListedProduct]):
    pass


class CategoryList(Output):
    """The category tree."""

    data: list[CategoryOut]


class BrandList(Output):
    """All brands, by name."""

    data: list[BrandOut]


def present_product(row: ProductRow, locale: str, variants: Iterable[VariantRow] | None = None) -> dict[str, Any]:
    """A ProductOut, or a ProductDetail where its variants are given."""
    currency = row.currency
    product = {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "description": row.description,
        "status": row.status,
        "price": _money(row.price_amount, currency, locale),
        "price_range": {
            "min": _money(row.price_min, currency, locale),
            "max": _money(row.price_max, currency, locale),
        },
        "compare_at_price": _money_or_none(row.compare_at_amount, currency, locale),
        "discount_percentage": discount_percentage(row.price_amount, row.compare_at_amount),
        "currency": currency,
        "available": row.available,
        "category": row.category_id and {"id": row.category_id, "slug": row.category_slug, "name": row.category_name},
        "brand": row.brand_id and {"id": row.brand_id, "slug": row.brand_slug, "name": row.brand_name},
        "images": row.images,
        "attributes": row.attributes,
        "variant_count": row.variant_count,
        "is_featured": row.is_featured,
        "published_at": row.published_at,
        "extensions": {},
    }
    if variants is not None:
        product["variants"] = [_variant(variant, locale) for variant in variants]
    return product


def present_categories(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """The tree that `categories` make up, as CategoryOut: those whose parent is not among them are at the top."""
    below: defaultdict[UUID | None, list[dict[str, Any]]] = defaultdict(list)
    ids = {category.id for category in categories}
    for category in categories:
        below[category.parent_id if category.parent_id in ids else None].append(
            {
                "id": category.id,
                "slug": category.slug,
                "name": category.name,
                "description": category.description,
                "children": below[category.id],
                "extensions": {},
            }
        )
    return below[None]


def present_brand(brand: Brand) -> dict[str, Any]:
    """A BrandOut."""
    return {"id": brand.id, "slug": brand.slug, "name": brand.name, "extensions": {}}


def discount_percentage(price: int, compare_at: int | None) -> int | None:
    """Whole per cent off, rounded down; None when there is nothing to compare with. Amounts in minor units."""
    if not compare_at:
        return None
    return max(0, (compare_at - price) * 100 // compare_at)


def _variant(row: VariantRow, locale: str) -> dict[str, Any]:
    available = max(0, row.on_hand - row.reserved) if row.policy == "track" else None
    return {
        "id": row.id,
        "sku": row.sku,
        "name": row.name,
        "price": _money(row.price_amount, row.currency, locale),
        "compare_at_price": _money_or_none(row.compare_at_amount, row.currency, locale),
        "discount_percentage": discount_percentage(row.price_amount, row.compare_at_amount),
        "attributes": row.attributes,
        "weight_grams": row.weight_grams,
        "is_default": row.is_default,
        "stock": {
            "available": available,
            "in_stock": available is None or available > 0 or row.allow_backorder,
            "low": available is not None and 0 < available <= row.low_stock_threshold,
            "version": row.version,
        },
        "extensions": {},
    }


def _money(amount: int, currency: str, locale: str) -> dict[str, Any]:
    return {"amount": amount, "currency": currency, "formatted": formatted(amount, currency, locale)}


def _money_or_none(amount: int | None, currency: str, locale: str) -> dict[str, Any] | None:
    return None if amount is None else _money(amount, currency, locale)
