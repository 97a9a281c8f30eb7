"""What every plugin must keep to."""

from __future__ import annotations

from commerce_core.testing.contract import PluginContract


class TestContract(PluginContract):
    plugin = "search"
