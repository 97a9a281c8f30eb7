"""What the world outside does: customers in their browsers, banks, people in the dashboard, the internet, time.

Each method is also an operation over HTTP: `POST /_fake/authenticate {"intent": "pi_...", "succeeds": false}`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from commerce_stripe_payments.testing import checkouts, payments
from commerce_stripe_payments.testing.api import disputes, refunds, setup_intents
from commerce_stripe_payments.testing.api.clocks import advance
from commerce_stripe_payments.testing.api.payment_methods import usable
from commerce_stripe_payments.testing.billing.time import catch_up
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.faults import Fault, Faults, Kind
from commerce_stripe_payments.testing.outbox import Delivery, Endpoint, Outbox, Receiver
from commerce_stripe_payments.testing.world import World


class Outside:
    """Everything that happens to the account and is no call of the API. Objects are named by their ids."""

    def __init__(self, world: World, faults: Faults, outbox: Outbox) -> None:
        self.world = world
        self.faults = faults
        self.outbox = outbox

    # Customers

    def confirm(self, intent: str, payment_method: str = "pm_card_visa", return_url: str | None = None) -> Thing:
        """A customer pays in the browser. The intent says how it went, also where the bank said no."""
        with self.world.lock:
            found = self.world.find("payment_intent", intent)
            if found["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
                raise payments.unexpected_state(found, "confirmed")
            payments.choose(self.world, found, usable(self.world, payment_method))
            try:
                return payments.confirm(self.world, found, return_url=return_url)
            except Failure:
                return found

    def authenticate(self, intent: str, succeeds: bool = True) -> Thing:
        """A customer has finished 3-D Secure of a payment or setup intent, one way or the other."""
        with self.world.lock:
            found = self.world.objects.get(intent) or self.world.find("payment_intent", intent)
            if found["object"] == "setup_intent":
                return setup_intents.authenticate(self.world, found, succeeds=succeeds)
            return payments.authenticate(self.world, found, succeeds=succeeds)

    def finish_checkout(
        self, session: str, payment_method: str = "pm_card_visa", email: str = "ada@example.com"
    ) -> Thing:
        """A customer goes through the page of a checkout session."""
        with self.world.lock:
            found = self.world.find("checkout.session", session)
            return checkouts.finish(self.world, found, payment_method, email)

    # Banks

    def settle(self, intent: str) -> Thing:
        """A payment that was `processing` has come in, or bounced, as its account does."""
        with self.world.lock:
            return payments.settle(self.world, self.world.find("payment_intent", intent))

    def end_refund(self, refund: str, status: Literal["succeeded", "failed", "canceled", "requires_action"]) -> Thing:
        """A refund has come through, or not."""
        with self.world.lock:
            return refunds.end_refund(self.world, self.world.find("refund", refund), status)

    def dispute(
        self, intent: str, reason: str = "fraudulent", amount: int | None = None, is_inquiry: bool = False
    ) -> Thing:
        """A customer's bank takes a payment back, or asks about it."""
        with self.world.lock:
            charge = self._charge(intent)
            return disputes.dispute(self.world, charge, reason=reason, amount=amount, is_inquiry=is_inquiry)

    def end_dispute(self, dispute: str, outcome: str) -> Thing:
        """The bank has decided: `won`, `lost`, `warning_closed`, `prevented`."""
        with self.world.lock:
            return disputes.end_dispute(self.world, self.world.find("dispute", dispute), outcome)

    def warn(self, intent: str) -> Thing:
        """A card's issuer says that a payment may be a fraud."""
        with self.world.lock:
            return disputes.warn(self.world, self._charge(intent))

    def review(self, intent: str) -> Thing:
        """Radar has somebody look at a payment."""
        with self.world.lock:
            return disputes.review(self.world, self._charge(intent))

    def renew_card(self, payment_method: str, exp_year: int, last4: str | None = None) -> Thing:
        """A bank has sent its customer a new card, and told Stripe."""
        with self.world.lock:
            found = self.world.find("payment_method", payment_method)
            card = {**found["card"], "exp_year": exp_year, "last4": last4 or found["card"]["last4"]}
            return self.world.change(found, "payment_method.automatically_updated", card=card)

    # The dashboard

    def refund(self, intent: str, amount: int | None = None) -> Thing:
        """Somebody refunds in the dashboard, and says nothing to the shop."""
        with self.world.lock:
            return refunds.refund(self.world, self._charge(intent), amount, reason=None, metadata={})

    def emit(self, type: str, object: Thing, **fields: Any) -> Thing:
        """Any event at all, as it stands, such as one of a type that nobody knows. `fields` are the event's own."""
        with self.world.lock:
            return self.world.emit(type, object, **fields)

    # The internet

    def send_to(
        self,
        receiver: Receiver,
        secret: str | tuple[str, ...],
        api_version: str | None = None,
        enabled_events: tuple[str, ...] = ("*",),
        is_thin: bool = False,
    ) -> Endpoint:
        """Tell an address, or a function, of what happens from now on, as if the dashboard had been told to."""
        with self.world.lock:
            version = api_version or self.world.api_version
            made = self.world.add(
                "we",
                "webhook_endpoint",
                api_version=api_version,
                application=None,
                description=None,
                enabled_events=list(enabled_events),
                status="enabled",
                url=receiver if isinstance(receiver, str) else "http://127.0.0.1/",
            )
            secrets = (secret,) if isinstance(secret, str) else tuple(secret)
            endpoint = Endpoint(made["id"], receiver, secrets, version, tuple(enabled_events), is_thin)
            self.outbox.endpoints.append(endpoint)
            return endpoint

    def plan(self, **changes: Any) -> None:
        """How webhooks are sent from now on: the fields of `Plan`."""
        self.outbox.plan = dataclasses.replace(self.outbox.plan, **changes)

    def deliver(self, type: str = "*", **how: Any) -> list[Delivery]:
        """Send what is pending, now and here: see `Outbox.deliver`."""
        return self.outbox.deliver(type, **how)

    def go_wrong(
        self,
        what: str,
        kind: Kind = "error",
        when: Literal["before", "after"] = "before",
        *,
        times: int = 1,
        skip: int = 0,
        status: int = 500,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        is_html: bool = False,
    ) -> Fault:
        """Let requests fail: see `Fault`. `fake.go_wrong("POST /v1/refunds", "hang", "after")`."""
        return self.faults.add(Fault(what, kind, when, times, skip, status, code, headers or {}, is_html))

    def recover(self) -> None:
        """Nothing goes wrong any more, and those that wait go on."""
        self.faults.clear()

    # Time

    def set_time_on(self, **delta: float) -> None:
        """Let time pass for everything without a test clock, and what is due happen: `fake.set_time_on(days=3)`."""
        with self.world.lock:
            self.world.set_time_on(timedelta(**delta))
            catch_up(self.world, None, self.world.now)

    def advance(self, clock: str, **delta: float) -> None:
        """Let time pass for those with a test clock: `fake.advance(clock.id, days=31)`."""
        with self.world.lock:
            found = self.world.find("test_helpers.test_clock", clock)
            advance(self.world, found, found["frozen_time"] + int(timedelta(**delta).total_seconds()))

    def dun(self, days: list[int], then: Literal["canceled", "unpaid", "past_due"] = "canceled") -> None:
        """How renewals that fail are tried again, and what becomes of the subscription after the last try."""
        with self.world.lock:
            self.world.dunning_days = tuple(days)
            self.world.after_dunning = then

    def _charge(self, intent: str) -> Thing:
        found = self.world.find("payment_intent", intent)
        return self.world.find("charge", found["latest_charge"], param="charge")


OPERATIONS = tuple(name for name, value in vars(Outside).items() if not name.startswith("_") and callable(value))
"""What may be asked for over HTTP."""
