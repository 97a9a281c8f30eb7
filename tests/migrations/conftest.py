"""A shop on a database of its own, which may be migrated in any way: it is dropped afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.settings import CoreSettings
from commerce_core.testing import make_settings
from tests.migrations.packages import Packages
from tests.support.till import Till


@pytest.fixture
def engine(own_engine: Engine) -> Engine:
    return own_engine


@pytest.fixture
def settings(own_database_url: str) -> CoreSettings:
    return make_settings(own_database_url)


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Packages]:
    packages = Packages(tmp_path)
    yield packages
    packages.uninstall_all()


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)
