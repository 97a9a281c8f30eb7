"""`commerce scheduler`: the work that is done by the clock. Any number may run; they skip what another is at."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

import click
import structlog

from commerce_core.cli.shop import Shop, config_argument, open_shop
from commerce_core.log import first_line

_log = structlog.get_logger("commerce.scheduler")


@click.command()
@config_argument
def scheduler(config: str) -> None:
    """Sweep what has lapsed, carry out refunds, try unmatched webhooks again and deliver mail, until stopped."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with open_shop(config) as shop:
        tasks = make_tasks(shop, stopped.is_set)
        # A mail server that does not answer must not keep stock waiting.
        tasks["deliver mails"] = _aside(tasks["deliver mails"])
        while not stopped.wait(shop.settings.scheduler.interval_seconds):
            run_tasks(tasks, shop.clock.now())


def run_tasks(tasks: dict[str, Callable[[datetime], int]], now: datetime) -> None:
    """One round. A task that fails (the database is away, say) is logged, and tried again in the next."""
    for name, task in tasks.items():
        try:
            done = task(now)
        except Exception as error:
            _log.warning("task failed", task=name, error=first_line(error))
        else:
            if done:
                _log.info("task done", task=name, count=done)


def make_tasks(shop: Shop, stop: Callable[[], bool] = lambda: False) -> dict[str, Callable[[datetime], int]]:
    """What is done in each round: a name, and a function that says how many things it did."""
    from commerce_core.accounts.sweep import forget_what_is_over
    from commerce_core.api.idempotency import forget_old_keys
    from commerce_core.application import make_configurator
    from commerce_core.carts.sweep import expire_carts, forget_closed_carts
    from commerce_core.database import transaction
    from commerce_core.mail.delivery import deliver_mails
    from commerce_core.mail.service import forget_sent_mails
    from commerce_core.mail.transports import make_transport
    from commerce_core.payments.sweep import carry_out_refunds, expire_orders, retry_unmatched
    from commerce_core.stock.sweep import serve_waiting_backorders, sweep_holds

    registry = make_configurator(shop.settings, clock=shop.clock).registry

    def forget_keys(now: datetime) -> int:
        with transaction(shop.engine) as session:
            return forget_old_keys(session, now, shop.settings.api.idempotency_hours)

    def forget_accounts(now: datetime) -> int:
        with transaction(shop.engine) as session:
            mails = forget_sent_mails(session, now=now, days=shop.settings.mail.keep_days)
            return mails + forget_what_is_over(session, now=now)

    def forget_carts(now: datetime) -> int:
        return forget_closed_carts(shop.engine, now=now, days=shop.settings.carts.keep_days)

    def deliver(now: datetime) -> int:
        return deliver_mails(shop.engine, transport, shop.settings.mail, now=now, stop=stop)

    transport = make_transport(shop.settings.mail)
    return {
        "expire holds": lambda now: sweep_holds(shop.engine, now=now, stop=stop),
        "serve backorders": lambda now: serve_waiting_backorders(shop.engine, now=now),
        "expire carts": lambda now: expire_carts(shop.engine, now=now, stop=stop),
        "expire orders": lambda now: expire_orders(shop.engine, now=now, stop=stop),
        "carry out refunds": lambda now: carry_out_refunds(shop.engine, registry, stop=stop),
        "retry unmatched webhooks": lambda now: retry_unmatched(shop.engine, registry, now=now),
        "deliver mails": deliver,
        "forget lapsed codes, tokens and mails": _every(timedelta(minutes=10), forget_accounts),
        "forget closed carts": _every(timedelta(minutes=10), forget_carts),
        "forget idempotency keys": _every(timedelta(minutes=10), forget_keys),
    }


def _every(interval: timedelta, task: Callable[[datetime], int]) -> Callable[[datetime], int]:
    due: datetime | None = None

    def run(now: datetime) -> int:
        nonlocal due
        if due is not None and now < due:
            return 0
        due = now + interval
        return task(now)

    return run


def _aside(task: Callable[[datetime], int]) -> Callable[[datetime], int]:
    """The task in a thread of its own: a call tells how the round before went, and starts another if that is over."""
    thread = ThreadPoolExecutor(max_workers=1)
    under_way: Future[int] | None = None

    def run(now: datetime) -> int:
        nonlocal under_way
        finished = under_way
        if finished is not None and not finished.done():
            return 0
        under_way = thread.submit(task, now)
        return 0 if finished is None else finished.result()

    return run
