"""From events to tags: what a change drops, and how little a hold does for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from commerce_core.cache.changes import IN_STOCK, Changes, product_tag
from commerce_core.cache.channels import messages
from commerce_core.database import make_engine, uuid7
from commerce_core.events import StockChanged
from commerce_core.settings import DatabaseSettings
from commerce_core.testing import count_sql


def held(variant_id: UUID, *, on_hand: int = 10, reserved: int = 1, kind: str = "hold") -> StockChanged:
    return StockChanged(variant_id=variant_id, kind=kind, on_hand=on_hand, reserved=reserved, version=1)


class Listener:
    """What was dropped, each time, and told."""

    def __init__(self, engine: Engine) -> None:
        self.drops: list[set[str]] = []
        self.told: list[set[str]] = []
        self.changes = Changes(engine, delay=0.1, drop=self._drop, tell=self._tell)

    def _drop(self, tags: Iterable[str]) -> None:
        self.drops.append(set(tags))

    def _tell(self, tags: set[str]) -> None:
        if tags:
            self.told.append(tags)


def test_a_thousand_holds_are_one_drop_and_one_message(
    engine: Engine, make_variant: Callable[..., UUID], product_of: Callable[[UUID], UUID]
) -> None:
    variant_id = make_variant()
    listener = Listener(engine)
    with count_sql(engine) as statements:
        for _ in range(1_000):
            listener.changes.stock_changed(held(variant_id))
    assert (statements, listener.drops, listener.told) == ([], [], [])
    listener.changes.collect()
    assert listener.drops == listener.told == [{product_tag(product_of(variant_id))}]
    listener.changes.stock_changed(held(variant_id))
    with count_sql(engine) as statements:
        listener.changes.collect()
    assert statements == []  # whose it is, is known now


@pytest.mark.parametrize(
    ("event", "crosses"),
    [
        ({"reserved": 9}, False),
        ({"reserved": 10}, True),
        ({"reserved": 12}, True),
        ({"kind": "release"}, True),
        ({"kind": "receive"}, True),
    ],
)
def test_lists_of_what_is_in_stock_go_when_something_may_have_come_or_gone(
    engine: Engine, make_variant: Callable[..., UUID], event: dict[str, object], crosses: bool
) -> None:
    variant_id = make_variant()
    listener = Listener(engine)
    listener.changes.stock_changed(held(variant_id, **event))  # type: ignore[arg-type]
    listener.changes.stock_changed(held(variant_id))
    listener.changes.collect()
    assert (IN_STOCK in listener.told[0]) is crosses


def test_what_could_not_be_looked_up_is_not_forgotten(
    database_url: str, engine: Engine, make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant()
    away = make_engine("postgresql://nobody@127.0.0.1:1/nowhere", DatabaseSettings(url="postgresql://"))
    listener = Listener(away)
    listener.changes.stock_changed(held(variant_id, reserved=10))
    with pytest.raises(OperationalError):
        listener.changes.collect()
    assert listener.told == []
    listener.changes._engine = engine
    listener.changes.collect()
    assert IN_STOCK in listener.told[0]
    away.dispose()


def test_a_message_is_never_longer_than_postgresql_takes() -> None:
    tags = {product_tag(uuid7()) for _ in range(1_000)}
    lines = messages("me", tags)
    assert max(map(len, lines)) < 8_000
    assert {tag for line in lines for tag in line.split(" ")[1:]} == tags
