"""What the scheduler does about carts: those that nobody uses any more are closed, and closed ones at last deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, Engine, delete, select
from sqlalchemy.orm import Session

from commerce_core.carts.models import Cart
from commerce_core.carts.service import close_cart
from commerce_core.database import transaction
from commerce_core.log import each_by_itself

_AT_A_TIME = 200


def expire_carts(engine: Engine, *, now: datetime, stop: Callable[[], bool] = lambda: False) -> int:
    """Close every cart that has lapsed by `now`; how many. One transaction each; any number may run."""
    total = 0
    while not stop():
        with Session(engine) as session:
            lapsed = session.scalars(
                select(Cart.id).where(Cart.state == "active", Cart.expires_at <= now).limit(_AT_A_TIME)
            ).all()
        expired = 0
        for cart_id in lapsed:
            with each_by_itself("cart", cart_id), transaction(engine) as session:
                cart = session.scalar(
                    select(Cart)
                    .where(Cart.id == cart_id, Cart.state == "active", Cart.expires_at <= now)
                    .with_for_update(skip_locked=True)
                )
                if cart is not None:
                    close_cart(session, cart, "expired", now=now)
                    expired += 1
        total += expired
        if not expired:
            break
    return total


def forget_closed_carts(engine: Engine, *, now: datetime, days: int) -> int:
    """Delete carts, with their lines, that expired or were merged `days` ago; how many. Ordered ones are kept."""
    old = (
        select(Cart.id)
        .where(Cart.state.in_(("merged", "expired")), Cart.updated_at < now - timedelta(days=days))
        .limit(_AT_A_TIME)
        .with_for_update(skip_locked=True)
    )
    total = 0
    while True:
        with transaction(engine) as session:
            result = session.execute(delete(Cart).where(Cart.id.in_(old)))
            assert isinstance(result, CursorResult)
        total += result.rowcount
        if result.rowcount < _AT_A_TIME:
            return total
