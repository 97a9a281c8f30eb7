"""The suites of tests that plugins are given: they pass for what is right, and find what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.events import Event, OrderPaid
from commerce_core.payments.provider import ManualProvider, PaymentProvider, RefundRequest, RefundResult
from commerce_core.settings import CoreSettings
from commerce_core.testing import WEBHOOK_SECRET
from commerce_core.testing.contract import (
    PaymentProviderContract,
    PluginContract,
    PriceRuleContract,
    SubscriberContract,
)


class TestLoyalty(PluginContract):
    """The sample that has a bit of everything."""

    plugin = "loyalty"


class TestTenOff(PriceRuleContract):
    plugin = "tenoff"


class TestManualPayments(PaymentProviderContract):
    """The core's own, by the same suite."""

    @pytest.fixture
    def provider(self) -> PaymentProvider:
        return ManualProvider(WEBHOOK_SECRET)

    def webhook(self, provider: PaymentProvider, order_id: UUID, status: str) -> tuple[Mapping[str, str], bytes, Any]:
        payload = {"event_id": "evt-1", "order_id": str(order_id), "status": status}
        body = json.dumps(payload).encode()
        return {"X-Webhook-Signature": f"sha256={ManualProvider.signature(WEBHOOK_SECRET, body)}"}, body, payload


THANKS = """
from commerce_core.events import OrderPaid
from commerce_core.jobs.kinds import job
from commerce_core.plugin import Subscriber

thanked = []
twice = {twice}

@job("thanks.say")
def say(context, event: OrderPaid):
    if twice or event.order_id not in thanked:
        thanked.append(event.order_id)

@hookimpl
def commerce_register_subscribers():
    return [Subscriber(OrderPaid, say)]
"""


class TestThanks(SubscriberContract):
    plugin = "thanks"
    twice = False

    @pytest.fixture
    def settings(self, install: Callable[..., Path], database_url: str) -> CoreSettings:
        install("thanks", THANKS.format(twice=self.twice))
        return self.settings_of_shop(database_url, ["thanks"])

    @pytest.fixture
    def an_event(self) -> Event:
        return OrderPaid(order_id=uuid4(), number="R1")

    def effects(self, session: Session) -> Any:
        return list(sys.modules["made_thanks.hooks"].thanked)


class TestThanksTwice(TestThanks):
    """One that counts what it is told twice."""

    twice = True

    def test_an_event_told_twice_counts_once(
        self, application: Any, engine: Engine, an_event: Event, run_jobs: Callable[[], int]
    ) -> None:
        with pytest.raises(AssertionError, match="counted twice"):
            super().test_an_event_told_twice_counts_once(application, engine, an_event, run_jobs)


CHATTY = """
from sqlalchemy import text
from commerce_core.pricing.quote import Stage
from commerce_core.pricing.rules import PriceRule

asked = []

def prefetch(session, basket):
    for item in basket.items:
        session.execute(text("SELECT 1"))

def apply(quote):
    # The more expensive, the more often it was asked for.
    asked.append(quote)
    for line in quote.lines:
        quote.discount_line(line.key, len(asked) % 2 * 10)

@hookimpl
def commerce_register_price_rules():
    return [PriceRule(code="chatty", source="", stage=Stage.LINE, order=1, label="x", apply=apply, prefetch=prefetch)]
"""


class TestChatty(PriceRuleContract):
    """A rule that asks once for each line, and remembers."""

    plugin = "chatty"

    @pytest.fixture
    def settings(self, install: Callable[..., Path], database_url: str) -> CoreSettings:
        install("chatty", CHATTY)
        return self.settings_of_shop(database_url, ["chatty"])

    def test_a_longer_basket_takes_no_more_statements(self, application: Any, engine: Engine) -> None:
        with pytest.raises(AssertionError, match="once for each line"):
            super().test_a_longer_basket_takes_no_more_statements(application, engine)

    def test_the_same_is_quoted_again_and_whatever_order_the_rules_came_in(
        self, application: Any, engine: Engine
    ) -> None:
        with pytest.raises(AssertionError):
            super().test_the_same_is_quoted_again_and_whatever_order_the_rules_came_in(application, engine)


class Trusting(ManualProvider):
    """Believes everything, and gives money back as often as it is asked."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> None: ...

    def refund(self, request: RefundRequest) -> RefundResult:
        return RefundResult("succeeded", str(uuid4()))


class TestTrusting(TestManualPayments):
    @pytest.fixture
    def provider(self) -> PaymentProvider:
        return Trusting(WEBHOOK_SECRET)

    def test_a_webhook_that_it_has_not_signed_is_refused(self, provider: PaymentProvider) -> None:
        with pytest.raises(pytest.fail.Exception):
            super().test_a_webhook_that_it_has_not_signed_is_refused(provider)

    def test_the_same_refund_asked_for_twice_is_given_once(self, provider: PaymentProvider) -> None:
        with pytest.raises(AssertionError):
            super().test_the_same_refund_asked_for_twice_is_given_once(provider)
