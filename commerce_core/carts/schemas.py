"""Carts as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import INT32_MAX, NO_COUNTRY, Input, Output, Query, ShortText, Text, hint
from commerce_core.carts.merging import MergeReport
from commerce_core.money import Money
from commerce_core.plugins.extensions import extensions_of
from commerce_core.pricing.basket import Destination
from commerce_core.pricing.quote import Quote

Quantity = Annotated[int, Field(ge=1, le=INT32_MAX)]
# Without a blank or a slash, so that it can stand in an address.
CouponCode = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9._~-]{1,64}$"),
    hint("must be 1 to 64 letters, digits and . _ ~ -"),
]
LineProblem = Literal["price_changed", "not_for_sale", "out_of_stock", "hold_lapsed"]
CapReason = Literal["not_for_sale", "other_currency", "out_of_stock", "max_quantity_per_line", "max_lines"]


class LineIn(Input):
    variant_id: UUID = Field(strict=False, description="What to put into the cart.")
    quantity: Quantity = Field(default=1, description="How many more units.", examples=[1])


class LineChange(Input):
    quantity: Quantity = Field(description="How many units there are to be.", examples=[2])


class CouponIn(Input):
    code: CouponCode = Field(description="Upper or lower case, as you like.", examples=["SPRING"])


class QuoteQuery(Query):
    """Where it goes, as far as is known: tax and shipping depend on it."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), hint(NO_COUNTRY)] | None = Field(
        default=None, description="ISO 3166-1 alpha-2.", examples=["DE"]
    )
    region: ShortText | None = Field(default=None, description="Only with a country.")
    postal_code: Annotated[Text, Field(max_length=20)] | None = Field(default=None, description="Only with a country.")
    explain: bool = Field(default=False, description="Have rules say all they can of why they do not apply.")

    @model_validator(mode="after")
    def _is_within_a_country(self) -> Self:
        if self.country is None and (self.region is not None or self.postal_code is not None):
            raise PydanticCustomError("missing_country", "a region or postal code needs a country")
        return self

    @property
    def destination(self) -> Destination | None:
        if self.country is None:
            return None
        return Destination(country=self.country, region=self.region, postal_code=self.postal_code)


class LineImage(Output):
    url: str = Field(examples=["/static/demo/canvas-tote.svg"])
    alt: str


class LineHold(Output):
    """Units that are off sale for this line."""

    id: UUID
    expires_at: datetime


class CartLineOut(Output):
    id: UUID
    variant_id: UUID
    sku: str
    product_name: str
    product_slug: str
    variant_name: str
    attributes: dict[str, Any] = Field(examples=[{"color": "red"}])
    image: LineImage | None
    quantity: int
    unit_price: Money = Field(description="When this line was last added to or changed.")
    current_unit_price: Money | None = Field(description="Now; null when it is not for sale any more.")
    price_changed: bool
    available: int | None = Field(description="Units this cart could have, its own holds included; null: no limit.")
    problems: list[LineProblem] = Field(description="What keeps this line from being ordered as it is.")
    total: Money | None = Field(description="At the current price, before discounts and tax.")
    hold: LineHold | None = Field(description="What is kept off sale for this line, if the shop does so.")


class Totals(Output):
    """`total` is the sum of the parts; the tax is part of them already where prices include it."""

    subtotal: Money
    discount_total: Money
    shipping_total: Money
    fee_total: Money
    tax_total: Money
    total: Money
    prices_include_tax: bool
    tax_estimated: bool = Field(description="Whether the destination had to be guessed.")

    @classmethod
    def of(cls, quote: Quote, locale: str) -> Self:
        def money(amount: int) -> Money:
            return Money.of(amount, quote.currency, locale)

        return cls.model_construct(
            subtotal=money(quote.subtotal),
            discount_total=money(quote.discount_total),
            shipping_total=money(quote.shipping_total),
            fee_total=money(quote.fee_total),
            tax_total=money(quote.tax_total),
            total=money(quote.total),
            prices_include_tax=quote.prices_include_tax,
            tax_estimated=quote.tax_estimated,
        )


class CartWarning(Output):
    """What has changed since a line was put into the cart."""

    code: LineProblem
    line_id: UUID
    message: str = Field(examples=["Only 1 of Canvas Tote is available."])


class CartOut(Output):
    """What somebody means to buy. Without an id: nothing yet."""

    id: UUID | None
    token: str | None = Field(
        default=None, description="Only once, when a guest without one got this cart: send it as X-Cart-Token."
    )
    currency: str | None = Field(description="Of everything in the cart; null while it is empty.")
    lines: list[CartLineOut]
    totals: Totals | None = Field(description="Of what can be bought; null when nothing can.")
    coupons: list[str]
    warnings: list[CartWarning]
    expires_at: datetime | None = Field(description="Unless something is done with it before.")
    extensions: dict[str, Any] = extensions_of("cart")


class QuoteLineOut(Output):
    """`total` is after discounts, with tax or without, as prices are in this shop."""

    line_id: UUID
    variant_id: UUID
    sku: str
    quantity: int
    unit_price: Money
    subtotal: Money
    discount_total: Money
    tax_total: Money
    total: Money


class QuoteAdjustmentOut(Output):
    """A part of the total, signed as it counts. With a `line_id` it is about that line."""

    kind: Literal["discount", "shipping", "fee", "tax", "rounding"]
    code: str
    label: str
    source: str
    amount: Money
    line_id: UUID | None
    included: bool = Field(description="Tax that the prices contain already.")


class QuoteOut(Totals):
    """What the cart would cost, and why. Ordered with this address, it costs just this."""

    currency: str
    lines: list[QuoteLineOut]
    adjustments: list[QuoteAdjustmentOut]
    left_out: list[UUID] = Field(description="Lines that cannot be bought any more.")
    trace: list[dict[str, Any]] = Field(description="Every rule that was asked, and what came of it, in order.")

    @classmethod
    def of_cart(cls, quote: Quote, left_out: list[UUID], locale: str) -> Self:
        def money(amount: int) -> Money:
            return Money.of(amount, quote.currency, locale)

        totals = Totals.of(quote, locale)
        return cls.model_construct(
            **{name: getattr(totals, name) for name in Totals.model_fields},
            currency=quote.currency,
            lines=[
                QuoteLineOut.model_construct(
                    line_id=line.key,
                    variant_id=line.item.variant_id,
                    sku=line.item.sku,
                    quantity=line.quantity,
                    unit_price=money(line.unit_amount),
                    subtotal=money(line.subtotal),
                    discount_total=money(line.discount_total),
                    tax_total=money(line.tax_total),
                    total=money(line.net),
                )
                for line in quote.lines
            ],
            adjustments=[
                QuoteAdjustmentOut.model_construct(
                    kind=part.kind,
                    code=part.code,
                    label=part.label,
                    source=part.source,
                    amount=money(part.amount),
                    line_id=part.key,
                    included=part.included,
                )
                for part in quote.adjustments
            ],
            left_out=left_out,
            trace=quote.trace,
        )


class CappedLine(Output):
    """Something of the guest's cart of which less was taken over than was wanted."""

    variant_id: UUID
    sku: str
    name: str = Field(description="Of the product.")
    wanted: int = Field(description="Units in both carts together.")
    got: int = Field(description="Units in the cart now.")
    reason: CapReason


class CartMerge(Output):
    """What a guest's cart, holds and orders brought when they became the user's."""

    cart_id: UUID | None = Field(description="The user's cart; null when there was no cart to merge.")
    lines: int = Field(description="Lines of the guest's cart that are in the user's now.")
    capped: list[CappedLine] = Field(description="Every line of which less than wanted, or nothing, was taken over.")
    dropped_coupons: list[str] = Field(description="Codes that were too many for one cart.")
    holds: int = Field(description="Active holds that have become the user's.")
    orders: int = Field(description="Orders that have become the user's.")

    @classmethod
    def of(cls, report: MergeReport) -> Self:
        return cls.model_construct(
            cart_id=report.cart_id,
            lines=report.lines,
            capped=[CappedLine.model_validate(line, from_attributes=True) for line in report.capped],
            dropped_coupons=list(report.dropped_coupons),
            holds=report.holds,
            orders=report.orders,
        )


class MergedCart(Output):
    cart: CartOut
    cart_merge: CartMerge | None = Field(description="What was merged; null when the guest had nothing (any more).")
