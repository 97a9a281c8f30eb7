"""Orders that lapse while a payment is open at a provider: it is closed first, and the last moment counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.bank import Bank
from support.till import Till, states

from commerce_core.database import transaction
from commerce_core.orders.service import lock_order
from commerce_core.payments.closing import MOST_ATTEMPTS
from commerce_core.payments.models import Payment
from commerce_core.payments.provider import Closing, ProviderEvent, RefundResult
from commerce_core.payments.refunds import RefundTooLarge, record_foreign_refund
from commerce_core.payments.service import settle
from commerce_core.testing import StoppedClock, assert_stock_adds_up

Tell = Callable[..., str | None]


@pytest.fixture
def bank(application: Any) -> Bank:
    made = application.registry.payment_providers["bank"] = Bank()
    return made


@pytest.fixture
def placed(bank: Bank, till: Till, make_variant: Callable[..., UUID]) -> Any:
    """An order whose payment is open at the bank."""
    return till.order({make_variant(stock=1): 1}, payment={"provider": "bank"})


@pytest.fixture
def tell(engine: Engine, clock: StoppedClock) -> Tell:
    """`tell(order, "paid", reference="pay-1")`: what a provider says that files its webhooks itself."""

    def tell(order: Any, status: Any, reference: str | None = None, **more: Any) -> str | None:
        with transaction(engine) as session:
            locked = lock_order(session, UUID(order["id"]))
            assert locked is not None
            event = ProviderEvent("bank", "evt", locked.id, status, {}, provider_reference=reference, **more)
            return settle(session, locked, event, now=clock.now())

    return tell


def payments(order: Any, till: Till) -> list[str]:
    return [payment["status"] for payment in till.show(order)["payments"]]


def test_an_open_payment_is_closed_before_its_order_lapses(
    bank: Bank, placed: Any, till: Till, clock: StoppedClock, run_jobs: Callable[[], int]
) -> None:
    clock.tick(hours=1)
    run_jobs()
    assert [(str(each.order_id), each.amount) for each in bank.closed] == [(placed["id"], placed["total"]["amount"])]
    assert till.show(placed)["status"] == "cancelled"
    assert payments(placed, till) == ["cancelled"]


def test_what_was_paid_in_the_last_moment_is_paid(
    bank: Bank, placed: Any, till: Till, clock: StoppedClock, run_jobs: Callable[[], int], engine: Engine
) -> None:
    bank.closing = Closing("paid", reference="pay-1")
    clock.tick(hours=1)
    run_jobs()
    assert states(till.show(placed)) == ("processing", "paid", "unfulfilled")
    assert_stock_adds_up(engine)


def test_an_order_whose_payment_is_on_the_way_does_not_lapse(
    bank: Bank, placed: Any, till: Till, clock: StoppedClock, run_jobs: Callable[[], int]
) -> None:
    bank.closing = Closing("processing", until=clock.now() + timedelta(days=3))
    clock.tick(hours=1)
    run_jobs()
    clock.tick(days=2)
    run_jobs()
    assert states(till.show(placed)) == ("pending", "pending", "unfulfilled")
    bank.closing = Closing("closed")
    clock.tick(days=1)
    run_jobs()
    assert till.show(placed)["status"] == "cancelled"


def test_a_provider_that_is_away_is_asked_again_but_not_for_ever(
    bank: Bank, placed: Any, till: Till, clock: StoppedClock, run_jobs: Callable[[], int]
) -> None:
    bank.mood = "away"
    clock.tick(hours=1)
    for _ in range(MOST_ATTEMPTS):
        run_jobs()
        assert till.show(placed)["status"] == "pending"
        clock.tick(minutes=1)
    run_jobs()
    assert till.show(placed)["status"] == "cancelled"
    assert len(bank.closed) == MOST_ATTEMPTS + 1


def test_an_order_waits_for_its_bank_and_is_hurried_when_that_fails(
    placed: Any, till: Till, clock: StoppedClock, tell: Tell, run_jobs: Callable[[], int]
) -> None:
    tell(placed, "processing", "pay-1", until=clock.now() + timedelta(days=10))
    clock.tick(days=5)
    run_jobs()
    assert states(till.show(placed)) == ("pending", "pending", "unfulfilled")
    assert tell(placed, "failed", "pay-1", until=clock.now() + timedelta(minutes=30)) is None
    assert states(till.show(placed)) == ("pending", "failed", "unfulfilled")
    clock.tick(minutes=31)
    run_jobs()
    assert till.show(placed)["status"] == "cancelled"


def test_a_payment_told_by_our_id_is_that_one_and_ends_the_others(placed: Any, till: Till, tell: Tell) -> None:
    first = UUID(placed["payments"][0]["id"])
    tell(placed, "failed", "pay-1", payment_id=first, error="declined")
    second = till.staff.post_json(f"/api/v1/orders/{placed['id']}/payments", {"provider": "bank"}).json["payment"]
    assert tell(placed, "failed", "pay-1", payment_id=first) is None
    assert till.show(placed)["payment_status"] == "pending", "the second one is still open"
    tell(placed, "paid", "pay-1", payment_id=first)
    assert payments(placed, till) == ["paid", "cancelled"]
    assert tell(placed, "cancelled", "pay-2", payment_id=UUID(second["id"])) is not None
    tell(placed, "paid", "pay-2", payment_id=UUID(second["id"]))
    assert [payment["status"] for payment in till.show(placed)["payments"]] == ["paid", "paid"]
    assert till.show(placed)["refundable"]["amount"] == placed["total"]["amount"], "the surplus is no part of the order"


def test_money_that_somebody_gave_back_at_the_provider_counts(
    placed: Any, till: Till, tell: Tell, engine: Engine, clock: StoppedClock
) -> None:
    tell(placed, "paid", "pay-1")
    total = placed["total"]["amount"]

    def foreign(session: Session, amount: int) -> Any:
        order = lock_order(session, UUID(placed["id"]))
        assert order is not None
        payment = session.get_one(Payment, UUID(placed["payments"][0]["id"]), with_for_update=True)
        result = RefundResult("succeeded", "re-1")
        return record_foreign_refund(session, order, payment, amount, result, reason="x", now=clock.now())

    with transaction(engine) as session:
        foreign(session, 100)
    shown = till.show(placed)
    assert states(shown) == ("processing", "partially_refunded", "unfulfilled")
    with pytest.raises(RefundTooLarge), transaction(engine) as session:
        foreign(session, total - 99)
    with transaction(engine) as session:
        foreign(session, total - 100)
    assert till.show(placed)["payment_status"] == "refunded"
