"""What customers are written about payments that wait for them: part of the transaction that it tells of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from commerce_core.mail.service import queue_mail
from commerce_core.money import formatted
from commerce_core.orders.models import Order
from commerce_core.orders.privacy import NOBODY


def ask_to_confirm(session: Session, order: Order, link: str | None, *, now: datetime) -> None:
    """A saved card was charged, and its bank wants the customer to confirm that. The order is locked."""
    if order.customer is None or order.customer["email"] == NOBODY["email"]:
        return
    queue_mail(
        session,
        template="stripe-confirm-payment",
        to=order.customer["email"],
        context={
            "name": order.customer.get("name"),
            "number": order.number,
            "total": formatted(order.total, order.currency, order.locale),
            "url": None if link is None else link.replace("{number}", order.number),
        },
        locale=order.locale,
        now=now,
    )
