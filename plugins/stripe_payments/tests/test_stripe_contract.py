"""What every plugin has to keep to."""

from __future__ import annotations

from stripe_signing import SETTINGS

from commerce_core.testing.contract import PluginContract


class TestContract(PluginContract):
    plugin = "stripe"
    plugin_settings = SETTINGS
