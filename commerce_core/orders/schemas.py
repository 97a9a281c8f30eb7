"""Orders as clients send and see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from commerce_core.api.schemas import CursorList, CursorQuery, Input, LongText, Output, ShortText, Text
from commerce_core.money import Money
from commerce_core.orders.models import Order, OrderLine

OrderStatus = Literal["pending", "processing", "completed", "cancelled"]
PaymentStatus = Literal["unpaid", "pending", "paid", "failed", "partially_refunded", "refunded"]
FulfillmentStatus = Literal["unfulfilled", "partial", "fulfilled", "returned"]

# Not made of Text: a pattern that comes after a validator is left out of the JSON schema.
Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$")
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40, pattern=r"^[0-9+()./ -]+$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class Customer(Input):
    email: Email = Field(examples=["ada@example.com"])
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
    hold_id: UUID = Field(strict=False, description="The hold to turn into an order.")
    customer: Customer | None = Field(default=None, description="Who buys.")
    shipping_address: Address | None = Field(default=None, description="Where it goes.")
    billing_address: Address | None = Field(default=None, description="Where the bill goes.")
    payment: PaymentChoice | None = Field(default=None, description="Start to pay at once, with this provider.")
    note: LongText | None = Field(default=None, description="What the customer wants to say.")


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
    total: Money

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
        )


class AdjustmentOut(Output):
    kind: str
    label: str
    amount: Money
    source: str


class PaymentLike(Protocol):
    """What of a payment an order shows."""

    id: Any
    provider: Any
    status: Any
    amount: Any
    currency: Any
    paid_at: Any
    created_at: Any


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
    """A placed order. All money is in the order's currency, and `total` is the sum of its parts."""

    id: UUID
    number: str = Field(examples=["K7QX2-M9T4R"])
    status: OrderStatus
    payment_status: PaymentStatus
    fulfillment_status: FulfillmentStatus
    currency: str
    subtotal: Money
    discount_total: Money
    shipping_total: Money
    tax_total: Money
    total: Money
    lines: list[OrderLineOut]
    adjustments: list[AdjustmentOut]
    customer: Customer | None
    shipping_address: Address | None
    billing_address: Address | None
    note: str | None
    payments: list[PaymentOut]
    expires_at: datetime | None = Field(description="Unpaid until then, the order is cancelled.")
    paid_at: datetime | None
    created_at: datetime

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
            tax_total=money(order.tax_total),
            total=money(order.total),
            lines=[OrderLineOut.of(line, order.currency, locale) for line in order.lines],
            adjustments=[
                AdjustmentOut(kind=a.kind, label=a.label, amount=money(a.amount), source=a.source)
                for a in order.adjustments
            ],
            customer=_stored(Customer, order.customer),
            shipping_address=_stored(Address, order.shipping_address),
            billing_address=_stored(Address, order.billing_address),
            note=order.note,
            payments=[PaymentOut.of(payment, locale) for payment in payments],
            expires_at=order.expires_at,
            paid_at=order.paid_at,
            created_at=order.created_at,
        )


def _stored(model: type[Customer] | type[Address], snapshot: dict[str, Any] | None) -> Any:
    return None if snapshot is None else model.model_construct(**snapshot)


OrderList = CursorList[OrderOut]
