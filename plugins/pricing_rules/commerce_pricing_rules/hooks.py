"""What the core calls: see its docs/plugins/reference.md."""

from __future__ import annotations

from commerce_core.plugin import hookimpl
from pyramid.config import Configurator

from commerce_pricing_rules.quoting import price_rules
from commerce_pricing_rules.rulebook import RuleBook
from commerce_pricing_rules.settings import Settings


@hookimpl
def commerce_includeme(config: Configurator, settings: Settings) -> None:
    book = config.registry.pricing_rulebook = RuleBook(settings)
    for rule in price_rules(book.prefetch):
        config.add_price_rule(rule)
