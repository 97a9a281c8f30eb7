from __future__ import annotations

from typing import Any

import pytest
from pricing_shop import ADMIN, MakeRule
from webtest import TestApp


@pytest.fixture
def shares_application() -> bool:
    return True


@pytest.fixture
def make_rule(staff: TestApp) -> MakeRule:
    """`make_rule("percentage", {"percent": 30}, priority=20)`: a rule that staff have added, as it was answered."""

    def make(type_: str, modifiers: dict[str, Any], *, status: int = 201, **rest: Any) -> Any:
        body = {"name": type_, "type": type_, "modifiers": modifiers, **rest}
        return staff.post_json(f"{ADMIN}/rules", body, status=status).json

    return make
