from __future__ import annotations

from typing import Any

import pytest
from support.till import Till
from webtest import TestApp


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)
