"""Time passing: everything that is due happens, one thing after the other, each at its own moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from commerce_stripe_payments.testing import checkouts
from commerce_stripe_payments.testing.billing import invoices, subscriptions
from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.world import World

_DAY = 86_400
_Due = tuple[int, Callable[[], object]]


def catch_up(world: World, clock: str | None, until: int) -> None:
    """Let happen what is due up to then, for what goes by a test clock, or (None) by the world's own."""
    while True:
        moments = (moment for moment in _moments(world, clock) if moment[0] <= until)
        due = min(moments, key=lambda moment: moment[0], default=None)
        if due is None:
            return
        with world.at(due[0]):
            due[1]()


def _moments(world: World, clock: str | None) -> Iterator[_Due]:
    if clock is None:
        for session in world.every("checkout.session"):
            yield from _of_session(world, session)
    for invoice in world.every("invoice"):
        if invoice["test_clock"] == clock:
            yield from _of_invoice(world, invoice)
    for subscription in world.every("subscription"):
        if subscription["test_clock"] == clock:
            yield from _of_subscription(world, subscription)


def _of_session(world: World, session: Thing) -> Iterator[_Due]:
    if session["status"] == "open":
        yield session["expires_at"], lambda: checkouts.expire(world, session)


def _of_invoice(world: World, invoice: Thing) -> Iterator[_Due]:
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] is not None:

        def finalize() -> None:
            invoices.finalize(world, invoice)
            invoices.collect(world, invoice)

        yield invoice["automatically_finalizes_at"], finalize
    if invoice["status"] == "open" and invoice["next_payment_attempt"] is not None:
        yield invoice["next_payment_attempt"], lambda: invoices.collect(world, invoice)


def _of_subscription(world: World, subscription: Thing) -> Iterator[_Due]:
    status = subscription["status"]
    if status == "incomplete":
        yield (
            subscription["created"] + 23 * 3_600,
            lambda: subscriptions.cancel(world, subscription, status="incomplete_expired"),
        )
    if status not in ("trialing", "active", "past_due", "unpaid"):
        return
    if subscription["cancel_at"] is not None and not subscription["cancel_at_period_end"]:
        yield subscription["cancel_at"], lambda: subscriptions.cancel(world, subscription)
    resumes_at = (subscription["pause_collection"] or {}).get("resumes_at")
    if resumes_at is not None:
        yield (
            resumes_at,
            lambda: world.change(subscription, "customer.subscription.updated", pause_collection=None),
        )
    if status == "trialing" and subscription["trial_end"] and not subscription["_told_of_trial_end"]:
        yield subscription["trial_end"] - 3 * _DAY, lambda: tell_of_trial_end(world, subscription)
    yield subscriptions.period_end(subscription), lambda: subscriptions.renew(world, subscription)


def tell_of_trial_end(world: World, subscription: Thing) -> None:
    """Three days before, or at once if the trial is shorter or is ended now."""
    subscription["_told_of_trial_end"] = True
    world.emit("customer.subscription.trial_will_end", subscription)
