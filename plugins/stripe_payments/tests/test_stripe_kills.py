"""A worker is killed, with signal 9, before and after every statement and every commit of what it does with money.

D2 of the plugin's README. Whatever the moment: after a restart it has happened, and once.
"""

from __future__ import annotations

import itertools
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from commerce_stripe_payments.payments.calls import carry_out
from sqlalchemy import event, text
from sqlalchemy.orm import Session
from stripe_shop import Shop
from stripe_signing import SETTINGS

from commerce_core.jobs.queries import due_ids
from commerce_core.jobs.runner import Runner
from commerce_core.payments.sweep import carry_out_refunds
from commerce_core.testing import assert_stock_adds_up

pytestmark = [
    pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed in the middle of it"),
]
# Of every so many moments one, so that the usual run is quick; another one in each round.
STEP = 1 if os.environ.get("COMMERCE_SOAK") else 9


def in_a_process_that_dies(shop: Shop, moment: int, act: Callable[[], object]) -> bool:
    """Do it in a process of its own, which is killed at one of the moments that pass, from 0 on; whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, and they are the fake's
        child = os.fork()
    if child == 0:
        try:
            _die_at(shop, moment)
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _die_at(shop: Shop, moment: int) -> None:
    engine = shop.application.registry.engine
    # The connections are the parent's.
    engine.dispose(close=False)
    left = itertools.count(moment, -1)

    def passes(*_: Any) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    commit = engine.dialect.do_commit

    def commit_in_danger(connection: Any) -> None:
        passes()
        commit(connection)
        passes()

    event.listen(engine, "before_cursor_execute", passes)
    event.listen(engine, "after_cursor_execute", passes)
    engine.dialect.do_commit = commit_in_danger


def next_job(shop: Shop) -> Callable[[], object]:
    """What runs the job that is due, as a worker does."""
    registry = shop.application.registry
    with Session(shop.engine) as session:
        [job_id] = due_ids(session, now=shop.clock.now(), limit=2)
    return lambda: Runner(registry, registry.engine, "a-worker-that-dies").run(job_id)


def revive(shop: Shop) -> None:
    """The next worker finds what the dead one has left."""
    for _ in range(2):
        shop.clock.tick(seconds=61)
        shop.work()
    with shop.engine.connect() as connection:
        open_ones = text("SELECT name, state, error FROM job WHERE state NOT IN ('done', 'waiting')")
        assert connection.execute(open_ones).all() == []


def every_moment(scenario: Callable[[int], bool]) -> int:
    """Play a scenario with a death at each moment, until it comes to its end alive; how many died."""
    return next(died for died, moment in enumerate(itertools.count(0, STEP)) if not scenario(moment))


def test_a_worker_that_dies_while_it_uses_an_event(shop: Shop) -> None:
    variant = shop.make_variant(stock=10_000)

    def scenario(moment: int) -> bool:
        order = shop.order(variant=variant)
        shop.pay(order)
        before = shop.level(order)
        shop.work()  # the mail about the order
        shop.fake.deliver("payment_intent.succeeded")
        shop.hand_out()
        died = in_a_process_that_dies(shop, moment, next_job(shop))
        revive(shop)
        assert shop.states(order) == ("processing", "paid"), moment
        assert shop.level(order) == (before[0] - 1, before[1] - 1), moment
        assert _count(shop, order, "orders.mail_paid") == 1, moment
        shop.tell()
        assert _count(shop, order, "orders.mail_paid") == 1, moment
        return died

    assert every_moment(scenario) * STEP > 15
    assert_stock_adds_up(shop.engine)


def test_what_dies_while_it_takes_an_event_in_and_hands_it_out(shop: Shop) -> None:
    """Between the signature and the answer, and between the event and its job. Stripe tells again."""
    variant = shop.make_variant(stock=10_000)

    def take_in() -> None:
        shop.fake.deliver("payment_intent.succeeded")
        shop.hand_out()

    def scenario(moment: int) -> bool:
        order = shop.order(variant=variant)
        shop.pay(order)
        before = shop.level(order)
        died = in_a_process_that_dies(shop, moment, take_in)
        shop.fake.deliver("payment_intent.succeeded")
        revive(shop)
        assert shop.states(order) == ("processing", "paid"), moment
        assert shop.level(order) == (before[0] - 1, before[1] - 1), moment
        assert _count(shop, order, "orders.mail_paid") == 1, moment
        shop.tell()
        return died

    assert every_moment(scenario) * STEP > 8
    assert_stock_adds_up(shop.engine)


def test_a_worker_that_dies_while_it_gives_money_back(shop: Shop) -> None:
    variant = shop.make_variant(stock=10_000)

    def scenario(moment: int) -> bool:
        order = shop.buy(variant=variant)
        shop.refund(order, 500)
        registry = shop.application.registry
        died = in_a_process_that_dies(shop, moment, lambda: carry_out_refunds(registry.engine, registry))
        revive(shop)
        made = shop.fake.client().v1.refunds.list({"payment_intent": shop.intent_id(order)}).data
        assert [refund.amount for refund in made] == [500], moment
        shop.tell()
        shown = shop.show(order)
        assert (shown["payment_status"], shown["refundable"]["amount"]) == ("partially_refunded", 9_499), moment
        return died

    assert every_moment(scenario) * STEP > 10
    assert_stock_adds_up(shop.engine)


def test_a_worker_that_dies_while_it_makes_an_intent(shop: Shop) -> None:
    variant = shop.make_variant(stock=10_000)

    def scenario(moment: int) -> bool:
        order = shop.order(variant=variant)
        shop.fake.go_wrong("POST /v1/payment_intents", "cut")
        shop.intent(order)
        [attempt] = shop.attempts(order)
        now = shop.clock.now()
        died = in_a_process_that_dies(shop, moment, lambda: carry_out(shop.stripe, attempt.id, now=now))
        shop.clock.tick(minutes=3)
        shop.work()
        [attempt] = shop.attempts(order)
        assert attempt.state == "open", moment
        named = f'metadata["commerce_attempt"]:"{attempt.id}"'
        made = shop.fake.client().v1.payment_intents.search({"query": named}).data
        assert [intent.id for intent in made] == [attempt.intent_id], moment
        return died

    assert every_moment(scenario) * STEP > 5


def _count(shop: Shop, order: Any, name: str) -> int:
    query = "SELECT count(*) FROM job WHERE name = :name AND arguments -> 'event' ->> 'order_id' = :order"
    with shop.engine.connect() as connection:
        return int(connection.execute(text(query), {"name": name, "order": str(UUID(order["id"]))}).scalar() or 0)
