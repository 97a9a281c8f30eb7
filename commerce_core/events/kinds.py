"""Everything that happens in a shop, as frozen records of ids and figures. docs/events.md tells when, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of all events. `topic` is what the rest of the world calls them, `logger` where in the log they are."""

    topic: ClassVar[str]
    logger: ClassVar[str] = "commerce.plugin"


@dataclass(frozen=True, kw_only=True, slots=True)
class StockChanged(Event):
    """A variant's level changed. `version` counts its movements: drop what is older than what you have seen.

    When holds lapsed with it, `lapsed` says how many.
    """

    topic: ClassVar[str] = "stock.changed"
    logger: ClassVar[str] = "commerce.stock"
    variant_id: UUID
    kind: str
    on_hand: int
    reserved: int
    version: int
    hold_id: UUID | None = None
    order_id: UUID | None = None
    lapsed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _StockSignal(Event):
    logger: ClassVar[str] = "commerce.stock"
    variant_id: UUID
    product_id: UUID
    sku: str
    available: int
    threshold: int
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StockLow(_StockSignal):
    """No more than `threshold` units of a variant are left, and some are. Seen by a worker within seconds.

    What came and went in between is not told. `version` is that of the level that was seen.
    """

    topic: ClassVar[str] = "stock.low"


@dataclass(frozen=True, kw_only=True, slots=True)
class StockOut(_StockSignal):
    """No unit of a variant is left. Seen like StockLow."""

    topic: ClassVar[str] = "stock.out"


@dataclass(frozen=True, kw_only=True, slots=True)
class StockBack(_StockSignal):
    """There are units again of a variant that was out. Seen like StockLow."""

    topic: ClassVar[str] = "stock.back"


@dataclass(frozen=True, kw_only=True, slots=True)
class CartUpdated(Event):
    """Somebody did something with a cart: a line, a coupon, its quantities. `user_id` is None for a guest's."""

    topic: ClassVar[str] = "cart.updated"
    logger: ClassVar[str] = "commerce.cart"
    cart_id: UUID
    user_id: UUID | None
    lines: int
    units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductChanged(Event):
    """The catalogue changed. `what` says how: `product.update`, `variant.delete`, `category.update` ...

    `product_ids` are the products that look different now; of a category or a brand it is all those in it, which are
    not named. An import that changes many names none: look at everything.
    """

    topic: ClassVar[str] = "catalogue.changed"
    logger: ClassVar[str] = "commerce.catalog"
    what: str
    product_ids: tuple[UUID, ...] = ()
    category_id: UUID | None = None
    brand_id: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfOrder(Event):
    logger: ClassVar[str] = "commerce.order"
    order_id: UUID
    number: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPlaced(_OfOrder):
    """An order was placed. It is still to be paid, unless it costs nothing. `total` in minor units of `currency`."""

    topic: ClassVar[str] = "order.placed"
    total: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPaid(_OfOrder):
    """The whole order was paid, and its stock is sold. Also of an order that had lapsed and could be revived."""

    topic: ClassVar[str] = "order.paid"


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderPaymentFailed(_OfOrder):
    """A payment did not go through. The order stays open until it lapses."""

    topic: ClassVar[str] = "order.payment_failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderCancelled(_OfOrder):
    """`reason` is `cancelled` or `expired`."""

    topic: ClassVar[str] = "order.cancelled"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderFulfilled(_OfOrder):
    """Units of an order have been shipped. `notify` says whether the customer is to be told."""

    topic: ClassVar[str] = "order.fulfilled"
    fulfillment_id: UUID
    carrier: str | None
    tracking_number: str | None
    notify: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderCompleted(_OfOrder):
    """Nothing of a paid order is left to be shipped. `is_returned`: all that was shipped has come back."""

    topic: ClassVar[str] = "order.completed"
    is_returned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FulfillmentCancelled(_OfOrder):
    """Shipping these units was a mistake: they are still to be sent."""

    topic: ClassVar[str] = "order.fulfillment_cancelled"
    fulfillment_id: UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfRefund(Event):
    logger: ClassVar[str] = "commerce.payment"
    order_id: UUID
    refund_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundRequested(_OfRefund):
    """Staff, or a cancellation, have asked for a refund. Units that it takes back have been taken back."""

    topic: ClassVar[str] = "refund.requested"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundDue(_OfRefund):
    """Money must go back that should not have been taken: the order was gone, or had been paid before."""

    topic: ClassVar[str] = "refund.due"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundSucceeded(_OfRefund):
    """The provider has given the money back."""

    topic: ClassVar[str] = "refund.succeeded"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefundFailed(_OfRefund):
    """The provider has not given the money back, and will not be asked again unless the staff say so."""

    topic: ClassVar[str] = "refund.failed"
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookReceived(Event):
    """A provider's event was filed. `state` is what became of it."""

    topic: ClassVar[str] = "payment.webhook_received"
    logger: ClassVar[str] = "commerce.payment"
    provider: str
    event_id: str
    state: str
    order_id: UUID | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobDied(Event):
    """A job has failed for good. `subject` is what it was about, as `order:<id>`."""

    topic: ClassVar[str] = "job.died"
    logger: ClassVar[str] = "commerce.job"
    job_id: UUID
    name: str
    error: str
    subject: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookEndpointDisabled(Event):
    """An integrator's endpoint is told nothing any more. `reason` is `gone` or `failing`."""

    topic: ClassVar[str] = "webhook.endpoint_disabled"
    logger: ClassVar[str] = "commerce.webhook"
    endpoint_id: UUID
    reason: str
