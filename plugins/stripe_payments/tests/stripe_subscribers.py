"""Subscribers of a shop on the fake Stripe, and what their tests do over and over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from commerce_stripe_payments.customers import ensure_customer
from commerce_stripe_payments.models import StripeCustomer, StripeInvoice, StripeSubscription
from commerce_stripe_payments.subscriptions.jobs import tell_defaults
from sqlalchemy import select
from sqlalchemy.orm import Session
from stripe_shop import API, PAY, Shop
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.jobs.kinds import JobKind
from commerce_core.mail.models import Mail

SUBSCRIPTIONS = f"{PAY}/subscriptions"
ADMIN_STRIPE = f"{API}/admin/stripe"


class Subscriber:
    """A customer of the shop, and the latest subscription. `pass_time(days=3)` moves the shop and Stripe on."""

    def __init__(self, shop: Shop, client: TestApp, user_id: UUID) -> None:
        self.shop = shop
        self.client = client
        self.user_id = user_id
        self.v1 = shop.fake.client().v1
        self.test_clock: str | None = None

    def subscribe(self, plan: str = "basic", *, status: Any = 200, **more: Any) -> Any:
        """The answer; Stripe has told nobody yet."""
        return self.client.post_json(SUBSCRIPTIONS, {"plan": plan, **more}, status=status).json

    def change(self, action: str, *, status: Any = 202, **more: Any) -> Any:
        """What is shown once it is done and told."""
        answer = self.client.post_json(
            f"{SUBSCRIPTIONS}/{self.row().id}/changes", {"action": action, **more}, status=status
        )
        self.shop.work()
        self.shop.tell()
        return self.show() if answer.status_int == 202 else answer.json

    def show(self) -> Any:
        return self.client.get(f"{SUBSCRIPTIONS}/{self.row().id}").json

    def save(self, card: str) -> str:
        """Save a card with Stripe's client, and have it as the default."""
        customer = self.customer().customer_id
        method = self.v1.payment_methods.attach(card, {"customer": str(customer)})
        self.shop.tell()
        self.client.put(f"{PAY}/payment-methods/{method.id}/default")
        self.run(tell_defaults)
        self.shop.tell()
        return method.id

    def pass_time(self, **delta: float) -> None:
        """Let time pass, then everything that happened meanwhile be told."""
        self.shop.clock.tick(**delta)
        if self.test_clock is None:
            self.shop.fake.set_time_on()
        else:
            until = int(self.shop.clock.now().timestamp())
            self.v1.test_helpers.test_clocks.advance(self.test_clock, {"frozen_time": until})
        self.shop.tell()

    def go_by_a_test_clock(self) -> None:
        """Be a customer at Stripe who goes by a test clock, before the first subscription."""
        now = self.shop.clock.now()
        self.test_clock = self.v1.test_helpers.test_clocks.create({"frozen_time": int(now.timestamp())}).id
        customer = ensure_customer(self.shop.stripe, self.user_id, now=now)
        self.shop.fake.world.objects[customer]["test_clock"] = self.test_clock

    def run(self, kind: JobKind) -> None:
        """What workers do now and then."""
        with transaction(self.shop.engine) as session:
            kind.enqueue(session, now=self.shop.clock.now())
        self.shop.work()

    def row(self) -> StripeSubscription:
        with Session(self.shop.engine) as session:
            query = select(StripeSubscription).where(StripeSubscription.user_id == self.user_id)
            return session.scalars(query.order_by(StripeSubscription.id.desc())).first()  # type: ignore[return-value]

    def customer(self) -> StripeCustomer:
        with Session(self.shop.engine) as session:
            return session.scalars(select(StripeCustomer).where(StripeCustomer.user_id == self.user_id)).one()

    def stripe(self) -> Any:
        """The subscription as Stripe has it."""
        return self.v1.subscriptions.retrieve(str(self.row().subscription_id))

    def invoices(self) -> list[StripeInvoice]:
        """Oldest first."""
        with Session(self.shop.engine) as session:
            query = select(StripeInvoice).order_by(StripeInvoice.created_at, StripeInvoice.id)
            return list(session.scalars(query))

    def mails(self) -> list[str]:
        """The templates of the mails about subscriptions so far, without `stripe-`."""
        with Session(self.shop.engine) as session:
            templates = session.scalars(select(Mail.template).order_by(Mail.id))
            return [name.removeprefix("stripe-") for name in templates if name.startswith("stripe-")]


def offer(shop: Shop, *plans: tuple[str, int, dict[str, Any]]) -> None:
    """Plans: their codes, what they cost, and what else is to be said of them."""
    for code, amount, more in plans:
        body = {"code": code, "name": code.title(), "amount": amount, "currency": "EUR", **more}
        shop.staff.post_json(f"{ADMIN_STRIPE}/plans", body, status=201)
    shop.work()
