"""A shop with a few jobs of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from commerce_core.application import close, make_configurator
from commerce_core.settings import CoreSettings
from commerce_core.testing import StoppedClock
from tests.jobs.kinds import BROKEN, RAN, Hands, fatal, fragile, later, limited, note, sweep


@pytest.fixture
def hands(settings: CoreSettings, engine: Engine, clock: StoppedClock) -> Iterator[Hands]:
    config = make_configurator(settings, clock=clock)
    for kind in (note, fragile, fatal, later, limited):
        config.add_job(kind)
    config.add_periodic_job(sweep, every=timedelta(minutes=5))
    config.commit()
    RAN.clear()
    BROKEN["is"] = True
    yield Hands(config.registry, config.registry.engine, clock)
    close(config.registry)
