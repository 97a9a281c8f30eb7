"""What every plugin has to keep to, and what those of our kind have to."""

from __future__ import annotations

% if "payment" in parts:
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from commerce_core.payments.provider import PaymentProvider
% endif
<%
suites = ["PluginContract"]
if "payment" in parts:
    suites.append("PaymentProviderContract")
if "price-rule" in parts:
    suites.append("PriceRuleContract")
%>\
from commerce_core.testing.contract import ${", ".join(sorted(suites))}
% if "payment" in parts:

from commerce_${name}.payments import Provider
from commerce_${name}.settings import Settings
% endif


class TestPlugin(PluginContract):
    plugin = "${name}"
% if "price-rule" in parts:


class TestPrices(PriceRuleContract):
    plugin = "${name}"
% endif
% if "payment" in parts:


class TestPayments(PaymentProviderContract):
    @pytest.fixture
    def provider(self) -> PaymentProvider:
        return Provider(Settings.model_validate({"webhook_secret": "a-secret-for-tests"}))

    def webhook(self, provider: PaymentProvider, order_id: UUID, status: str) -> tuple[Mapping[str, str], bytes, Any]:
        assert isinstance(provider, Provider)
        payload = {"event_id": "evt-1", "order_id": str(order_id), "status": status}
        body = json.dumps(payload).encode()
        return {"X-Signature": provider.signature(body)}, body, payload
% endif
