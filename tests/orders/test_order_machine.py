"""Random lives of paid orders on a real database: whatever happens, money, units, stock and states agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.bank import Bank

from commerce_core.api.problems import Conflict
from commerce_core.database import transaction, uuid7
from commerce_core.orders import fulfillment, placing, service
from commerce_core.orders.models import Order, OrderLine
from commerce_core.payments import refunds
from commerce_core.payments.models import Payment, Refund
from commerce_core.payments.provider import ProviderEvent
from commerce_core.payments.service import cancel_open_payments, receive_event
from commerce_core.payments.sweep import carry_out_refunds, expire_orders
from commerce_core.pricing.basket import Buyer
from commerce_core.stock import service as stock
from commerce_core.stock.models import StockLevel
from commerce_core.testing import StoppedClock, assert_stock_adds_up, empty_database

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
RUNS, STEPS = (500, 60) if SOAK else (20, 25)
STEPS_BETWEEN_VERIFICATIONS = 5
TTL = timedelta(minutes=30)
QUANTITIES = st.integers(1, 4)
MOODS = st.sampled_from(["well", "well", "well", "slow", "away", "later", "no"])


class Life(RuleBasedStateMachine):
    """Orders of up to five units, one in three of them a backorder, paid at a bank that misbehaves."""

    orders: Bundle[UUID] = Bundle("orders")

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop
        self.placed: list[UUID] = []
        self.steps = 0

    def teardown(self) -> None:
        assert_stock_adds_up(self.shop.engine)

    @initialize()
    def open_shop(self) -> None:
        empty_database(self.shop.engine)
        self.shop.bank = Bank()
        self.shop.application.registry.payment_providers["bank"] = self.shop.bank
        self.variants = [self.shop.make_variant(8, price_amount=333), self.shop.make_variant(0, price_amount=1_001)]
        with transaction(self.shop.engine) as session:
            session.get_one(StockLevel, self.variants[1]).allow_backorder = True

    @rule(target=orders, variant=st.integers(0, 1), quantity=st.integers(1, 5), paid=st.booleans())
    def order(self, variant: int, quantity: int, paid: bool) -> Any:
        now = self.shop.clock.now()
        try:
            with transaction(self.shop.engine) as session:
                hold_id = stock.place_hold(session, self.variants[variant], quantity, ttl=TTL, now=now, owner=None)
                order_id = placing.place_order(
                    session,
                    hold_id,
                    placing.OrderDetails(),
                    pricing=self.shop.application.registry.pricing,
                    buyer=Buyer(),
                    payment_ttl=TTL,
                    now=now,
                ).id
        except stock.OutOfStock:
            return multiple()
        self.placed.append(order_id)
        if paid:
            self.pay(order_id, 1, "bank")
        return order_id

    @rule(order_id=orders, reference=st.integers(1, 2), provider=st.sampled_from(["bank", "manual"]))
    def pay(self, order_id: UUID, reference: int, provider: str) -> None:
        """At once, again, late, after it was cancelled, or twice."""
        self.tell(order_id, "paid", provider=provider, reference=f"{order_id}-{reference}")

    @rule(order_id=orders, quantity=st.none() | QUANTITIES)
    def fulfil(self, order_id: UUID, quantity: int | None) -> None:
        def ship(session: Session, order: Order) -> None:
            units = None if quantity is None else {order.lines[0].id: quantity}
            fulfillment.fulfil_order(
                session, order, units, fulfillment.Tracking(), notify=False, now=self.shop.clock.now(), actor=None
            )

        self.change(order_id, ship)

    @rule(order_id=orders, which=st.integers(0, 2))
    def cancel_fulfillment(self, order_id: UUID, which: int) -> None:
        def undo(session: Session, order: Order) -> None:
            for made in order.fulfillments[which : which + 1]:
                fulfillment.cancel_fulfillment(session, order, made, now=self.shop.clock.now(), actor=None)

        self.change(order_id, undo)

    @rule(
        order_id=orders,
        quantity=QUANTITIES,
        restock=st.booleans(),
        returned=st.sampled_from([None, None, True, False]),
        amount=st.none() | st.integers(0, 400),
    )
    def refund_units(
        self, order_id: UUID, quantity: int, restock: bool, returned: bool | None, amount: int | None
    ) -> None:
        def give_back(session: Session, order: Order) -> None:
            units = [fulfillment.UnitsBack(order.lines[0], quantity, restock, returned)]
            self.refund(session, order, refunds.RefundWish("units", units, amount=amount))

        self.change(order_id, give_back)

    @rule(order_id=orders, amount=st.integers(1, 1_500))
    def refund_amount(self, order_id: UUID, amount: int) -> None:
        self.change(
            order_id,
            lambda session, order: self.refund(session, order, refunds.RefundWish("amount", amount=amount)),
        )

    @rule(order_id=orders, restock=st.booleans())
    def cancel(self, order_id: UUID, restock: bool) -> None:
        def end(session: Session, order: Order) -> None:
            now = self.shop.clock.now()
            if order.status == "pending":
                service.cancel_order(session, order, now=now)
                cancel_open_payments(session, order)
            else:
                registry = self.shop.application.registry
                refunds.cancel_paid_order(
                    session, registry, order, reason="cancel", restock=restock, now=now, actor=None
                )

        self.change(order_id, end)

    @rule(minutes=st.integers(1, 40))
    def time_passes(self, minutes: int) -> None:
        self.shop.clock.tick(minutes=minutes)
        expire_orders(self.shop.engine, now=self.shop.clock.now())

    @rule(mood=MOODS)
    def carry_out(self, mood: str) -> None:
        self.shop.bank.mood = mood
        carry_out_refunds(self.shop.engine, self.shop.application.registry)

    @rule(which=st.integers(0, 5), bounced=st.booleans())
    def bank_tells_of_refund(self, which: int, bounced: bool) -> None:
        """That it has given the money back, which may be news, or that the money has come back to it since."""
        for key in sorted(self.shop.bank.given_back)[which : which + 1]:
            refund_id = UUID(key[:36])
            with Session(self.shop.engine) as session:
                order_id = session.get_one(Refund, refund_id).order_id
            if bounced:
                del self.shop.bank.given_back[key]
            self.tell(order_id, "refund_failed" if bounced else "refund_succeeded", refund_id=refund_id)

    @rule(order_id=orders)
    def retry_refunds(self, order_id: UUID) -> None:
        with Session(self.shop.engine) as session:
            failed = session.scalars(
                select(Refund.id).where(Refund.order_id == order_id, Refund.status == "failed")
            ).all()
        for refund_id in failed:
            with transaction(self.shop.engine) as session:
                order, refund = refunds.lock_refund(session, refund_id)
                registry = self.shop.application.registry
                refunds.retry_refund(session, registry, order, refund, now=self.shop.clock.now(), actor="test")

    @rule(variant=st.integers(0, 1), quantity=st.integers(1, 6))
    def receive(self, variant: int, quantity: int) -> None:
        with transaction(self.shop.engine) as session:
            stock.receive_stock(session, self.variants[variant], quantity, now=self.shop.clock.now())

    # How they are done

    def change(self, order_id: UUID, step: Callable[[Session, Order], Any]) -> None:
        """A step that the order's state may refuse; then nothing has changed."""
        with suppress(Conflict), transaction(self.shop.engine) as session:
            order = service.lock_order(session, order_id)
            assert order is not None
            step(session, order)

    def refund(self, session: Session, order: Order, wish: refunds.RefundWish) -> None:
        registry = self.shop.application.registry
        refunds.refund_order(session, registry, order, wish, now=self.shop.clock.now(), actor=None)

    def tell(
        self,
        order_id: UUID,
        status: Literal["paid", "refund_succeeded", "refund_failed"],
        *,
        provider: str = "bank",
        reference: str | None = None,
        refund_id: UUID | None = None,
    ) -> None:
        event = ProviderEvent(
            provider, str(uuid7()), order_id, status, {}, provider_reference=reference, refund_id=refund_id
        )
        with transaction(self.shop.engine) as session:
            receive_event(session, event, b"", now=self.shop.clock.now())

    # What must be true after every step

    @invariant()
    def everything_agrees(self) -> None:
        self.steps += 1
        if self.steps % STEPS_BETWEEN_VERIFICATIONS == 0:
            assert_stock_adds_up(self.shop.engine)
        with Session(self.shop.engine) as session:
            for order in session.scalars(select(Order).where(Order.id.in_(self.placed))):
                agrees(session, order)

    @invariant()
    def the_bank_has_given_back_no_more_than_was_decided(self) -> None:
        with Session(self.shop.engine) as session:
            decided = session.scalar(
                select(func.coalesce(func.sum(Refund.amount), 0)).join(Payment).where(Payment.provider == "bank")
            )
        assert self.shop.bank.total <= (decided or 0)


class Shop:
    """What outlives a run."""

    bank: Bank

    def __init__(
        self, application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
    ) -> None:
        self.application = application
        self.engine = engine
        self.clock = clock
        self.make_variant = make_variant


def agrees(session: Session, order: Order) -> None:
    """Money, units and states of an order, in words of their own (`stock verify` says it in SQL)."""
    payments = session.scalars(select(Payment).where(Payment.order_id == order.id)).all()
    owed = session.scalars(select(Refund).where(Refund.order_id == order.id)).all()
    paid = [payment for payment in payments if payment.status in ("paid", "refunded")]
    own = [payment for payment in paid if not payment.surplus]
    for payment in paid:
        claims = [refund.amount for refund in owed if refund.payment_id == payment.id]
        assert sum(claims) == payment.refund_total <= payment.amount == order.total
        assert not payment.surplus or sum(claims) == payment.amount
    assert len(own) == (order.payment_status in ("paid", "partially_refunded", "refunded"))
    assert order.status not in ("processing", "completed") or own
    gone_back = sum(refund.amount for refund in owed if refund.status == "succeeded" and refund.payment in own)
    if own:
        assert order.payment_status == (
            "refunded" if gone_back == order.total else "partially_refunded" if gone_back else "paid"
        )
    units_agree(order.status, order.fulfillment_status, order.lines)


def units_agree(status: str, shipping: str, lines: Sequence[OrderLine]) -> None:
    [line] = lines
    assert line.fulfilled_quantity + line.cancelled_quantity <= line.quantity
    assert line.returned_quantity <= line.fulfilled_quantity
    if status in ("pending", "cancelled"):
        assert line.fulfilled_quantity == 0
    assert (status == "completed") == (line.unfulfilled_quantity == 0 and line.fulfilled_quantity > 0)
    assert (shipping == "unfulfilled") == (line.fulfilled_quantity == 0)
    assert (shipping == "partial") == (line.fulfilled_quantity > 0 and line.unfulfilled_quantity > 0)
    returned = line.returned_quantity == line.fulfilled_quantity > 0 and line.unfulfilled_quantity == 0
    assert (shipping == "returned") == returned


def test_whatever_becomes_of_orders_money_units_and_stock_agree(
    application: Any, engine: Engine, clock: StoppedClock, make_variant: Callable[..., UUID]
) -> None:
    shop = Shop(application, engine, clock, make_variant)
    run_state_machine_as_test(
        lambda: Life(shop),
        settings=hypothesis.settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not SOAK,
            database=None,
            print_blob=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
