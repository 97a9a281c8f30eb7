"""Orders as clients send and see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.accounts.schemas import EmailAddress
from commerce_core.api.schemas import (
    INT64_MAX,
    NO_COUNTRY,
    NO_PHONE,
    CursorList,
    CursorQuery,
    Input,
    LongText,
    Output,
    ShortText,
    Text,
    hint,
)
from commerce_core.money import Money
from commerce_core.orders.models import Fulfillment, Order, OrderLine
from commerce_core.plugins.extensions import extensions_of

OrderStatus = Literal["pending", "processing", "completed", "cancelled"]
PaymentStatus = Literal["unpaid", "pending", "paid", "failed", "partially_refunded", "refunded"]
FulfillmentStatus = Literal["unfulfilled", "partial", "fulfilled", "returned"]

# Not made of Text: a pattern that comes after a validator is left out of the JSON schema.
Phone = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=40, pattern=r"^[0-9+()./ -]+$"), hint(NO_PHONE)
]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), hint(NO_COUNTRY)]


class Customer(Input):
    email: EmailAddress
    name: ShortText = Field(examples=["Ada Lovelace"])
    phone: Phone | None = Field(default=None, examples=["+44 20 7946 0958"])


class Address(Input):
    name: ShortText = Field(examples=["Ada Lovelace"])
    company: ShortText | None = None
    line1: ShortText = Field(examples=["27 Long Acre"])
    line2: ShortText | None = None
    city: ShortText = Field(examples=["London"])
    region: ShortText | None = None
    postal_code: Annotated[Text, Field(max_length=20)] | None = Field(default=None, examples=["WC2E 9LA"])
    country: Country = Field(description="ISO 3166-1 alpha-2.", examples=["GB"])
    phone: Phone | None = None


class PaymentChoice(Input):
    provider: ShortText = Field(description="Code of a payment provider.", examples=["manual"])


class OrderIn(Input):
    """What is ordered is either a hold or the cart."""

    hold_id: UUID | None = Field(
        default=None,
        strict=False,
        description="The hold to turn into an order.",
        examples=["01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"],
    )
    cart: Literal[True] | None = Field(default=None, description="Order what is in your cart.")
    customer: Customer | None = Field(
        default=None, description="Who buys. Needed for a cart, unless you are signed in: then it is you."
    )
    shipping_address: Address | None = Field(default=None, description="Where it goes.")
    billing_address: Address | None = Field(default=None, description="Where the bill goes.")
    payment: PaymentChoice | None = Field(default=None, description="Start to pay at once, with this provider.")
    note: LongText | None = Field(default=None, description="What the customer wants to say.")
    expected_total: int | None = Field(
        default=None,
        ge=0,
        le=INT64_MAX,
        description="The total that the customer has seen, in minor units. If it is another one, nothing is ordered."
        " Left out for a cart: what the cart was last shown to cost.",
        examples=[8997],
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.hold_id is None) is (self.cart is None):
            raise PydanticCustomError("hold_or_cart", "Order either a hold or the cart: hold_id, or cart = true")
        return self


class LookupIn(Input):
    number: Annotated[Text, Field(min_length=1, max_length=40)] = Field(examples=["K7QX2-M9T4R"])
    email: EmailAddress


class OrderQuery(CursorQuery):
    status: OrderStatus | None = None
    payment_status: PaymentStatus | None = None


class OrderLineOut(Output):
    id: UUID
    variant_id: UUID
    product_name: str
    variant_name: str
    sku: str
    attributes: dict[str, Any]
    quantity: int
    unit_price: Money
    total: Money = Field(description="Before its discount.")
    discount_total: Money
    tax_total: Money = Field(description="On what is left after the discount; in it if prices include tax.")
    fulfilled_quantity: int = Field(description="Units that have been shipped.")
    returned_quantity: int = Field(description="Units of those that have come back.")
    cancelled_quantity: int = Field(description="Units that will not be shipped.")

    @classmethod
    def of(cls, line: OrderLine, currency: str, locale: str) -> Self:
        return cls.model_construct(
            id=line.id,
            variant_id=line.variant_id,
            product_name=line.product_name,
            variant_name=line.variant_name,
            sku=line.sku,
            attributes=line.attributes,
            quantity=line.quantity,
            unit_price=Money.of(line.unit_price, currency, locale),
            total=Money.of(line.total, currency, locale),
            discount_total=Money.of(line.discount_total, currency, locale),
            tax_total=Money.of(line.tax_total, currency, locale),
            fulfilled_quantity=line.fulfilled_quantity,
            returned_quantity=line.returned_quantity,
            cancelled_quantity=line.cancelled_quantity,
        )


class AdjustmentOut(Output):
    """A part of the total. The subtotal and all adjustments that are not `included` add up to the total."""

    kind: Literal["discount", "shipping", "fee", "tax", "rounding"]
    code: str = Field(description="Of the rule that made it.", examples=["flat-shipping"])
    label: str = Field(examples=["Shipping"])
    amount: Money = Field(description="Below zero where it makes the order cheaper.")
    source: str = Field(description="The plugin whose rule it is.", examples=["core"])
    line_id: UUID | None = Field(description="The line that it is about; null for the order as a whole.")
    included: bool = Field(description="Tax that the prices contain already.")


class FulfillmentLineOut(Output):
    line_id: UUID
    quantity: int


class FulfillmentOut(Output):
    """Units that were shipped together. One that is cancelled was a mistake: its units are still to be shipped."""

    id: UUID
    status: Literal["shipped", "cancelled"]
    carrier: str | None = Field(examples=["DHL"])
    tracking_number: str | None = Field(examples=["00340434161094042557"])
    tracking_url: str | None = Field(examples=["https://tracking.example.com/00340434161094042557"])
    lines: list[FulfillmentLineOut]
    created_at: datetime
    cancelled_at: datetime | None

    @classmethod
    def of(cls, fulfillment: Fulfillment) -> Self:
        return cls.model_construct(
            id=fulfillment.id,
            status=fulfillment.status,
            carrier=fulfillment.carrier,
            tracking_number=fulfillment.tracking_number,
            tracking_url=fulfillment.tracking_url,
            lines=[
                FulfillmentLineOut.model_construct(line_id=line.line_id, quantity=line.quantity)
                for line in fulfillment.lines
            ],
            created_at=fulfillment.created_at,
            cancelled_at=fulfillment.cancelled_at,
        )


class OrderRefundOut(Output):
    """Money that goes back, or has gone back."""

    id: UUID
    status: Literal["pending", "succeeded", "failed"]
    amount: Money
    created_at: datetime


class PaymentLike(Protocol):
    """What of a payment an order shows."""

    id: Any
    provider: Any
    status: Any
    amount: Any
    currency: Any
    paid_at: Any
    created_at: Any
    refunds: Any


class PaymentOut(Output):
    id: UUID
    provider: str
    status: Literal["pending", "paid", "failed", "cancelled", "refunded"]
    amount: Money
    paid_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, payment: PaymentLike, locale: str) -> Self:
        return cls.model_construct(
            id=payment.id,
            provider=payment.provider,
            status=payment.status,
            amount=Money.of(payment.amount, payment.currency, locale),
            paid_at=payment.paid_at,
            created_at=payment.created_at,
        )


class OrderOut(Output):
    """A placed order. All money is in the order's currency.

    `total` = `subtotal` - `discount_total` + `shipping_total` + `fee_total`, + `tax_total` unless `prices_include_tax`.
    """

    id: UUID
    number: str = Field(examples=["K7QX2-M9T4R"])
    status: OrderStatus
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    currency: str
    subtotal: Money
    discount_total: Money
    shipping_total: Money
    fee_total: Money = Field(description="Fees, and what rounding the total adds or takes.")
    tax_total: Money
    prices_include_tax: bool = Field(description="Whether the tax is part of the other sums, and not added to them.")
    total: Money
    lines: list[OrderLineOut]
    adjustments: list[AdjustmentOut]
    customer: Customer | None
    shipping_address: Address | None
    billing_address: Address | None
    note: str | None
    payments: list[PaymentOut]
    refunds: list[OrderRefundOut]
    fulfillments: list[FulfillmentOut]
    expires_at: datetime | None = Field(description="Unpaid until then, the order is cancelled.")
    paid_at: datetime | None
    created_at: datetime
    extensions: dict[str, Any] = extensions_of("order")

    @classmethod
    def of(cls, order: Order, payments: Sequence[PaymentLike], locale: str) -> Self:
        def money(amount: int) -> Money:
            return Money.of(amount, order.currency, locale)

        return cls.model_construct(
            id=order.id,
            number=order.number,
            status=order.status,
            payment_status=order.payment_status,
            fulfillment_status=order.fulfillment_status,
            currency=order.currency,
            subtotal=money(order.subtotal),
            discount_total=money(order.discount_total),
            shipping_total=money(order.shipping_total),
            fee_total=money(order.fee_total),
            tax_total=money(order.tax_total),
            prices_include_tax=order.prices_include_tax,
            total=money(order.total),
            lines=[OrderLineOut.of(line, order.currency, locale) for line in order.lines],
            adjustments=[
                AdjustmentOut.model_construct(
                    kind=a.kind,
                    code=a.code,
                    label=a.label,
                    amount=money(a.amount),
                    source=a.source,
                    line_id=a.line_id,
                    included=a.included,
                )
                for a in order.adjustments
            ],
            customer=_stored(Customer, order.customer),
            shipping_address=_stored(Address, order.shipping_address),
            billing_address=_stored(Address, order.billing_address),
            note=order.note,
            payments=[PaymentOut.of(payment, locale) for payment in payments],
            refunds=[
                OrderRefundOut.model_construct(
                    id=refund.id, status=refund.status, amount=money(refund.amount), created_at=refund.created_at
                )
                for payment in payments
                for refund in payment.refunds
            ],
            fulfillments=[FulfillmentOut.of(fulfillment) for fulfillment in order.fulfillments],
            expires_at=order.expires_at,
            paid_at=order.paid_at,
            created_at=order.created_at,
        )


def _stored(model: type[Customer] | type[Address], snapshot: dict[str, Any] | None) -> Any:
    return None if snapshot is None else model.model_construct(**snapshot)


OrderList = CursorList[OrderOut]
