"""What every plugin has to keep to."""

from __future__ import annotations

from commerce_core.testing.contract import PluginContract


class TestContract(PluginContract):
    plugin = "realtime"
    plugin_settings = {"realtime.secret": "a-secret-for-tests-of-at-least-32-characters"}  # noqa: RUF012
