"""The three small state machines of an order, as tables of what may follow what."""

from __future__ import annotations

STATUS = {
    "pending": {"processing", "cancelled"},
    "processing": {"completed", "cancelled"},
    "completed": set(),
    # Paid after it had lapsed, and the stock could be taken again.
    "cancelled": {"processing"},
}

PAYMENT_STATUS = {
    "unpaid": {"pending", "paid", "failed"},
    "pending": {"paid", "failed"},
    "failed": {"pending", "paid"},
    "paid": {"partially_refunded", "refunded"},
    "partially_refunded": {"refunded"},
    "refunded": set(),
}

FULFILLMENT_STATUS = {
    "unfulfilled": {"partial", "fulfilled"},
    "partial": {"fulfilled", "returned"},
    "fulfilled": {"returned"},
    "returned": set(),
}

MACHINES: dict[str, dict[str, set[str]]] = {
    "status": STATUS,
    "payment_status": PAYMENT_STATUS,
    "fulfillment_status": FULFILLMENT_STATUS,
}
