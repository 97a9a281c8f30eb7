"""Whatever order the events of a payment's life come in, and however often: it ends the same.

D5 of the plugin's README. Each sequence is used in a transaction that is rolled back, so that thousands are quick. The
truth that Stripe is asked for is the last one, or, which is harder, the one of the moment of each event, as if Stripe
had always been asked before anything else had happened.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from commerce_stripe_payments.models import StripeEvent
from commerce_stripe_payments.webhooks.processing import use
from commerce_stripe_payments.webhooks.reading import Told, read_event
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from stripe_shop import Shop
from stripe_signing import SETTINGS

from commerce_core.database import uuid7
from commerce_core.orders.models import Order
from commerce_core.payments.models import Payment, Refund
from commerce_core.stock.verify import RULES

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
SEQUENCES = 5_000 if os.environ.get("COMMERCE_SOAK") else 25


@dataclass
class Happened:
    """An event, and what Stripe would have answered about it then and answers now."""

    told: Told
    body: bytes
    then: Any
    now: Any = None


class Life:
    """Everything that happens to one payment, from the first try to the last refund."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.order = shop.order()
        self.events: list[Happened] = []
        client = shop.fake.client()
        shop.intent(self.order)
        intent = shop.intent_id(self.order)
        for step in (
            lambda: shop.fake.confirm(intent, "pm_card_visa_chargeDeclined"),
            lambda: shop.fake.confirm(intent, "pm_card_threeDSecure2Required"),
            lambda: shop.fake.authenticate(intent),
            lambda: shop.fake.refund(intent, 300),
            lambda: shop.fake.refund(intent, 400),
        ):
            self._keep(client)
            step()
        self._keep(client)
        for happened in self.events:
            happened.now = self._ask(client, happened.told)

    def _keep(self, client: Any) -> None:
        """What has happened since, and what Stripe says now."""
        for delivery in self.shop.fake.outbox.pending()[len(self.events) :]:
            body, _ = self.shop.fake.outbox.message(delivery)
            told = read_event(body)
            if told.type in self.shop.stripe.handlers:
                self.events.append(Happened(told, body, self._ask(client, told)))
            else:
                delivery.status = 200

    def _ask(self, client: Any, told: Told) -> Any:
        fetch = self.shop.stripe.handlers[told.type].fetch
        assert fetch is not None
        return fetch(client, told)

    def end(self, sequence: list[int], *, stale: bool) -> dict[str, Any]:
        """What it all comes to when events arrive in this order."""
        shop, now = self.shop, self.shop.clock.now()
        with shop.engine.connect() as connection, connection.begin() as outer:
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.info["bus"] = shop.application.registry.bus
                rows: dict[int, UUID] = {}
                for position in sequence:
                    happened = self.events[position]
                    again = position in rows
                    if not again:
                        rows[position] = self._file(session, happened)
                    handler = shop.stripe.handlers[happened.told.type]
                    truth = happened.then if stale else happened.now
                    use(session, shop.stripe, rows[position], handler, happened.told, truth, now=now)
                ended = self._end(session)
            outer.rollback()
        return ended

    def _file(self, session: Session, happened: Happened) -> UUID:
        told = happened.told
        row = StripeEvent(
            id=uuid7(),
            livemode=False,
            event_id=told.id,
            type=told.type,
            created=told.created,
            body=happened.body,
            received_at=self.shop.clock.now(),
        )
        session.add(row)
        session.flush()
        return row.id

    def _end(self, session: Session) -> dict[str, Any]:
        order = session.get_one(Order, UUID(self.order["id"]), populate_existing=True)
        mails = Counter(
            session.scalars(text("SELECT name FROM job WHERE name LIKE 'orders.mail%' AND state = 'waiting'")).all()
        )
        return {
            "order": (order.status, order.payment_status, order.fulfillment_status),
            "payments": [
                (row.status, row.amount, row.refund_total, row.provider_reference)
                for row in session.scalars(select(Payment).order_by(Payment.id))
            ],
            "refunds": sorted(session.execute(select(Refund.amount, Refund.status)).all()),
            "stock": session.execute(
                text("SELECT on_hand, reserved FROM stock_level WHERE variant_id = :id"), {"id": self.order["variant"]}
            ).all(),
            "unused": session.scalars(
                text("SELECT detail FROM stripe_event WHERE state IN ('dead', 'unmatched')")
            ).all(),
            "broken": [rule for rule, query in RULES.items() if session.execute(text(query)).all()],
            "mails": dict(mails),
        }


@pytest.fixture
def life(shop: Shop) -> Life:
    return Life(shop)


def sequences(many: int, number: int, seed: int) -> Iterator[list[int]]:
    """Random orders of all events, with up to as many duplicates, anywhere."""
    chance = random.Random(seed)
    for _ in range(number):
        sequence = [*range(many), *chance.choices(range(many), k=chance.randrange(many))]
        chance.shuffle(sequence)
        yield sequence


EXPECTED = {
    "order": ("processing", "partially_refunded", "unfulfilled"),
    "refunds": [(300, "succeeded"), (400, "succeeded")],
    "stock": [(9, 0)],
    "unused": [],
    "broken": [],
}


def test_d5_every_order_of_the_events_of_a_payment_ends_the_same(life: Life) -> None:
    ends = []
    for sequence in sequences(len(life.events), SEQUENCES, seed=1):
        ends.append(life.end(sequence, stale=False))
        assert ends[-1] == ends[0], sequence
    assert ends[0].items() >= EXPECTED.items()
    assert ends[0]["mails"] == {"orders.mail_placed": 1, "orders.mail_paid": 1, "orders.mail_refunded": 2}
    [payment] = ends[0]["payments"]
    assert payment[:3] == ("paid", 1_999, 700)


def test_d5_even_where_every_answer_of_stripe_is_out_of_date(life: Life) -> None:
    """Mails may differ: a customer whose payment has failed is written so, if that is heard of before the other."""
    ends = []
    for sequence in sequences(len(life.events), SEQUENCES, seed=2):
        end = life.end(sequence, stale=True)
        failed = end["mails"].pop("orders.mail_payment_failed", 0)
        assert failed <= 1
        ends.append(end)
        assert end == ends[0], sequence
    assert ends[0].items() >= EXPECTED.items()
    assert ends[0]["mails"] == {"orders.mail_placed": 1, "orders.mail_paid": 1, "orders.mail_refunded": 2}


def test_d5_each_permutation_of_what_decides(life: Life) -> None:
    deciding = ("payment_intent.payment_failed", "charge.succeeded", "payment_intent.succeeded", "refund.created")
    positions = [next(at for at, happened in enumerate(life.events) if happened.told.type == type) for type in deciding]
    rest = [at for at in range(len(life.events)) if at not in positions]
    ends = []
    for permutation in itertools.permutations(positions):
        end = life.end([*permutation, *rest, *reversed(permutation)], stale=True)
        end["mails"].pop("orders.mail_payment_failed", None)
        ends.append(end)
    assert len(ends) == 24
    assert all(end == ends[0] for end in ends)
