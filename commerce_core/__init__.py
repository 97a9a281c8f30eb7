"""Headless commerce on Pyramid and PostgreSQL that cannot oversell."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def main(global_config: dict[str, str], **raw_settings: Any) -> Any:
    """The Paste application factory: settings of `[app:main]` -> WSGI application."""
    from commerce_core.application import make_application
    from commerce_core.plugins.startup import stop_at_exit
    from commerce_core.settings import parse_settings

    # What else matters of [DEFAULT] has been interpolated already.
    application = make_application(parse_settings({**raw_settings, "__file__": global_config.get("__file__")}))
    stop_at_exit(application.registry)
    application.registry.pulse.start()
    return application
