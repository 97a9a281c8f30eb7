"""What may be asked of search, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from commerce_core.api.schemas import Input, Output, Page, PageQuery, Query, ShortText, Text
from commerce_core.catalog.schemas import BIGINT_MAX, AttributeValues, ListedProduct
from commerce_core.money import Money
from commerce_search.documents import FEATURED, NOT_FEATURED
from commerce_search.facets import Chosen

# Whatever people paste is answered; only the beginning of it is looked for.
LONGEST_TEXT = 20_000
Values = Annotated[
    list[ShortText], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(max_length=20)
]


class SearchQuery(PageQuery):
    """The parameters of a search. Filters narrow each other down."""

    q: Text = Field(
        default="",
        max_length=LONGEST_TEXT,
        description="What to look for, as people type it: there are no operators. Empty: everything.",
        examples=["red sneaker"],
    )
    category: ShortText | None = Field(
        default=None, description="Slug of a category; its subcategories count as well.", examples=["footwear"]
    )
    brand: Values = Field(default=[], description="Slug of a brand. Several are alternatives.", examples=[["kestrel"]])
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
    sort: Literal["relevance", "price_asc", "price_desc", "newest", "popular"] = Field(
        default="relevance", description="`relevance`: the best first; without `q`, the most popular."
    )
    facets: bool = Field(default=True, description="`false`: do not count, which is quicker.")
    include: Literal["variants"] | None = Field(default=None, description="Answer each product's variants, too.")

    def chosen(self) -> Chosen:
        """The filters."""
        featured = () if self.featured is None else (frozenset({FEATURED if self.featured else NOT_FEATURED}),)
        return Chosen(
            category=self.category,
            brands=tuple(self.brand),
            min_price=self.min_price,
            max_price=self.max_price,
            attributes=self.attributes,
            in_stock=self.in_stock,
            tags=featured,
        )


class CategoryCount(Output):
    id: UUID
    slug: str = Field(examples=["footwear"])
    name: str = Field(examples=["Footwear"])
    count: int = Field(description="Products in it and in those below it.")
    selected: bool
    children: list[CategoryCount]


class BrandCount(Output):
    id: UUID
    slug: str = Field(examples=["kestrel"])
    name: str = Field(examples=["Kestrel"])
    count: int
    selected: bool


class PriceCount(Output):
    min: int | None = Field(description="For `min_price`; null: any.", examples=[2500])
    max: int | None = Field(description="For `max_price`; null: any.", examples=[4999])
    count: int


class ValueCount(Output):
    value: str = Field(examples=["red"])
    count: int
    selected: bool


class AttributeCount(Output):
    name: str = Field(examples=["color"])
    values: list[ValueCount]


class Facets(Output):
    """How many products there would be. A facet's own filter does not count for it; all others do."""

    categories: list[CategoryCount] = Field(description="A tree.")
    brands: list[BrandCount]
    prices: list[PriceCount] = Field(description="Ranges of the displayed price, in minor units; those with products.")
    attributes: list[AttributeCount]


class Highlight(Output):
    """Where the words were found, as HTML in which nothing but `<mark>` is markup."""

    name: str | None = Field(examples=["<mark>Red</mark> Canvas <mark>Sneaker</mark>"])
    description: str | None = Field(description="A part of the description.")


class SearchPage(Page[ListedProduct]):
    """Products as the list has them, with the stock and prices of now."""

    query: str = Field(description="What was looked for.", examples=["red snaeker"])
    corrected: str | None = Field(
        description="What seems to have been meant, and was found as well.", examples=["red sneaker"]
    )
    relaxed: bool = Field(description="Hardly anything has all of the words; the last of these have only some.")
    facets: Facets | None = Field(description="Null with `facets=false`, and where the index does not work.")
    highlights: dict[str, Highlight] = Field(description="By product id.")
    took_ms: float = Field(examples=[4.2])


class SuggestQuery(Query):
    q: Text = Field(default="", max_length=LONGEST_TEXT, description="What has been typed so far.", examples=["red sn"])
    limit: int = Field(default=6, ge=1, le=20, description="How many of each kind.")


class SuggestedProduct(Output):
    id: UUID
    slug: str = Field(examples=["canvas-tote"])
    name: str = Field(examples=["Canvas Tote"])
    highlight: str = Field(description="The name with what was typed in `<mark>`.")
    price: Money
    image: str | None = Field(description="Address of its first image.")


class SuggestedGroup(Output):
    id: UUID
    slug: str = Field(examples=["footwear"])
    name: str = Field(examples=["Footwear"])


class Suggestions(Output):
    products: list[SuggestedProduct]
    categories: list[SuggestedGroup]
    brands: list[SuggestedGroup]
    queries: list[str] = Field(description="What others have searched for and found.", examples=[["red sneaker"]])
    took_ms: float = Field(examples=[2.1])


class SearchEventIn(Input):
    """A product was chosen of what a search has found."""

    type: Literal["click"] = Field(description="What has happened.")
    query: Text = Field(min_length=1, max_length=LONGEST_TEXT, description="`q` of that search.")
    product_id: UUID = Field(strict=False)
    position: int = Field(ge=1, le=1_000_000, description="Its place, counted from 1.")
