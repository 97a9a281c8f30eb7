"""What staff send of the catalogue, and what they are answered.

In a PATCH only what is given changes; null empties what may be empty. Amounts are whole minor units of the currency.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import CursorList, CursorQuery, Input, Output, Query, ShortText, Text, hint
from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.money import is_currency
from commerce_core.stock.models import StockLevel

MOST_AMOUNT = 10**12
MOST_NUMBER = 2**53
MOST_ATTRIBUTE_BYTES = 16_384
SLUG_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"
TAX_CLASS_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"
Status = Literal["draft", "active", "archived"]


def optional(**options: Any) -> Any:
    """A field of a PATCH: it may be left out, which is not the same as null."""
    return Field(default_factory=lambda: None, **options)


def check_slug(slug: str) -> str:
    """What reads as an id would never be found by its slug."""
    try:
        UUID(slug)
    except ValueError:
        return slug
    raise PydanticCustomError("slug_is_an_id", "must not look like an id")


def check_currency(code: str) -> str:
    if not is_currency(code):
        raise PydanticCustomError("unknown_currency", "is not an ISO 4217 currency")
    return code


def check_sku(sku: str) -> str:
    if not sku.isprintable():
        raise PydanticCustomError("not_printable", "must be printable")
    return sku


def check_nul(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "must not contain the NUL character")
    return value


def check_url(url: str) -> str:
    # To a browser, a backslash is a slash, and two of those lead to another site.
    if not re.match(r"https?://[^\s/\\]|/(?![/\\])", url) or not url.isprintable() or " " in url:
        raise PydanticCustomError("not_a_url", "must begin with https://, http:// or a single /")
    return url


def check_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    for value in attributes.values():
        if isinstance(value, (int, float)) and abs(value) > MOST_NUMBER:
            raise PydanticCustomError("number_too_large", "numbers must be between -2**53 and 2**53")
    if len(orjson.dumps(attributes)) > MOST_ATTRIBUTE_BYTES:
        raise PydanticCustomError("too_large", "must be at most 16 KB in all")
    return attributes


Slug = Annotated[
    str,
    Field(min_length=1, max_length=120, pattern=SLUG_PATTERN, examples=["canvas-tote"]),
    hint("must be small letters, digits and single hyphens, such as canvas-tote"),
    AfterValidator(check_slug),
]
Sku = Annotated[Text, Field(min_length=1, max_length=100, examples=["TEE-RED-M"]), AfterValidator(check_sku)]
Amount = Annotated[int, Field(ge=0, le=MOST_AMOUNT, examples=[2999])]
CurrencyCode = Annotated[
    str,
    Field(pattern=r"^[A-Z]{3}$", examples=["USD"]),
    hint("must be three capital letters (ISO 4217), such as USD"),
    AfterValidator(check_currency),
]
TaxClass = Annotated[
    str,
    Field(max_length=50, pattern=TAX_CLASS_PATTERN, examples=["standard"]),
    hint("must begin with a small letter or digit; then also _ and -"),
]
Description = Annotated[Text, Field(max_length=20_000)]
Position = Annotated[int, Field(ge=0, le=1_000_000)]
Popularity = Annotated[int, Field(ge=0, le=1_000_000_000)]
Grams = Annotated[int, Field(ge=0, le=100_000_000)]
Threshold = Annotated[int, Field(ge=0, le=1_000_000_000)]
AttributeName = Annotated[Text, Field(min_length=1, max_length=64)]
AttributeText = Annotated[StrictStr, Field(max_length=500), AfterValidator(check_nul)]
AttributeValue = (
    AttributeText | StrictBool | StrictInt | StrictFloat | Annotated[list[AttributeText], Field(max_length=50)]
)
Attributes = Annotated[
    dict[AttributeName, AttributeValue],
    Field(max_length=50, examples=[{"color": "red", "waterproof": True}]),
    AfterValidator(check_attributes),
]


class ImageIn(Input):
    url: Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(check_url)] = Field(
        examples=["/static/demo/canvas-tote.svg"]
    )
    alt: Annotated[Text, Field(max_length=500)] = Field(default="", description="For those who do not see it.")


# JSON holds ids as text.
Reference = Annotated[UUID, Field(strict=False)]
Images = Annotated[list[ImageIn], Field(max_length=20)]


class ProductIn(Input):
    slug: Slug
    name: ShortText
    description: Description = ""
    status: Status = Field(default="draft", description="`active` publishes it at once.")
    category_id: Reference | None = None
    brand_id: Reference | None = None
    images: Images = Field(default_factory=list)
    attributes: Attributes = Field(default_factory=dict)
    is_featured: bool = False
    popularity: Popularity = 0
    tax_class: TaxClass = "standard"


class ProductPatch(Input):
    slug: Slug = optional()
    name: ShortText = optional()
    description: Description = optional()
    status: Status = optional()
    category_id: Reference | None = optional()
    brand_id: Reference | None = optional()
    images: Images = optional()
    attributes: Attributes = optional()
    is_featured: bool = optional()
    popularity: Popularity = optional()
    tax_class: TaxClass = optional()


class VariantIn(Input):
    sku: Sku
    name: ShortText | None = Field(default=None, description="The product's, if it is left out.")
    currency: CurrencyCode
    price_amount: Amount
    compare_at_amount: Amount | None = None
    cost_amount: Amount | None = None
    attributes: Attributes = Field(default_factory=dict)
    weight_grams: Grams | None = None
    is_default: bool | None = Field(default=None, description="Left out, the first one of a product is.")
    track_stock: bool = True
    allow_backorder: bool = False
    low_stock_threshold: Threshold = 5


class VariantPatch(Input):
    sku: Sku = optional()
    name: ShortText = optional()
    currency: CurrencyCode = optional()
    price_amount: Amount = optional()
    compare_at_amount: Amount | None = optional()
    cost_amount: Amount | None = optional()
    attributes: Attributes = optional()
    weight_grams: Grams | None = optional()
    position: Position = optional()
    is_default: Literal[True] = optional(description="Make it the default. Only another one can take that away.")
    track_stock: bool = optional()
    allow_backorder: bool = optional()
    low_stock_threshold: Threshold = optional()

    @model_validator(mode="after")
    def _currency_comes_with_a_price(self) -> Self:
        """2999 cents are not 2999 yen."""
        if "currency" in self.model_fields_set and "price_amount" not in self.model_fields_set:
            raise PydanticCustomError("currency_without_price", "a new currency needs a new price_amount")
        return self


class CategoryIn(Input):
    slug: Slug
    name: ShortText
    description: Description = ""
    parent_id: Reference | None = None
    position: Position = 0


class CategoryPatch(Input):
    slug: Slug = optional()
    name: ShortText = optional()
    description: Description = optional()
    parent_id: Reference | None = optional(description="Moves it, with all that is below it.")
    position: Position = optional()


class BrandIn(Input):
    slug: Slug
    name: ShortText


class BrandPatch(Input):
    slug: Slug = optional()
    name: ShortText = optional()


class RemovalQuery(Query):
    reassign_to: UUID | None = Field(default=None, description="Where what is in it goes.")


class ProductsQuery(CursorQuery):
    status: Status | None = None
    q: ShortText | None = Field(default=None, description="What the name, the slug or a SKU begins with.")
    category: ShortText | None = Field(default=None, description="Slug; its subcategories count as well.")
    brand: ShortText | None = Field(default=None, description="Slug.")
    deleted: bool = Field(default=False, description="`true`: the deleted ones, and only those.")


class AdminProduct(Output):
    """A product as staff keep it. Prices and stock are those of its variants."""

    id: UUID
    slug: str
    name: str
    description: str
    status: Status
    category_id: UUID | None
    brand_id: UUID | None
    images: list[dict[str, str]]
    attributes: dict[str, Any]
    is_featured: bool
    popularity: int
    tax_class: str
    published_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="Counts the edits; the ETag says the same.")

    @classmethod
    def of(cls, product: Product) -> Self:
        return cls.model_validate(product, from_attributes=True)


class AdminVariant(Output):
    """A variant as staff keep it. How many there are is in `/admin/stock/{id}`."""

    id: UUID
    product_id: UUID
    sku: str
    name: str
    currency: str
    price_amount: int
    compare_at_amount: int | None
    cost_amount: int | None
    attributes: dict[str, Any]
    weight_grams: int | None
    position: int
    is_default: bool
    track_stock: bool
    allow_backorder: bool
    low_stock_threshold: int
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int = Field(description="Counts the edits; the ETag says the same.")

    @classmethod
    def of(cls, variant: Variant, level: StockLevel) -> Self:
        stock: dict[str, Any] = {
            "track_stock": level.policy == "track",
            "allow_backorder": level.allow_backorder,
            "low_stock_threshold": level.low_stock_threshold,
        }
        kept = {name: getattr(variant, name) for name in cls.model_fields.keys() - stock.keys()}
        return cls.model_validate({**kept, **stock})


class AdminCategory(Output):
    id: UUID
    parent_id: UUID | None
    slug: str
    name: str
    description: str
    position: int
    created_at: datetime
    version: int = Field(description="Counts the edits; the ETag says the same.")

    @classmethod
    def of(cls, category: Category) -> Self:
        return cls.model_validate(category, from_attributes=True)


class AdminBrand(Output):
    id: UUID
    slug: str
    name: str
    created_at: datetime
    version: int = Field(description="Counts the edits; the ETag says the same.")

    @classmethod
    def of(cls, brand: Brand) -> Self:
        return cls.model_validate(brand, from_attributes=True)


AdminProductList = CursorList[AdminProduct]
AdminCategoryList = CursorList[AdminCategory]
AdminBrandList = CursorList[AdminBrand]


class AdminVariantList(Output):
    data: list[AdminVariant]
