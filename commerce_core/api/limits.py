"""Rate limits: how often one client, or one account, may ask."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator


class Limits:
    """`request.limits`."""

    def hit(self, strategy: str, key: str) -> None:
        """Count one attempt at `key`, such as an e-mail address. Raises TooManyRequests when there were too many."""


def _limits(_request: Any) -> Limits:
    return Limits()


def includeme(config: Configurator) -> None:
    config.add_request_method(_limits, "limits", reify=True)
