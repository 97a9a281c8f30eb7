"""The claim itself: hundreds of buyers on real connections to several server processes cannot oversell."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.audit import assert_everything_adds_up, findings, wait_until_all_has_lapsed
from support.crowd import Crowd
from support.processes import running_shop

from commerce_core.stock.verify import verify_stock
from commerce_core.testing import empty_database

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
BUYERS = 2_000 if SOAK else 500
VISITS = 10 if SOAK else 1
SEED = random.getrandbits(32) if SOAK else 20_261_121
BRISK = {"stock.hold_seconds": 5, "orders.payment_seconds": 5, "scheduler.interval_seconds": 0.2}
UNGUARDED = Path(__file__).with_name("unguarded.py")


@pytest.mark.parametrize("hot_mode", [True, False], ids=["hot mode", "default mode"])
def test_a_crowd_cannot_oversell(
    hot_mode: bool, tmp_path: Path, database_url: str, engine: Engine, make_variant: Callable[..., UUID]
) -> None:
    stock = {make_variant(stock=units): units for units in (BUYERS, BUYERS // 10, 40, 7, 1)}
    hot, *others = stock
    with running_shop(tmp_path, database_url, {**BRISK, "stock.hot_mode": hot_mode}, workers=2) as shop:
        crowd = Crowd(SEED, BUYERS, shop.ports, {hot: 8} | dict.fromkeys(others, 1), visits=VISITS)
        told = crowd.run()
        wait_until_all_has_lapsed(engine)
    assert_everything_adds_up(engine, told, stock)
    assert [len([r for r in receipts if not r["duplicate"]]) for receipts in told.receipts.values()] == [1] * len(
        told.receipts
    )
    assert told.statuses["hold", 201] > 0
    assert told.statuses["hold", 409] > 0
    assert told.paid


@pytest.mark.parametrize("control", ["no guard", "read, then take"])
def test_without_its_guard_the_same_crowd_oversells(
    control: str, tmp_path: Path, database_url: str, engine: Engine, make_variant: Callable[..., UUID]
) -> None:
    """The negative control: what the test above would have seen, had there been anything to see."""
    variants = {make_variant(stock=5): 1 for _ in range(25)}
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE stock_level DROP CONSTRAINT ck_stock_level_not_oversold"))
    try:
        program = [str(UNGUARDED), control]
        with running_shop(tmp_path, database_url, {"stock.hot_mode": False}, program) as shop:
            told = Crowd(SEED, 400, shop.ports, variants, visits=1, fates={"keep hold": 1}).run()
        assert told.unexpected == []
        oversold = {variant_id for variant_id, _ in findings(engine)["a movement left more reserved than on hand"]}
        print(f"{control}: {len(oversold)} of {len(variants)} variants oversold")
        with Session(engine) as session:
            rules = {found.rule for found in verify_stock(session)}
        assert "a counter is negative or oversold" in rules
    finally:
        empty_database(engine)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "ALTER TABLE stock_level ADD CONSTRAINT ck_stock_level_not_oversold"
                    " CHECK (allow_backorder OR reserved <= on_hand)"
                )
            )
