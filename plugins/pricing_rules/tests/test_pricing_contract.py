"""What every plugin, and every price rule, has to keep to."""

from __future__ import annotations

from commerce_core.testing.contract import PluginContract, PriceRuleContract


class TestPlugin(PluginContract):
    plugin = "pricing"


class TestPrices(PriceRuleContract):
    plugin = "pricing"
