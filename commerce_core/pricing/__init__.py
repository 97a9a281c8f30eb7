"""Pricing: what a basket costs, stage by stage, and why."""

from __future__ import annotations

import re
from typing import Any

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from commerce_core.api.problems import InvalidInput
from commerce_core.pricing.basket import Buyer
from commerce_core.pricing.core_rules import core_rules
from commerce_core.pricing.rules import PriceRule, Pricing

_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,50}")


def add_price_rule(config: Configurator, rule: PriceRule) -> None:
    """Directive: ask `rule` for every quote. Its code must not be taken."""

    def register() -> None:
        try:
            config.registry.pricing = config.registry.pricing.with_rule(rule)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    config.action(("price rule", rule.code), register)


def _buyer(request: Any) -> Buyer:
    """Who asks for a price. Raises InvalidInput."""
    actor = request.actor
    channel = request.environ.get("HTTP_X_CHANNEL")
    if channel is not None and not _CHANNEL.fullmatch(channel):
        raise InvalidInput.field("X-Channel", "invalid_channel", "must be 1 to 50 letters, digits and . _ -")
    if actor is None:
        return Buyer(owner=request.owner, channel=channel)
    return Buyer(owner=request.owner, user_id=actor.user_id, tier=actor.tier, email=actor.email, channel=channel)


def includeme(config: Configurator) -> None:
    settings = config.registry.settings_object
    config.registry.pricing = Pricing(prices_include_tax=settings.tax.prices_include_tax)
    config.add_directive("add_price_rule", add_price_rule)
    config.add_request_method(_buyer, "buyer", reify=True)
    for rule in core_rules(settings):
        config.add_price_rule(rule)
