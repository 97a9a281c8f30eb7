"""Demo data: a small shop to look at, or a large catalogue to measure with. `config.include` it for the pictures."""

from __future__ import annotations

from pyramid.config import Configurator


def includeme(config: Configurator) -> None:
    config.include(".images")
