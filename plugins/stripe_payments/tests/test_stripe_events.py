"""Using events: D2 to D12 of the plugin's README, W16 and what staff can do about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.webhooks import processing, replay
from commerce_stripe_payments.webhooks.handlers import EventHandler
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from stripe_shop import API, Shop
from stripe_signing import SETTINGS, THIN_SECRET, event
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.jobs.models import Job
from commerce_core.jobs.runner import Runner
from commerce_core.testing import assert_stock_adds_up, concurrently

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
Events = Callable[[], Sequence[StripeEvent]]
EVENTS = f"{API}/admin/stripe/events"


def jobs_of(shop: Shop) -> list[Job]:
    with Session(shop.engine) as session:
        return list(session.scalars(select(Job).where(Job.name == "stripe.process_event").order_by(Job.id)))


def test_d1_fifty_deliveries_of_a_payment_at_once_pay_once(shop: Shop, events: Events) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.deliver("payment_intent.succeeded", copies=50, in_parallel=True)
    shop.work()
    assert [(row.type, row.state) for row in events()] == [("payment_intent.succeeded", "processed")]
    assert shop.states(order) == ("processing", "paid")
    assert (shop.level(order), shop.mails().count("order-paid")) == ((9, 0), 1)


def test_d2_what_dies_before_the_commit_has_done_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.deliver("payment_intent.succeeded")

    class Died(BaseException):
        pass

    with monkeypatch.context() as patched:
        flush = Session.flush

        def die(session: Session, *given: Any) -> None:
            flush(session, *given)
            for row in session.identity_map.values():
                if isinstance(row, StripeEvent) and row.state == "processed":
                    raise Died

        patched.setattr(Session, "flush", die)
        with pytest.raises(Died):
            shop.work()
    assert shop.states(order) == ("pending", "pending")
    with transaction(shop.engine) as session:
        # Whoever looks after jobs finds that their worker is dead.
        lost = {"state": "waiting", "worker": None, "heartbeat_at": None}
        session.query(Job).filter(Job.state == "running").update(lost)
    shop.work()
    assert shop.states(order) == ("processing", "paid")
    assert shop.level(order) == (9, 0)
    assert shop.mails().count("order-paid") == 1


def test_d3_one_event_in_two_workers_at_once_takes_effect_once(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.deliver("payment_intent.succeeded")
    shop.hand_out()
    [job] = jobs_of(shop)
    with transaction(shop.engine) as session:
        [row] = session.scalars(select(StripeEvent)).all()
        for _ in range(5):
            processing.process_event.enqueue(session, now=shop.clock.now(), event=row.id)
    registry = shop.application.registry
    runners = [Runner(registry, registry.engine, f"worker-{number}") for number in range(6)]
    jobs = jobs_of(shop)
    concurrently([lambda pair=pair: pair[0].run(pair[1].id) for pair in zip(runners, jobs, strict=True)])
    shop.work()
    assert [found.state for found in jobs_of(shop)] == ["done"] * 6
    assert job.id == jobs[0].id
    assert shop.states(order) == ("processing", "paid")
    assert shop.mails().count("order-paid") == 1
    assert_stock_adds_up(shop.engine)


def test_d4_many_ways_to_hear_of_one_payment(shop: Shop) -> None:
    order = shop.order()
    intent = shop.pay(order)
    back = f"{API}/payments/stripe/return?payment_intent={intent}"
    shop.guest().get(back)
    shop.tell(copies=2, shuffle_seed=1)
    shop.guest().get(back)
    assert shop.states(order) == ("processing", "paid")
    assert shop.mails() == ["order-placed", "order-paid"]
    with Session(shop.engine) as session:
        assert session.execute(text("SELECT count(*) FROM payment")).scalar() == 1


def test_d5_d7_news_of_long_ago_unpay_nothing(shop: Shop, events: Events) -> None:
    """All of one second, too: what counts is what is true at Stripe, not what an event says of its time."""
    order = shop.order()
    intent = shop.pay(order, "pm_card_visa_chargeDeclined")
    shop.fake.confirm(intent)
    told = [each.event["type"] for each in shop.fake.outbox.pending()]
    assert told == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    for type in reversed(told):
        shop.tell(type)
        assert shop.states(order) == ("processing", "paid")
    assert {row.created for row in events()} == {events()[0].created}
    assert shop.mails() == ["order-placed", "order-paid"]


def test_d6_a_refund_that_is_told_before_its_payment(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.refund(shop.intent_id(order), 500)
    shop.tell("refund.created")
    assert shop.states(order) == ("processing", "partially_refunded")
    shop.tell()
    assert shop.states(order) == ("processing", "partially_refunded")
    assert shop.show(order)["refundable"]["amount"] == 1_499


def test_d8_what_is_not_known_yet_is_looked_for_again_and_then_parked(shop: Shop, events: Events) -> None:
    metadata = {"commerce_site": str(shop.stripe.site), "commerce_attempt": str(UUID(int=1))}
    params: Any = {"amount": 1_999, "currency": "usd", "metadata": metadata}
    made = shop.fake.client().v1.payment_intents.create(params)
    shop.fake.client().v1.payment_intents.create({"amount": 1_999, "currency": "usd"})
    shop.tell()
    assert [(row.state, row.detail) for row in events()] == [
        ("unmatched", "no attempt of ours (yet)"),
        ("ignored", "foreign: nothing that this shop has made"),
    ]
    waits = []
    for _ in range(10):
        [waiting] = [job.run_at for job in jobs_of(shop) if job.state == "waiting"] or [None]
        if waiting is None:
            break
        waits.append((waiting - shop.clock.now()).total_seconds())
        shop.clock.set(waiting)
        shop.work()
    assert waits == [10, 60, 300, 900, 900, 900]
    found = shop.staff.get(f"{EVENTS}?state=unmatched").json["data"]
    assert [row["object_id"] for row in found] == [made.id]


def test_d8_what_is_found_later_is_used(shop: Shop, events: Events) -> None:
    order = shop.order()
    shop.pay(order)
    [attempt] = shop.attempts(order)
    with transaction(shop.engine) as session:
        session.execute(text("UPDATE stripe_attempt SET intent_id = NULL, id = :other"), {"other": UUID(int=5)})
    shop.tell("payment_intent.succeeded")
    assert events()[0].state == "unmatched"
    with transaction(shop.engine) as session:
        session.execute(text("UPDATE stripe_attempt SET id = :id"), {"id": attempt.id})
    shop.clock.tick(seconds=10)
    shop.work()
    assert shop.states(order) == ("processing", "paid")


def test_d9_what_is_true_now_counts_and_not_what_the_event_says(shop: Shop, events: Events) -> None:
    order = shop.order()
    shop.intent(order)
    shop.fake.confirm(shop.intent_id(order))
    shop.tell("payment_intent.created")
    assert shop.states(order) == ("processing", "paid")
    shop.fake.emit("payment_intent.succeeded", {"id": "pi_gone", "object": "payment_intent"})
    shop.tell()
    assert (events()[-1].state, events()[-1].detail) == ("ignored", "gone: Stripe has no such object")


def test_d9_a_stripe_that_is_away_is_asked_again(shop: Shop, events: Events) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.go_wrong("GET /v1/payment_intents/*", status=503, times=2)
    shop.tell("payment_intent.succeeded")
    assert (events()[0].state, events()[0].attempts) == ("received", 1)
    for seconds in (6, 18):
        shop.clock.tick(seconds=seconds)
        shop.work()
    assert shop.states(order) == ("processing", "paid")


def test_d10_everything_used_again_changes_nothing(shop: Shop, events: Events) -> None:
    order = shop.buy()
    shop.refund(order, 500)
    shop.work()
    shop.tell()
    before = (shop.show(order), shop.mails(), shop.level(order))
    for _ in range(2):
        for row in events():
            with transaction(shop.engine) as session:
                replay.replay(session, session.get_one(StripeEvent, row.id), now=shop.clock.now())
        shop.work()
    assert {row.state for row in events()} <= {"processed", "ignored"}
    assert (shop.show(order), shop.mails(), shop.level(order)) == before


def test_d10_events_are_chosen_by_id_type_state_and_time(shop: Shop, engine: Any) -> None:
    shop.buy()
    with Session(engine) as session:
        every = replay.choose(session)
        assert {row.type for row in replay.choose(session, type="charge.*")} == {"charge.succeeded"}
        assert [row.id for row in replay.choose(session, event_id=every[0].event_id)] == [every[0].id]
        assert replay.choose(session, since=shop.clock.now() + timedelta(seconds=1)) == []
        assert replay.choose(session, until=shop.clock.now() + timedelta(seconds=1)) == every
        assert replay.choose(session, state="dead") == []


def test_d10_after_an_outage_what_was_not_told_is_fetched(shop: Shop, events: Events) -> None:
    order = shop.order()
    shop.pay(order)
    shop.fake.deliver(is_lost=True)
    registry, since = shop.application.registry, shop.clock.now() - timedelta(hours=1)

    def catch_up(**how: Any) -> list[bool]:
        return [new for _, _, new in replay.catch_up(registry, since=since, only_undelivered=True, **how)]

    assert catch_up(dry_run=True) == [True] * 3
    assert list(events()) == []
    assert catch_up(dry_run=False) == [True] * 3
    assert catch_up(dry_run=False) == [False] * 3
    shop.work()
    assert shop.states(order) == ("processing", "paid")


def test_d11_a_poisoned_event_is_kept_for_the_staff_and_holds_nobody_up(
    shop: Shop, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shop.order()
    shop.pay(order)
    handlers = shop.stripe.handlers

    def explode(*_: Any) -> Any:
        raise RuntimeError("boom")

    with monkeypatch.context() as patched:
        patched.setitem(handlers, "charge.succeeded", EventHandler(explode))
        shop.tell()
        assert shop.states(order) == ("processing", "paid")
        for _ in processing.RETRY:
            shop.clock.tick(hours=3)
            shop.work()
    [dead] = shop.staff.get(f"{EVENTS}?state=dead").json["data"]
    assert (dead["type"], dead["detail"]) == ("charge.succeeded", "RuntimeError: boom")
    assert dead["attempts"] == len(processing.RETRY) + 1
    again = shop.staff.post_json(f"{EVENTS}/{dead['id']}/replay", {}).json
    assert again["state"] == "received"
    shop.work()
    assert shop.staff.get(f"{EVENTS}?type=charge.succeeded").json["data"][0]["state"] == "ignored"


def test_d11_staff_alone_see_events(shop: Shop, sign_in: Any) -> None:
    shop.guest().get(EVENTS, status=401)
    customer: TestApp = sign_in("customer").client
    customer.get(EVENTS, status=403)
    customer.post_json(f"{EVENTS}/{UUID(int=1)}/replay", {}, status=403)
    shop.staff.post_json(f"{EVENTS}/{UUID(int=1)}/replay", {}, status=404)


def test_d11_what_is_of_another_mode_is_not_used_again(shop: Shop, sender: Any) -> None:
    sender.send(event(livemode=True))
    [row] = shop.staff.get(EVENTS).json["data"]
    problem = shop.staff.post_json(f"{EVENTS}/{row['id']}/replay", {}, status=409).json
    assert problem["type"] == "/problems/stripe/nothing-to-replay"


def test_d12_used_events_are_forgotten_and_others_never(shop: Shop, events: Events) -> None:
    shop.buy()
    metadata = {"commerce_site": str(shop.stripe.site), "commerce_attempt": str(UUID(int=1))}
    shop.fake.client().v1.payment_intents.create({"amount": 1_999, "currency": "usd", "metadata": metadata})
    shop.tell()
    assert len(events()) > 1
    shop.clock.tick(days=31)
    shop.work()
    assert [row.state for row in events()] == ["unmatched"]


def test_w16_a_thin_event_is_used_by_what_it_is_about(shop: Shop, sender: Any, events: Events) -> None:
    order = shop.order()
    intent = shop.pay(order)
    thin = shop.fake.send_to(lambda body, headers: 200, THIN_SECRET, is_thin=True)
    shop.fake.emit("payment_intent.succeeded", shop.fake.world.objects[intent])
    shop.fake.emit("something.new", shop.fake.world.objects[intent])
    for delivery in shop.fake.outbox.pending():
        if delivery.endpoint is thin:
            body, headers = shop.fake.outbox.message(delivery)
            sender.post(body, headers["Stripe-Signature"], path="/webhooks/stripe/thin")
    shop.work()
    assert shop.states(order) == ("processing", "paid")
    assert [(row.type, row.state) for row in events()] == [
        ("payment_intent.succeeded", "processed"),
        ("something.new", "ignored"),
    ]
    shop.tell()
    assert shop.mails().count("order-paid") == 1


def test_w16_the_twin_of_an_event_that_is_known_is_ignored(shop: Shop, sender: Any, events: Events) -> None:
    shop.buy()
    thin = shop.fake.send_to(lambda body, headers: 200, THIN_SECRET, is_thin=True)
    order = shop.order()
    shop.pay(order)
    shop.tell("payment_intent.succeeded")
    told = [each for each in shop.fake.outbox.deliveries if each.endpoint is thin]
    for delivery in itertools.islice((each for each in told if each.event["type"] == "payment_intent.succeeded"), 1):
        body, headers = shop.fake.outbox.message(delivery)
        sender.post(body, headers["Stripe-Signature"], path="/webhooks/stripe/thin")
    shop.work()
    assert events()[-1].is_thin
    assert (events()[-1].state, (events()[-1].detail or "").split(":")[0]) == ("ignored", "twin")
