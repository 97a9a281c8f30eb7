"""What `/readyz` says."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.commerce(plugins=["${name}"])


def test_it_is_shown_whether_there_is_room(client: Any) -> None:
    assert client.get("/readyz").json["checks"]["${name}.space"] == "ok"


def test_no_room_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_${name}.health.ENOUGH_BYTES", 1 << 80)
    assert client.get("/readyz").json["checks"]["${name}.space"] == "failing"
