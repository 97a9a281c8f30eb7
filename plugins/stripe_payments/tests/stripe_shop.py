"""A shop on the fake Stripe, and what its tests do over and over: order, pay, tell, look."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

from commerce_stripe_payments.models import StripeAttempt
from commerce_stripe_payments.testing import FakeStripe
from commerce_stripe_payments.webhooks.processing import hand_out_events
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from stripe_signing import SECRET, Sender
from webtest import TestApp

from commerce_core.database import transaction, uuid7
from commerce_core.jobs.kinds import JobContext
from commerce_core.jobs.models import PeriodicJob
from commerce_core.mail.models import Mail

API = "/api/v1"
PAY = f"{API}/payments/stripe"
ADMIN = f"{API}/admin/orders"
CUSTOMER = {"email": "Ada@example.com", "name": "Ada Lovelace"}
_numbers = itertools.count(1)


class Shop:
    """`tell()` lets Stripe's webhooks in and the workers work; `show(order)` is what the staff see."""

    def __init__(
        self,
        application: Any,
        fake: FakeStripe,
        sender: Sender,
        staff: TestApp,
        make_variant: Callable[..., UUID],
        run_jobs: Callable[[], int],
        engine: Engine,
    ) -> None:
        self.application = application
        self.stripe = application.registry.stripe
        self.fake = fake
        self.staff = staff
        self.make_variant = make_variant
        self.work = run_jobs
        self.engine = engine
        self.clock = application.registry.clock
        self.stripe.call_at(fake.url)
        self.endpoint = fake.send_to(self._receive, SECRET)
        self._sender = sender
        self._rest()

    def _rest(self) -> None:
        """What comes back by the clock has just been done: a test that does not let time pass is not about it."""
        now = self.clock.now()
        with transaction(self.engine) as session:
            for periodic in self.application.registry.periodic_jobs:
                session.add(PeriodicJob(name=periodic.kind.name, next_run_at=periodic.next_after(now)))

    def _receive(self, body: bytes, headers: Any) -> int:
        return int(self._sender.post(body, headers["Stripe-Signature"]).status_code)

    def guest(self) -> TestApp:
        """Somebody who is not signed in, with a cart."""
        token = f"a-guest-of-the-shop-{next(_numbers)}"
        return TestApp(self.application, extra_environ={"HTTP_X_CART_TOKEN": token})

    def order(
        self, client: TestApp | None = None, *, variant: UUID | None = None, quantity: int = 1, price: int = 1_999
    ) -> Any:
        """An order, not yet paid. `order["client"]` is whose it is."""
        client = client or self.guest()
        variant = variant or self.make_variant(stock=10, price_amount=price)
        client.post_json(f"{API}/cart/lines", {"variant_id": str(variant), "quantity": quantity})
        body = {"cart": True, "customer": CUSTOMER, "payment": {"provider": "stripe"}}
        return {**client.post_json(f"{API}/orders", body, status=201).json, "client": client, "variant": variant}

    def intent(self, order: Any, *, status: Any = 200, **body: Any) -> Any:
        """The payment intent of an order, as its customer gets it."""
        client: TestApp = order["client"]
        return client.post_json(f"{PAY}/intents", {"order_id": order["id"], **body}, status=status).json

    def attempts(self, order: Any) -> list[StripeAttempt]:
        """Oldest first."""
        with Session(self.engine) as session:
            query = select(StripeAttempt).where(StripeAttempt.order_id == UUID(order["id"])).order_by(StripeAttempt.id)
            return list(session.scalars(query))

    def intent_id(self, order: Any) -> str:
        """Of the latest attempt."""
        found = self.attempts(order)[-1].intent_id
        assert found is not None
        return found

    def pay(self, order: Any, method: str = "pm_card_visa") -> str:
        """The customer pays; Stripe has told nobody yet. The intent's id."""
        self.intent(order)
        intent = self.intent_id(order)
        self.fake.confirm(intent, method)
        return intent

    def buy(self, *, method: str = "pm_card_visa", **what: Any) -> Any:
        """An order that is paid, and told to be."""
        order = self.order(**what)
        self.pay(order, method)
        self.tell()
        return order

    def hand_out(self) -> None:
        """The jobs of the events that have come are wanted, and not done yet."""
        with transaction(self.engine) as session:
            context = JobContext(uuid7(), "", 1, self.application.registry, self.engine, session)
            hand_out_events.function(context)

    def tell(self, type: str = "*", **how: Any) -> None:
        """Let webhooks in, and use them."""
        self.fake.deliver(type, **how)
        self.work()

    def show(self, order: Any) -> Any:
        return self.staff.get(f"{ADMIN}/{order['id']}").json

    def states(self, order: Any) -> tuple[str, str]:
        shown = self.show(order)
        return shown["status"], shown["payment_status"]

    def refund(self, order: Any, amount: int, *, status: Any = 201) -> Any:
        """Staff give some money back; the worker has not asked yet."""
        body = {"amount": amount, "reason": "a test"}
        return self.staff.post_json(f"{ADMIN}/{order['id']}/refunds", body, status=status).json

    def level(self, order: Any) -> tuple[int, int]:
        """On hand, and reserved, of what was ordered."""
        level = self.staff.get(f"{API}/admin/stock/{order['variant']}").json
        return level["on_hand"], level["reserved"]

    def mails(self) -> list[str]:
        """The templates of all mails so far."""
        with Session(self.engine) as session:
            return list(session.scalars(select(Mail.template).order_by(Mail.id)))

    def calls(self, what: str) -> list[Any]:
        """Calls of the API so far, such as `POST /v1/payment_intents`."""
        method, path = what.split()
        return [call for call in self.fake.requests if (call["method"], call["path"]) == (method, path)]
