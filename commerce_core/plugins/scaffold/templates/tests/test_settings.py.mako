"""What the shop decides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from commerce_${name}.settings import Settings


@pytest.mark.commerce(
    plugins=["${name}"],
    settings={"${name}.greeting": "Hello"},
)
def test_the_shop_decides(application: Any) -> None:
    assert application.registry.plugins.settings_of("${name}").greeting == "Hello"


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ValidationError, match="greeting"):
        Settings(greeting="x" * 201)
