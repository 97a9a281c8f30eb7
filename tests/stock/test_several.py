"""Stock of several variants at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.catalog.models import Product
from commerce_core.catalog.service import add_variant, create_product
from commerce_core.database import transaction
from commerce_core.stock.models import Hold, StockLevel
from commerce_core.stock.service import get_hold, place_hold, receive_stock
from commerce_core.stock.several import UNLIMITED, Wanted, available_of, place_holds
from commerce_core.testing import StoppedClock, assert_stock_adds_up

MakeVariant = Callable[..., UUID]
HOUR = timedelta(hours=1)


def take(session: Session, clock: StoppedClock, wanted: list[Wanted]) -> dict[UUID, UUID]:
    available = available_of(session, wanted, now=clock.now())
    assert all(available[want.variant_id] >= want.quantity for want in wanted)
    return place_holds(session, wanted, now=clock.now(), expires_at=clock.now() + HOUR, owner="test")


def test_it_is_known_how_much_of_each_could_be_had(
    engine: Engine, clock: StoppedClock, make_variant: MakeVariant
) -> None:
    some, draft = make_variant(stock=5), make_variant(status="draft")
    untracked, backordered = make_variant(stock=0, track_stock=False), make_variant(stock=0, allow_backorder=True)
    unknown = UUID(int=1)
    with transaction(engine) as session:
        place_hold(session, some, 2, ttl=HOUR, now=clock.now())
    with transaction(engine) as session:
        wanted = [Wanted(variant_id, 9) for variant_id in (some, draft, untracked, backordered, unknown)]
        assert list(available_of(session, wanted, now=clock.now()).values()) == [3, 0, UNLIMITED, UNLIMITED, 0]


def test_lapsed_holds_are_given_back_where_there_is_too_little(
    engine: Engine, clock: StoppedClock, make_variant: MakeVariant
) -> None:
    variants = [make_variant(stock=5) for _ in range(2)]
    with transaction(engine) as session:
        for variant_id in variants:
            place_hold(session, variant_id, 4, ttl=HOUR, now=clock.now())
    clock.tick(hours=1)
    with transaction(engine) as session:
        available = available_of(session, [Wanted(variants[0], 1), Wanted(variants[1], 5)], now=clock.now())
        assert list(available.values()) == [1, 5]
    assert_stock_adds_up(engine)


def test_a_hold_is_replaced_by_one_that_only_fits_without_it(
    engine: Engine, clock: StoppedClock, make_variant: MakeVariant
) -> None:
    first, second = make_variant(stock=5), make_variant(stock=5)
    with transaction(engine) as session:
        held = take(session, clock, [Wanted(first, 4), Wanted(second, 4)])
    with transaction(engine) as session:
        old = [get_hold(session, held[variant_id], lock=True) for variant_id in (first, second)]
        assert list(take(session, clock, [Wanted(first, 5, old[0]), Wanted(second, 0, old[1])])) == [first]
    with Session(engine) as session:
        assert [session.get_one(StockLevel, variant_id).reserved for variant_id in (first, second)] == [5, 0]
        assert sorted(hold.state for hold in session.query(Hold)) == ["active", "released", "released"]
    assert_stock_adds_up(engine)


def test_the_database_refuses_what_was_not_asked_about(
    engine: Engine, clock: StoppedClock, make_variant: MakeVariant
) -> None:
    variants = [make_variant(stock=5) for _ in range(2)]
    wanted = [Wanted(variants[0], 5), Wanted(variants[1], 6)]
    with Session(engine) as session, pytest.raises(IntegrityError, match="ck_stock_level_not_oversold"):
        place_holds(session, wanted, now=clock.now(), expires_at=clock.now() + HOUR, owner=None)
    assert_stock_adds_up(engine)


def test_two_that_sell_out_crossed_variants_of_two_products_do_not_deadlock_at_commit(
    engine: Engine, clock: StoppedClock
) -> None:
    """Levels are locked by variant, and each takes its own; but both products are rewritten, at commit."""
    with transaction(engine) as session:
        products = [create_product(session, slug=slug, name=slug, now=clock.now()) for slug in ("a", "b")]
        first, second = sorted(product.id for product in products)
        variants = [
            add_variant(session, session.get_one(Product, product_id), sku=f"SKU-{number}", price_amount=1).id
            for number, product_id in enumerate((first, second, first, second))
        ]
        for variant_id in variants:
            receive_stock(session, variant_id, 1, now=clock.now())
    errors: list[BaseException] = []

    def sell_out(*chosen: UUID) -> None:
        try:
            with transaction(engine) as session:
                take(session, clock, [Wanted(variant_id, 1) for variant_id in chosen])
        except BaseException as error:
            errors.append(error)

    sellers = [
        threading.Thread(target=sell_out, args=chosen)
        for chosen in ((variants[0], variants[3]), (variants[1], variants[2]))
    ]
    with engine.connect() as connection:
        # Both come to their commit, in this order, while the first product is locked.
        connection.execute(text("SELECT FROM product WHERE id = :id FOR UPDATE"), {"id": first})
        for number, seller in enumerate(sellers, 1):
            seller.start()
            while seller.is_alive() and waiting(engine) < number:
                pass
        connection.rollback()
    for seller in sellers:
        seller.join()
    assert errors == []
    with Session(engine) as session:
        assert [product.sellable_variants for product in session.query(Product)] == [0, 0]
    assert_stock_adds_up(engine)


def waiting(engine: Engine) -> int:
    """How many connections wait for a lock."""
    with engine.connect() as connection:
        found = connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        return int(found or 0)
