"""Every table of the core, for whoever needs the whole schema (migrations, and the mapper of a worker)."""

from commerce_core.accounts.models import ApiToken, Registration, User, Verification
from commerce_core.api.models import IdempotencyKey
from commerce_core.audit.models import AuditEntry
from commerce_core.carts.models import Cart, CartLine
from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.jobs.models import Job, JobBatch, JobMessage, PeriodicJob
from commerce_core.mail.models import Mail
from commerce_core.maintenance.models import Maintenance
from commerce_core.monitor.models import Alert, HostState, TrafficMinute
from commerce_core.orders.models import (
    Fulfillment,
    FulfillmentLine,
    Order,
    OrderAdjustment,
    OrderEvent,
    OrderLine,
)
from commerce_core.payments.models import Payment, Refund, RefundLine, WebhookEvent
from commerce_core.stock.models import Hold, StockLevel, StockMovement, StockSignal
from commerce_core.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

__all__ = [
    "Alert",
    "ApiToken",
    "AuditEntry",
    "Brand",
    "Cart",
    "CartLine",
    "Category",
    "Fulfillment",
    "FulfillmentLine",
    "Hold",
    "HostState",
    "IdempotencyKey",
    "Job",
    "JobBatch",
    "JobMessage",
    "Mail",
    "Maintenance",
    "Order",
    "OrderAdjustment",
    "OrderEvent",
    "OrderLine",
    "Payment",
    "PeriodicJob",
    "Product",
    "Refund",
    "RefundLine",
    "Registration",
    "StockLevel",
    "StockMovement",
    "StockSignal",
    "TrafficMinute",
    "User",
    "Variant",
    "Verification",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
]
