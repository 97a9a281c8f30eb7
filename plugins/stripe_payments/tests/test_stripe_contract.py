"""What every plugin has to keep to."""

from __future__ import annotations

from commerce_core.testing.contract import PluginContract


class TestContract(PluginContract):
    plugin = "stripe"
