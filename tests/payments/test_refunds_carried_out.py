"""Refunds that a provider has to be asked for: exactly once, whatever it does, and whoever dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

import pytest
from sqlalchemy import Engine
from support.bank import Bank
from support.till import API, Till
from webtest import TestApp

from commerce_core.database import transaction, uuid7
from commerce_core.events import RefundFailed, RefundSucceeded
from commerce_core.payments import refunds, sweep
from commerce_core.payments.provider import ProviderEvent, RefundResult
from commerce_core.payments.service import receive_event
from commerce_core.payments.sweep import carry_out_refunds
from commerce_core.testing import StoppedClock, assert_stock_adds_up, concurrently

MakeVariant = Callable[..., UUID]


@pytest.fixture
def bank(application: Any) -> Bank:
    made = application.registry.payment_providers["bank"] = Bank()
    return made


@pytest.fixture
def bought(bank: Bank, till: Till, make_variant: MakeVariant, engine: Engine, clock: StoppedClock) -> Any:
    """An order of 1000, paid at the bank."""
    placed = till.order({make_variant(price_amount=1_000): 1}, payment={"provider": "bank"})
    tell(engine, clock, placed, "paid", reference="pay-1")
    return placed


@pytest.fixture
def sweep_refunds(engine: Engine, application: Any) -> Callable[[], int]:
    return lambda: carry_out_refunds(engine, application.registry)


def tell(
    engine: Engine,
    clock: StoppedClock,
    order: Any,
    status: Literal["paid", "failed", "refund_succeeded", "refund_failed"],
    *,
    reference: str | None = None,
    refund: Any = None,
) -> str:
    """The bank's webhook; what became of it."""
    event = ProviderEvent(
        "bank",
        str(uuid7()),
        UUID(order["id"]),
        status,
        {},
        provider_reference=reference,
        refund_id=None if refund is None else UUID(refund["id"]),
        error="bounced" if status == "refund_failed" else None,
    )
    with transaction(engine) as session:
        return receive_event(session, event, b"", now=clock.now())[0].state


def refund_of(till: Till, refund: Any) -> Any:
    (found,) = [each for each in till.staff.get(f"{API}/admin/refunds").json["data"] if each["id"] == refund["id"]]
    return found


def test_the_provider_is_asked_after_the_commit_with_what_it_needs(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], engine: Engine
) -> None:
    refund = till.refund(bought, 1, reason="broken")
    assert (refund["status"], bank.calls, till.show(bought)["payment_status"]) == ("pending", [], "paid")
    assert sweep_refunds() == 1
    assert sweep_refunds() == 0
    (call,) = bank.calls
    assert (call.idempotency_key, call.payment_reference, call.amount, call.currency, call.reason) == (
        refund["id"],
        "pay-1",
        1_000,
        "USD",
        "broken",
    )
    carried_out = refund_of(till, refund)
    assert (carried_out["status"], carried_out["provider_reference"]) == ("succeeded", "re-1")
    assert till.show(bought)["payment_status"] == "refunded"
    assert_stock_adds_up(engine)


def test_a_provider_that_is_away_is_asked_again_later_and_later(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], clock: StoppedClock, engine: Engine
) -> None:
    refund = till.refund(bought, 1)
    bank.mood = "away"
    pauses = []
    for _ in range(5):
        sweep_refunds()
        asked = len(bank.calls)
        seconds = 0
        while len(bank.calls) == asked:
            clock.tick(seconds=10)
            seconds += 10
            sweep_refunds()
        pauses.append(seconds)
    # Each count includes the call that ended the pause, so the next pause begins with it.
    assert pauses[:4] == [10, 60, 300, 1800]
    assert refund_of(till, refund)["error"] == "the bank is closed"
    bank.mood = "well"
    clock.tick(minutes=30)
    sweep_refunds()
    assert (refund_of(till, refund)["status"], bank.total) == ("succeeded", 1_000)
    assert_stock_adds_up(engine)


def test_an_answer_that_is_lost_does_not_give_the_money_back_twice(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], clock: StoppedClock
) -> None:
    refund = till.refund(bought, 1)
    bank.mood = "slow"
    sweep_refunds()
    bank.mood = "well"
    clock.tick(seconds=10)
    sweep_refunds()
    assert (len(bank.calls), bank.total, refund_of(till, refund)["status"]) == (2, 1_000, "succeeded")


def test_a_process_killed_between_the_call_and_the_record_asks_again_with_the_same_key(
    bank: Bank,
    till: Till,
    bought: Any,
    sweep_refunds: Callable[[], int],
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    refund = till.refund(bought, 1)
    with monkeypatch.context() as patched:
        patched.setattr(sweep, "record_result", die)
        with pytest.raises(Killed):
            sweep_refunds()
    assert sweep_refunds() == 0  # nobody knows yet that it is dead
    clock.tick(minutes=2)
    assert sweep_refunds() == 1
    assert [call.idempotency_key for call in bank.calls] == [refund["id"]] * 2
    assert (bank.total, refund_of(till, refund)["status"]) == (1_000, "succeeded")


def test_several_sweepers_ask_once(
    bank: Bank, application: Any, till: Till, bought: Any, engine: Engine, sweep_refunds: Callable[[], int]
) -> None:
    for _ in range(10):
        till.refund(bought, amount=100)
    answers = concurrently([sweep_refunds] * 4)
    assert sum(answer for answer in answers if isinstance(answer, int)) == 10, answers
    assert (len(bank.calls), bank.total) == (10, 1_000)
    assert till.show(bought)["payment_status"] == "refunded"
    assert_stock_adds_up(engine)


def test_what_the_provider_declines_is_kept_listed_and_tried_again_as_a_new_request(
    application: Any, bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], engine: Engine
) -> None:
    refund = till.refund(bought, 1)
    bank.mood = "no"
    assert sweep_refunds() == 0
    (failed,) = till.staff.get(f"{API}/admin/refunds?status=failed").json["data"]
    assert (failed["id"], failed["error"]) == (refund["id"], "the card is closed")
    assert till.show(bought)["payment_status"] == "paid"
    till.refund(bought, amount=1, status=409)  # it is still owed
    assert_stock_adds_up(engine)
    bank.mood = "well"
    assert sweep_refunds() == 0
    path = f"{API}/admin/refunds/{refund['id']}/retry"
    assert till.staff.post_json(path, {}).json["status"] == "pending"
    assert till.staff.post_json(path, {}, status=409).json["type"] == "/problems/wrong-refund-state"
    assert sweep_refunds() == 1
    assert [call.idempotency_key for call in bank.calls] == [refund["id"], f"{refund['id']}-1"]
    assert bank.total == 1_000
    assert till.show(bought)["payment_status"] == "refunded"


def test_what_was_given_up_is_tried_again_with_the_same_key(
    bank: Bank,
    till: Till,
    bought: Any,
    sweep_refunds: Callable[[], int],
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refunds, "MOST_ATTEMPTS", 2)
    refund = till.refund(bought, 1)
    bank.mood = "slow"
    for _ in range(3):
        sweep_refunds()
        clock.tick(hours=1)
    assert (refund_of(till, refund)["status"], len(bank.calls)) == ("failed", 2)
    bank.mood = "well"
    till.staff.post_json(f"{API}/admin/refunds/{refund['id']}/retry", {})
    sweep_refunds()
    assert {call.idempotency_key for call in bank.calls} == {refund["id"]}
    assert (refund_of(till, refund)["status"], bank.total) == ("succeeded", 1_000)


def test_what_is_pending_at_the_provider_is_ended_by_its_webhook(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], engine: Engine, clock: StoppedClock
) -> None:
    refund = till.refund(bought, 1)
    bank.mood = "later"
    assert sweep_refunds() == 1
    assert refund_of(till, refund)["status"] == "pending"
    assert tell(engine, clock, bought, "refund_succeeded", refund=refund) == "processed"
    assert tell(engine, clock, bought, "refund_succeeded", refund=refund) == "ignored"
    assert till.show(bought)["payment_status"] == "refunded"
    clock.tick(hours=2)
    assert sweep_refunds() == 0
    assert_stock_adds_up(engine)


def test_a_webhook_that_never_comes_is_asked_after(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], clock: StoppedClock
) -> None:
    refund = till.refund(bought, 1)
    bank.mood = "later"
    sweep_refunds()
    clock.tick(hours=1)
    sweep_refunds()
    assert {call.idempotency_key for call in bank.calls} == {refund["id"]}
    assert (len(bank.calls), bank.total) == (2, 1_000)


def test_money_that_comes_back_to_the_shop_is_owed_again(
    bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], engine: Engine, clock: StoppedClock
) -> None:
    refund = till.refund(bought, amount=400)
    sweep_refunds()
    assert till.show(bought)["payment_status"] == "partially_refunded"
    assert tell(engine, clock, bought, "refund_failed", refund=refund) == "processed"
    assert till.show(bought)["payment_status"] == "paid"
    assert refund_of(till, refund)["error"] == "bounced"
    assert_stock_adds_up(engine)


def test_a_webhook_that_overtakes_the_answer_stands(
    bank: Bank, till: Till, bought: Any, engine: Engine, clock: StoppedClock
) -> None:
    refund = till.refund(bought, 1)
    with transaction(engine) as session:
        claimed = refunds.claim_due_refund(session, now=clock.now())
    assert claimed is not None
    tell(engine, clock, bought, "refund_succeeded", refund=refund)
    with transaction(engine) as session:
        refunds.record_result(session, claimed[2].id, claimed[1], RefundResult("pending"), now=clock.now())
    assert refund_of(till, refund)["status"] == "succeeded"


def test_a_refund_of_another_order_is_not_touched_by_a_webhook(
    bank: Bank, till: Till, bought: Any, engine: Engine, clock: StoppedClock, make_variant: MakeVariant
) -> None:
    refund = till.refund(bought, 1)
    other = till.order({make_variant(): 1})
    assert tell(engine, clock, other, "refund_succeeded", refund=refund) == "ignored"
    assert refund_of(till, refund)["status"] == "pending"


def test_one_provider_in_trouble_keeps_no_other_waiting(
    application: Any,
    bank: Bank,
    till: Till,
    bought: Any,
    client: TestApp,
    sweep_refunds: Callable[[], int],
    make_variant: MakeVariant,
) -> None:
    bank.mood = "away"
    for _ in range(3):
        till.refund(bought, amount=100)
    gone = till.order({make_variant(): 1})
    till.staff.post_json(f"{API}/admin/orders/{gone['id']}/cancel", {})
    till.pay(gone)  # by the manual provider, and too late
    assert sweep_refunds() == 1
    assert len(bank.calls) == 1
    assert till.show(gone)["payment_status"] == "refunded"


def test_a_provider_that_is_not_configured_any_more_loses_no_refund(
    application: Any, bank: Bank, till: Till, bought: Any, sweep_refunds: Callable[[], int], clock: StoppedClock
) -> None:
    refund = till.refund(bought, 1)
    del application.registry.payment_providers["bank"]
    sweep_refunds()
    assert refund_of(till, refund)["error"] == "No payment provider is called 'bank'."
    application.registry.payment_providers["bank"] = bank
    clock.tick(seconds=10)
    assert sweep_refunds() == 1


def test_what_became_of_a_refund_is_told(till: Till, application: Any, make_variant: MakeVariant) -> None:
    told: list[Any] = []
    for event in (RefundSucceeded, RefundFailed):
        application.registry.bus.subscribe(event, told.append)
    bought = till.buy({make_variant(): 1})
    refund = till.refund(bought, amount=100)
    assert told == [
        RefundSucceeded(order_id=UUID(bought["id"]), refund_id=UUID(refund["id"]), amount=100, currency="USD")
    ]
