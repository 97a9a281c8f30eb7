"""The three small state machines of an order, as tables of what may follow what."""

from __future__ import annotations

STATUS = {
    "pending": {"processing", "cancelled"},
    "processing": {"completed", "cancelled"},
    # A fulfillment was a mistake.
    "completed": {"processing"},
    # Paid after it had lapsed, and the stock could be taken again.
    "cancelled": {"processing"},
}

PAYMENT_STATUS = {
    "unpaid": {"pending", "paid", "failed"},
    "pending": {"paid", "failed"},
    "failed": {"pending", "paid"},
    "paid": {"partially_refunded", "refunded"},
    # Backwards, when a provider takes back that a refund has succeeded.
    "partially_refunded": {"refunded", "paid"},
    "refunded": {"partially_refunded", "paid"},
}

FULFILLMENT_STATUS = {
    "unfulfilled": {"partial", "fulfilled"},
    # Backwards, when a fulfillment was a mistake.
    "partial": {"unfulfilled", "fulfilled", "returned"},
    "fulfilled": {"unfulfilled", "partial", "returned"},
    "returned": set(),
}

MACHINES: dict[str, dict[str, set[str]]] = {
    "status": STATUS,
    "payment_status": PAYMENT_STATUS,
    "fulfillment_status": FULFILLMENT_STATUS,
}
