"""Thousands of random steps on a real database, each held against a model of a few lines of Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from inspect import signature
from typing import Any, Literal
from uuid import UUID

import hypothesis
import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core import models as rows
from commerce_core.database import transaction, uuid7
from commerce_core.orders import placing
from commerce_core.orders import service as orders
from commerce_core.payments.provider import ProviderEvent
from commerce_core.payments.service import receive_event
from commerce_core.payments.sweep import expire_orders
from commerce_core.pricing.basket import Buyer
from commerce_core.settings import CoreSettings
from commerce_core.stock import service as stock
from commerce_core.stock.desk import HoldDesk, HoldRequest
from commerce_core.stock.models import StockLevel
from commerce_core.stock.sweep import sweep_holds
from commerce_core.testing import CATALOGUE_PRICES, StoppedClock, assert_stock_adds_up

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
RUNS, STEPS = (1_000, 100) if SOAK else (20, 50)
STEPS_BETWEEN_VERIFICATIONS = 20
HOLD_TTL = timedelta(minutes=10)
PAYMENT_TTL = timedelta(minutes=15)
MAX_EXTENSIONS = 2

# What a run may do, the more often the earlier steps that the later ones need.
ACTIONS = [
    *["hold", "hold_at_the_desk", "place_order", "pay", "buy"] * 3,
    *["time_passes", "sweep_holds", "expire_orders", "release", "extend", "cancel", "fail_to_pay"],
    *["receive", "receive", "adjust", "damage", "change_policy", "change_backorders"],
]
CHOICES = {
    "minutes": st.integers(1, 20),
    "quantity": st.integers(1, 8),
    "counted": st.integers(0, 30),
    "kind": st.sampled_from(["receive", "return"]),
    "tracked": st.booleans(),
    "backorder": st.booleans(),
    "again": st.booleans(),
    "fate": st.sampled_from(["paid", "cancelled", "lapsed", "lapsed and sold out"]),
}


@dataclass
class Level:
    on_hand: int = 0
    reserved: int = 0
    tracked: bool = True
    backorder: bool = False

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved

    def allows(self, on_hand: int) -> bool:
        return on_hand >= 0 and (self.backorder or self.reserved <= on_hand)


@dataclass
class Hold:
    id: UUID
    variant_id: UUID
    quantity: int
    reserved: int
    expires_at: datetime
    state: str = "active"
    extensions: int = 0
    sold: bool = False
    awaiting_stock: bool = False


@dataclass
class Order:
    id: UUID
    hold: Hold
    expires_at: datetime
    status: str = "pending"
    payment_status: str = "unpaid"
    has_lapsed: bool = False
    refunds: int = 0


class Model:
    """What stock, holds and orders are meant to do, with nothing to lock and nothing to lose."""

    def __init__(self) -> None:
        self.levels: dict[UUID, Level] = {}
        self.holds: list[Hold] = []
        self.orders: list[Order] = []

    def lapsed(self, now: datetime, variant_id: UUID | None = None) -> list[Hold]:
        return [
            hold
            for hold in self.holds
            if hold.state == "active" and hold.expires_at <= now and variant_id in (None, hold.variant_id)
        ]

    def give_back(self, hold: Hold, state: str) -> None:
        hold.state = state
        self.levels[hold.variant_id].reserved -= hold.reserved

    def can_take(self, variant_id: UUID, quantity: int, now: datetime) -> bool:
        level = self.levels[variant_id]
        lapsed = sum(hold.reserved for hold in self.lapsed(now, variant_id))
        return not level.tracked or level.backorder or level.available + lapsed >= quantity

    def take(self, hold_id: UUID, variant_id: UUID, quantity: int, now: datetime) -> Hold:
        level = self.levels[variant_id]
        if level.tracked and not level.backorder and level.available < quantity:
            for lapsed in self.lapsed(now, variant_id):
                self.give_back(lapsed, "expired")
        reserved = quantity if level.tracked else 0
        level.reserved += reserved
        self.holds.append(Hold(hold_id, variant_id, quantity, reserved, now + HOLD_TTL))
        return self.holds[-1]

    def sell(self, hold: Hold) -> None:
        level = self.levels[hold.variant_id]
        if hold.reserved > level.on_hand:
            hold.awaiting_stock = True
        else:
            level.on_hand -= hold.reserved
            level.reserved -= hold.reserved
            hold.sold = True

    def receive(self, variant_id: UUID, quantity: int) -> None:
        self.levels[variant_id].on_hand += quantity
        for hold in sorted(self.holds, key=lambda hold: hold.id):
            if hold.variant_id == variant_id and hold.awaiting_stock and not hold.sold:
                self.sell(hold)

    def cancel(self, order: Order) -> None:
        order.status = "cancelled"
        self.give_back(order.hold, "released")


class Shop(RuleBasedStateMachine):
    """The shop and its model, step by step."""

    def __init__(self, engine: Engine, clock: StoppedClock, desk: HoldDesk, make_variant: Callable[..., UUID]) -> None:
        super().__init__()
        self.engine = engine
        self.clock = clock
        self.desk = desk
        self.make_variant = make_variant
        self.model = Model()
        self.steps = 0

    def change(self) -> AbstractContextManager[Session]:
        return transaction(self.engine)

    @contextmanager
    def expect(self, refusal: type[Exception] | None) -> Iterator[Session]:
        """The block is one transaction, which must be refused in this way, or else succeed."""
        if refusal is None:
            with self.change() as session:
                yield session
        else:
            with pytest.raises(refusal), self.change() as session:
                yield session

    @initialize(units=st.integers(0, 20), few=st.integers(0, 4))
    def open_shop(self, units: int, few: int) -> None:
        """A variant with stock, one that may be backordered, and one that is not tracked."""
        # What the run before has left open must not lapse in this one.
        self.clock.tick(days=1)
        expire_orders(self.engine, now=self.clock.now())
        sweep_holds(self.engine, now=self.clock.now())
        for level in (Level(units), Level(few, backorder=True), Level(few, tracked=False)):
            variant_id = self.make_variant(stock=level.on_hand)
            self.set_level(variant_id, "allow_backorder", level.backorder)
            self.set_level(variant_id, "policy", "track" if level.tracked else "ignore")
            self.model.levels[variant_id] = level

    # One rule for all: with a rule each, hypothesis would leave most of them out of most runs.
    @rule(action=st.sampled_from(ACTIONS), data=st.data())
    def act(self, action: str, data: st.DataObject) -> None:
        note(action)
        things: dict[str, Sequence[Any]] = {
            "variant_id": list(self.model.levels),
            "hold": self.model.holds[-5:],
            "order": self.model.orders[-5:],
        }
        method = getattr(self, action)
        arguments: dict[str, Any] = {}
        for name in signature(method).parameters:
            if name in things and not things[name]:
                return
            arguments[name] = data.draw(st.sampled_from(things[name]) if name in things else CHOICES[name], name)
        method(**arguments)

    # Time, and what it brings

    def time_passes(self, minutes: int) -> None:
        self.clock.tick(minutes=minutes)

    def sweep_holds(self) -> None:
        lapsed = self.model.lapsed(self.clock.now())
        assert sweep_holds(self.engine, now=self.clock.now()) == len(lapsed)
        for hold in lapsed:
            self.model.give_back(hold, "expired")

    def expire_orders(self) -> None:
        now = self.clock.now()
        lapsed = [order for order in self.model.orders if order.status == "pending" and order.expires_at <= now]
        assert expire_orders(self.engine, now=now) == len(lapsed)
        for order in lapsed:
            self.model.cancel(order)
            order.has_lapsed = True

    # The stock room

    def receive(self, variant_id: UUID, quantity: int, kind: str) -> None:
        with self.change() as session:
            stock.receive_stock(session, variant_id, quantity, now=self.clock.now(), kind=kind)
        self.model.receive(variant_id, quantity)

    def adjust(self, variant_id: UUID, counted: int) -> None:
        level = self.model.levels[variant_id]
        allowed = counted >= level.on_hand or level.allows(counted)
        with self.expect(None if allowed else stock.StockConflict) as session:
            stock.adjust_stock(session, variant_id, counted, now=self.clock.now(), actor="x", reason="counted")
        if counted > level.on_hand:
            self.model.receive(variant_id, counted - level.on_hand)
        elif allowed:
            level.on_hand = counted

    def damage(self, variant_id: UUID, quantity: int) -> None:
        level = self.model.levels[variant_id]
        allowed = level.allows(level.on_hand - quantity)
        with self.expect(None if allowed else stock.StockConflict) as session:
            stock.damage_stock(session, variant_id, quantity, now=self.clock.now(), actor="x", reason="broken")
        if allowed:
            level.on_hand -= quantity

    def change_policy(self, variant_id: UUID, tracked: bool) -> None:
        self.set_level(variant_id, "policy", "track" if tracked else "ignore")
        self.model.levels[variant_id].tracked = tracked

    def change_backorders(self, variant_id: UUID, backorder: bool) -> None:
        level = self.model.levels[variant_id]
        allowed = backorder or level.reserved <= level.on_hand
        try:
            self.set_level(variant_id, "allow_backorder", backorder)
        except IntegrityError:
            assert not allowed
        else:
            assert allowed
            level.backorder = backorder

    def set_level(self, variant_id: UUID, column: str, value: object) -> None:
        statement = f"UPDATE stock_level SET {column} = :value WHERE variant_id = :id"  # noqa: S608
        with self.change() as session:
            session.execute(text(statement), {"value": value, "id": variant_id})

    # Holds

    def hold(self, variant_id: UUID, quantity: int) -> Hold | None:
        now = self.clock.now()
        allowed = self.model.can_take(variant_id, quantity, now)
        with self.expect(None if allowed else stock.OutOfStock) as session:
            hold_id = stock.place_hold(session, variant_id, quantity, ttl=HOLD_TTL, now=now)
        return self.model.take(hold_id, variant_id, quantity, now) if allowed else None

    def hold_at_the_desk(self, variant_id: UUID, quantity: int) -> Hold | None:
        now = self.clock.now()
        request = HoldRequest(uuid7(), variant_id, quantity, None, now, now + HOLD_TTL, b"{}")
        if self.model.can_take(variant_id, quantity, now):
            self.desk.place(request)
            return self.model.take(request.id, variant_id, quantity, now)
        with pytest.raises(stock.OutOfStock):
            self.desk.place(request)
        # What had lapsed has been given back for good, though it was not enough.
        for hold in self.model.lapsed(now, variant_id):
            self.model.give_back(hold, "expired")
        return None

    def refusal_unless_active(self, hold: Hold) -> type[Exception] | None:
        return None if hold.state == "active" and hold.expires_at > self.clock.now() else stock.HoldNotActive

    def release(self, hold: Hold) -> None:
        refusal = self.refusal_unless_active(hold)
        with self.expect(refusal) as session:
            stock.release_hold(session, locked(session, hold), now=self.clock.now())
        if refusal is None:
            self.model.give_back(hold, "released")

    def extend(self, hold: Hold) -> None:
        now = self.clock.now()
        refusal = self.refusal_unless_active(hold)
        if refusal is None and hold.extensions == MAX_EXTENSIONS:
            refusal = stock.TooManyExtensions
        with self.expect(refusal) as session:
            stock.extend_hold(session, locked(session, hold), ttl=HOLD_TTL, max_extensions=MAX_EXTENSIONS, now=now)
        if refusal is None:
            hold.extensions += 1
            hold.expires_at = now + HOLD_TTL

    # Orders

    def place_order(self, hold: Hold) -> Order | None:
        now = self.clock.now()
        refusal = placing.HoldAlreadyConverted if hold.state == "converted" else self.refusal_unless_active(hold)
        with self.expect(refusal) as session:
            order_id = placing.place_order(
                session,
                hold.id,
                placing.OrderDetails(),
                pricing=CATALOGUE_PRICES,
                buyer=Buyer(),
                payment_ttl=PAYMENT_TTL,
                now=now,
            ).id
        if refusal is not None:
            return None
        hold.state = "converted"
        self.model.orders.append(Order(order_id, hold, now + PAYMENT_TTL))
        return self.model.orders[-1]

    def cancel(self, order: Order) -> None:
        refusal = None if order.status == "pending" else orders.WrongOrderState
        with self.expect(refusal) as session:
            row = orders.lock_order(session, order.id)
            assert row is not None
            orders.cancel_order(session, row, now=self.clock.now())
        if refusal is None:
            self.model.cancel(order)

    def pay(self, order: Order, again: bool) -> None:
        """Of a lapsed order the stock is taken again, or the money is owed; of a cancelled one, it is owed."""
        now = self.clock.now()
        takes_effect = order.payment_status != "paid"
        state = self.deliver(order, "paid", again)
        assert state == ("processed" if takes_effect else "ignored")
        if not takes_effect:
            return
        order.payment_status = "paid"
        if order.status == "cancelled":
            if not order.has_lapsed or not self.model.can_take(order.hold.variant_id, order.hold.quantity, now):
                order.refunds += 1
                return
            order.hold = self.model.take(self.hold_of(order), order.hold.variant_id, order.hold.quantity, now)
            order.hold.state = "converted"
        order.status = "processing"
        self.model.sell(order.hold)

    def fail_to_pay(self, order: Order, again: bool) -> None:
        takes_effect = order.status == "pending" and order.payment_status != "paid"
        state = self.deliver(order, "failed", again)
        assert state == ("processed" if takes_effect else "ignored")
        if takes_effect:
            order.payment_status = "failed"

    def buy(self, variant_id: UUID, quantity: int, fate: str) -> None:
        """The usual steps in a row, so that a run gets far."""
        hold = self.hold(variant_id, quantity)
        order = hold and self.place_order(hold)
        if order is None:
            return
        if fate == "paid":
            self.pay(order, again=False)
        elif fate == "cancelled":
            self.cancel(order)
        else:
            self.time_passes(minutes=20)
            self.expire_orders()
            level = self.model.levels[variant_id]
            if fate == "lapsed and sold out" and level.available > 0:
                self.hold(variant_id, level.available)

    def deliver(self, order: Order, status: Literal["paid", "failed"], again: bool) -> str:
        """A webhook, delivered once or twice; its state."""
        event = ProviderEvent("manual", str(uuid7()), order.id, status, {})
        state = ""
        for duplicate in (False, True) if again else (False,):
            with self.change() as session:
                row, was_known = receive_event(session, event, b"", now=self.clock.now())
                assert was_known == duplicate
                state = row.state
        return state

    def hold_of(self, order: Order) -> UUID:
        with Session(self.engine) as session:
            [line] = session.get_one(rows.Order, order.id).lines
            assert line.hold_id is not None
            return line.hold_id

    # What must be true after every step

    @invariant()
    def the_counters_are_those_of_the_model(self) -> None:
        with Session(self.engine) as session:
            for variant_id, level in self.model.levels.items():
                found = session.get_one(StockLevel, variant_id)
                assert (found.on_hand, found.reserved) == (level.on_hand, level.reserved)

    @invariant()
    def everything_else_adds_up_every_few_steps(self) -> None:
        self.steps += 1
        if self.steps % STEPS_BETWEEN_VERIFICATIONS == 0:
            self.everything_adds_up()

    def teardown(self) -> None:
        self.everything_adds_up()

    def everything_adds_up(self) -> None:
        assert_stock_adds_up(self.engine)
        with Session(self.engine) as session:
            for hold in self.model.holds:
                found = session.get_one(rows.Hold, hold.id)
                assert (found.state, found.reserved, found.extensions, found.sold_at is not None) == (
                    hold.state,
                    hold.reserved,
                    hold.extensions,
                    hold.sold,
                )
            for order in self.model.orders:
                row = session.get_one(rows.Order, order.id)
                assert (row.status, row.payment_status) == (order.status, order.payment_status)
                refunds = session.scalars(select(rows.Refund).where(rows.Refund.order_id == order.id)).all()
                assert [refund.amount for refund in refunds] == [row.total] * order.refunds


def locked(session: Session, hold: Hold) -> rows.Hold:
    row = stock.get_hold(session, hold.id, lock=True)
    assert row is not None
    return row


def test_whatever_happens_the_stock_is_that_of_the_model(
    engine: Engine,
    clock: StoppedClock,
    database_url: str,
    settings: CoreSettings,
    make_variant: Callable[..., UUID],
) -> None:
    desk = HoldDesk(database_url, settings.sqlalchemy, settings.stock, clock, lambda event, hold_ids: None)
    try:
        run_state_machine_as_test(
            lambda: Shop(engine, clock, desk, make_variant),
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
    finally:
        desk.close()
