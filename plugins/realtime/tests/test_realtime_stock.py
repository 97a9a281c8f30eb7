"""From the commit to the browser: snapshots, changes, and that neither a sale nor a subscriber pays for the other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from commerce_realtime.levels import moment, read_levels
from commerce_realtime.lines import Exchange
from commerce_realtime.publisher import Publisher
from realtime_harness import PATIENCE, Client, Running, running, wait_until
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from websockets.asyncio.client import connect
from webtest import TestApp

from commerce_core.application import close, make_application
from commerce_core.catalog.models import Product
from commerce_core.database import transaction
from commerce_core.events import OrderPaid, ProductChanged, StockChanged, attach, emit
from commerce_core.stock.service import receive_stock
from commerce_core.testing import StoppedClock, concurrently, make_settings

SECRET = "a-secret-for-tests-only"
BUS = "test_stock"
pytestmark = pytest.mark.commerce(plugins=["realtime"], settings={"realtime.secret": SECRET, "realtime.bus": BUS})
API = "/api/v1"
UPDATED, SNAPSHOT = "inventory.updated", "inventory.snapshot"
# Of the server in the burst: so long that several holds fall into it, however busy the machine is.
WINDOW_MS = 200
MakeVariant = Callable[..., UUID]
ProductOf = Callable[[UUID], UUID]
Connect = Callable[..., Client]


@pytest.fixture(scope="module")
def hub(database_url: str) -> Iterator[Running]:
    """A server on the bus of the shop under test."""
    with running(database_url, bus=BUS, check_seconds=3_600) as server:
        yield server


@pytest.fixture
def shop(application: Any, hub: Running, client: Connect) -> Callable[..., Client]:
    """`shop("inventory.variant.1")`: a client that is subscribed to channels of the shop."""

    def subscribe(*channels: str, to: Running | None = None) -> Client:
        ours = client(to or hub)
        for channel in channels:
            ours.subscribed(channel)
        return ours

    return subscribe


@pytest.fixture
def guest(application: Any) -> TestApp:
    """Who buys."""
    return TestApp(application)


def hold(guest: TestApp, variant_id: UUID, quantity: int = 1) -> None:
    guest.post_json(f"{API}/holds", {"variant_id": str(variant_id), "quantity": quantity}, status=201)


def test_a_subscription_begins_with_a_snapshot(
    shop: Callable[..., Client], make_variant: MakeVariant, product_of: ProductOf, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=4)
    product_id = product_of(variant_id)
    level = {
        "product_id": str(product_id),
        "variant_id": str(variant_id),
        "sku": "SKU-1",
        "stock_quantity": 4,
        "is_in_stock": True,
        "is_low_stock": True,
        "version": 1,
    }
    for channel in (f"inventory.variant.{variant_id}", f"inventory.product.{product_id}", "inventory"):
        found = shop(channel).next(SNAPSHOT, channel)
        assert [{**each, "timestamp": None} for each in found["levels"]] == [{**level, "timestamp": None}]
        assert found.get("complete", True) is True


def test_what_is_not_there_or_not_to_be_seen_has_an_empty_snapshot(
    shop: Callable[..., Client], make_variant: MakeVariant, product_of: ProductOf
) -> None:
    draft = make_variant(status="draft")
    ours = shop()
    for name in (
        f"inventory.variant.{uuid4()}",
        f"inventory.product.{uuid4()}",
        f"inventory.variant.{draft}",
        f"inventory.product.{product_of(draft)}",
        "inventory.variant.7",
        f"inventory.variant.{str(draft).upper()}",
    ):
        ours.subscribed(name)
        assert ours.next(SNAPSHOT, name) == {"levels": []}


def test_a_hold_is_told_in_the_three_channels_of_its_variant(
    shop: Callable[..., Client], guest: TestApp, make_variant: MakeVariant, product_of: ProductOf, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=10)
    product_id = product_of(variant_id)
    channels = ["inventory", f"inventory.product.{product_id}", f"inventory.variant.{variant_id}"]
    ours = shop(*channels)
    for channel in channels:
        ours.next(SNAPSHOT, channel)
    hold(guest, variant_id, 6)
    for channel in channels:
        told = ours.next(UPDATED, channel)
        # When it has happened or, if the server looks for itself just then, when it saw it.
        assert told.pop("timestamp") >= moment(clock.now())
        assert told == {
            "product_id": str(product_id),
            "variant_id": str(variant_id),
            "sku": "SKU-1",
            "stock_quantity": 4,
            "previous_quantity": 10,
            "is_in_stock": True,
            "is_low_stock": True,
            "change_reason": "hold",
            "version": 2,
        }
    hold(guest, variant_id, 4)
    told = ours.next(UPDATED, channels[2])
    assert (told["stock_quantity"], told["previous_quantity"], told["is_in_stock"], told["is_low_stock"]) == (
        0, 4, False, False,
    )  # fmt: skip


def test_the_first_change_of_a_variant_that_nobody_looked_at_knows_what_was_before(
    shop: Callable[..., Client], guest: TestApp, make_variant: MakeVariant, hub: Running, client: Connect
) -> None:
    variant_id = make_variant(stock=10)
    with running(hub._core.sqlalchemy.url, bus=BUS, snapshot_levels=0) as large:
        ours = shop("inventory", to=large)
        assert ours.next(SNAPSHOT) == {"levels": [], "complete": False}
        hold(guest, variant_id, 3)
        told = ours.next(UPDATED)
        if told["version"] == 1:  # that it was received was told late
            told = ours.next(UPDATED)
        assert (told["stock_quantity"], told["previous_quantity"], told["change_reason"]) == (7, 10, "hold")


def test_backorders_and_untracked_variants_are_in_stock(
    shop: Callable[..., Client], make_variant: MakeVariant, engine: Engine
) -> None:
    backorder, untracked = make_variant(stock=0), make_variant(stock=0)
    with engine.begin() as connection:
        update = "UPDATE stock_level SET {} WHERE variant_id = :id"
        connection.execute(text(update.format("allow_backorder = true")), {"id": backorder})
        connection.execute(text(update.format("policy = 'ignore'")), {"id": untracked})
    ours = shop(f"inventory.variant.{backorder}", f"inventory.variant.{untracked}")
    levels = [ours.next(SNAPSHOT, f"inventory.variant.{id_}")["levels"][0] for id_ in (backorder, untracked)]
    assert [(level["stock_quantity"], level["is_in_stock"]) for level in levels] == [(0, True), (None, True)]


def test_what_was_rolled_back_is_not_told(
    shop: Callable[..., Client], make_variant: MakeVariant, engine: Engine, clock: StoppedClock
) -> None:
    variant_id = make_variant(stock=10)
    ours = shop(f"inventory.variant.{variant_id}")
    ours.next(SNAPSHOT)
    with Session(engine) as session:
        receive_stock(session, variant_id, 5, now=clock.now(), actor="test")
        session.rollback()
    with transaction(engine) as session:
        receive_stock(session, variant_id, 1, now=clock.now(), actor="test")
    told = ours.next(UPDATED)
    assert (told["stock_quantity"], told["change_reason"]) == (11, "receive")


def test_the_catalogue_s_changes_are_told_to_who_shows_the_product_but_not_what_it_costs(
    shop: Callable[..., Client], make_variant: MakeVariant, product_of: ProductOf, engine: Engine
) -> None:
    product_id = product_of(make_variant(stock=10))
    other = product_of(make_variant(stock=10))
    channel = f"inventory.product.{product_id}"
    last = uuid4()
    ours = shop(channel, f"inventory.product.{other}", f"inventory.product.{last}", "catalogue")
    with transaction(engine) as session:
        emit(session, ProductChanged(what="variant.update", product_ids=(last,)))
    # What is told comes in order: when this has, so has all that was told of the two when they were made.
    ours.next_message("product.updated", f"inventory.product.{last}")
    ours.all_until_pong()
    with transaction(engine) as session:
        emit(session, ProductChanged(what="variant.update", product_ids=(product_id,)))
    assert ours.next_message("product.updated") == {
        "event": "product.updated",
        "channel": channel,
        "data": {"product_id": str(product_id)},
    }
    assert ours.next("catalogue.updated", "catalogue") == {}
    with transaction(engine) as session:
        emit(session, ProductChanged(what="pricing.update"))
    shown = {str(product_id), str(other), str(last)}
    assert {ours.next("product.updated")["product_id"] for _ in range(3)} == shown
    ours.next("catalogue.updated")


def test_the_catalogue_s_changes_bring_a_new_snapshot(
    shop: Callable[..., Client], make_variant: MakeVariant, product_of: ProductOf, engine: Engine
) -> None:
    variant_id = make_variant(stock=10)
    product_id = product_of(variant_id)
    channels = [f"inventory.variant.{variant_id}", f"inventory.product.{product_id}", "inventory"]
    ours = shop(*channels)

    def told(channel: str) -> Any:
        """Whether it is low; None if nothing is shown."""
        levels = ours.next(SNAPSHOT, channel)["levels"]
        return levels[0]["is_low_stock"] if levels else None

    for channel in channels:
        wait_until(lambda channel=channel: told(channel) is False)
    with transaction(engine) as session:
        session.execute(text("UPDATE stock_level SET low_stock_threshold = 10"))
        emit(session, ProductChanged(what="variant.update", product_ids=(product_id,)))
    for channel in channels:
        wait_until(lambda channel=channel: told(channel) is True)
    with transaction(engine) as session:
        session.get_one(Product, product_id).status = "archived"
        emit(session, ProductChanged(what="product.update", product_ids=(product_id,)))
    for channel in channels:
        wait_until(lambda channel=channel: told(channel) is None)


def test_changes_within_the_window_are_told_as_one_the_last(
    start: Callable[..., Running], client: Connect, make_variant: MakeVariant
) -> None:
    variant_id = str(make_variant(stock=10))
    server = start(window_ms=300)
    ours = client(server)
    ours.subscribed(f"inventory.variant.{variant_id}")
    ours.next(SNAPSHOT)
    at = "2026-01-01T00:00:00.000Z"
    changes = [[variant_id, "hold", 10, number, number + 1, at] for number in range(1, 9)]
    server.call(server.server.feed.hear, [*changes, changes[0]])  # the first has come twice, and late
    told = [ours.next(UPDATED), ours.next(UPDATED)]
    assert [(each["version"], each["previous_quantity"], each["stock_quantity"]) for each in told] == [
        (2, 10, 9),
        (9, 9, 2),
    ]
    assert ours.all_until_pong() == []


def test_what_was_told_to_nobody_is_found_when_it_is_time(
    database_url: str, client: Connect, make_variant: MakeVariant, engine: Engine
) -> None:
    """The process that has committed was killed before it could tell anybody."""
    variant_id, other = make_variant(stock=10), make_variant(stock=10)
    with running(database_url, check_seconds=0.1) as server:
        ours = client(server)
        for channel in (f"inventory.variant.{variant_id}", "inventory"):
            ours.subscribed(channel)
            ours.next(SNAPSHOT, channel)
        with engine.begin() as connection:
            connection.execute(text("UPDATE stock_level SET reserved = 3, version = version + 1"))
        told = ours.next(UPDATED, f"inventory.variant.{variant_id}")
        assert (told["stock_quantity"], told["change_reason"]) == (7, "resync")
        assert {ours.next(UPDATED, "inventory")["variant_id"] for _ in range(2)} == {str(variant_id), str(other)}
        with engine.begin() as connection:
            connection.execute(text("UPDATE stock_level SET reserved = 0, version = version - 1"))


def test_a_change_while_the_first_snapshot_is_being_read_is_not_lost(
    start: Callable[..., Running],
    client: Connect,
    make_variant: MakeVariant,
    product_of: ProductOf,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variant_id = make_variant(stock=10)
    server = start(check_seconds=3_600)
    changed: list[int] = []

    def read_and_be_late(*arguments: Any, **named: Any) -> Any:
        found = read_levels(*arguments, **named)
        if not changed:
            changed.append(1)
            with engine.begin() as connection:
                connection.execute(text("UPDATE stock_level SET reserved = 1, version = 2"))
            change = [str(variant_id), "hold", 10, 1, 2, "2026-01-01T00:00:00.000Z"]
            server.call(server.server.feed.hear, [change])
        return found

    monkeypatch.setattr("commerce_realtime.feed.read_levels", read_and_be_late)
    ours = client(server)
    ours.subscribed(f"inventory.product.{product_of(variant_id)}")
    assert ours.next(SNAPSHOT)["levels"][0]["version"] == 1
    assert ours.next(UPDATED)["version"] == 2


def test_a_variant_that_nobody_looks_at_any_more_is_forgotten(
    start: Callable[..., Running], client: Connect, make_variant: MakeVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_realtime.feed._MOST_UNWATCHED", 2)
    server = start(check_seconds=3_600)
    ours = client(server)
    kept = make_variant()
    for variant_id in [make_variant() for _ in range(5)] + [kept]:
        ours.subscribed(f"inventory.variant.{variant_id}")
        ours.next(SNAPSHOT)
        if variant_id != kept:
            ours.send("pusher:unsubscribe", {"channel": f"inventory.variant.{variant_id}"})
    ours.all_until_pong()
    server.call(server.server.feed.check)
    assert server.call(lambda: list(server.server.feed._levels)) == [str(kept)]


# --- The publisher ---


class Bus:
    """Takes what is to be told."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def open_sender(self) -> Any:
        return self

    def send(self, texts: list[str]) -> None:
        self.sent.extend(texts)

    def close(self) -> None:
        pass


def test_of_a_variant_the_newest_level_waits_and_a_sale_never_does(application: Any, engine: Engine) -> None:
    """While nobody can be told, what waits is bounded by the variants."""
    publisher = application.registry.realtime

    class Away:
        def open_sender(self) -> Any:
            raise OSError("nobody there")

    publisher._exchange = Away()
    ids = [uuid4(), uuid4()]
    for version in range(1, 500):
        for variant_id in ids:
            publisher.stock_changed(
                StockChanged(variant_id=variant_id, kind="hold", on_hand=999, reserved=version, version=version)
            )
    publisher.stock_changed(StockChanged(variant_id=ids[0], kind="hold", on_hand=999, reserved=1, version=1))
    wait_until(lambda: publisher._is_away)

    bus = Bus()
    publisher._exchange = bus
    wait_until(lambda: bus.sent)
    told = [change for each in bus.sent for change in json.loads(each)[3]]
    assert sorted(change[4] for change in told)[-2:] == [499, 499]
    assert len(told) <= 4


def test_stock_is_told_before_anybody_is_asked_whose_an_order_is(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no connection is free, the answer takes as long as `sqlalchemy.pool_timeout_seconds`."""
    bus = Bus()
    told: list[str] = []
    publisher = Publisher(bus, application.registry.engine, application.registry.clock, 0)  # type: ignore[arg-type]
    monkeypatch.setattr(publisher, "_start", lambda: None)
    monkeypatch.setattr(publisher, "_owners", lambda order_ids: {} if not order_ids else told.extend(bus.sent) or {})
    order_id = uuid4()
    publisher.tell(OrderPaid(order_id=order_id, number="1"), lambda owner: ["private-staff"], {})
    publisher.stock_changed(StockChanged(variant_id=uuid4(), kind="hold", on_hand=9, reserved=1, version=1))
    publisher._tell_all()
    assert [json.loads(each)[2] for each in told] == ["stock"]
    assert [json.loads(each)[1:3] for each in bus.sent] == [[1, "stock"], [2, "event"]]


def test_a_thread_that_cannot_be_started_fails_no_sale_and_is_tried_again(
    application: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ours = application.registry.realtime
    bus = Bus()
    publisher = Publisher(cast(Exchange, bus), engine, ours._clock, 0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        publisher.broadcast(["news"], "x", 1)
    publisher.broadcast(["news"], "x", 2)
    wait_until(lambda: len(bus.sent) == 2)
    publisher.close()
    assert [json.loads(text)[-2] for text in bus.sent] == ["1", "2"]


def test_holds_are_taken_as_ever_while_the_bus_is_away(
    database_url: str, make_variant: MakeVariant, guest: TestApp, application: Any
) -> None:
    variant_id = make_variant(stock=10)
    publisher = application.registry.realtime

    class Frozen:
        def open_sender(self) -> Any:
            raise TimeoutError("nobody answers")

    publisher._exchange = Frozen()
    publisher._hang_up()
    for _ in range(3):
        hold(guest, variant_id)
    assert guest.get(f"{API}/products/product-1").json["variants"][0]["stock"]["available"] == 7


@pytest.mark.parametrize("bus", ["postgres", "redis"])
def test_three_hundred_holds_reach_two_hundred_subscribers_as_few_messages(
    bus: str,
    request: pytest.FixtureRequest,
    make_variant: MakeVariant,
    database_url: str,
    engine: Engine,
    clock: StoppedClock,
) -> None:
    """Over two servers, and over a reconnect of every fourth subscriber in the middle."""
    core = {"redis.url": request.getfixturevalue("redis_server").url} if bus == "redis" else {}
    given = {"commerce.plugins": "realtime", "realtime.secret": SECRET, "realtime.bus": f"test_burst_{bus}"}
    variant_id = make_variant(stock=300)
    application = make_application(make_settings(database_url, {**core, **given}), clock=clock)
    attach(engine, application.registry.bus)
    try:
        with (
            running(database_url, core, bus=f"test_burst_{bus}", window_ms=WINDOW_MS) as one,
            running(database_url, core, bus=f"test_burst_{bus}", window_ms=WINDOW_MS) as other,
        ):
            crowd = Crowd([one.port, other.port], f"inventory.variant.{variant_id}", size=200, last=301)
            loop_done = crowd.start()
            guests = [TestApp(application) for _ in range(10)]

            def buy(guest: TestApp) -> None:
                for _ in range(30):
                    hold(guest, variant_id)

            results = concurrently([lambda guest=guest: buy(guest) for guest in guests])
            assert results == [None] * 10
            loop_done.result(PATIENCE)
            assert crowd.quantities == [0] * 200
            assert crowd.out_of_order == 0
            assert crowd.messages < 200 * 300 / 2
    finally:
        attach(engine, None)
        close(application.registry)


class Crowd:
    """Subscribers that keep what is newest, as any client does; every fourth reconnects in the middle."""

    def __init__(self, ports: list[int], channel: str, *, size: int, last: int) -> None:
        self._ports, self._channel, self._size, self._last = ports, channel, size, last
        self.messages = self.out_of_order = 0
        self.quantities: list[int | None] = [None] * size

    def start(self) -> Any:
        ready, done = threading.Event(), Future[None]()

        def run() -> None:
            try:
                asyncio.run(self._everybody(ready))
                done.set_result(None)
            except BaseException as error:
                ready.set()
                done.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(PATIENCE)
        return done

    async def _everybody(self, ready: Any) -> None:
        subscribed = [asyncio.Event() for _ in range(self._size)]
        tasks = [asyncio.create_task(self._one(number, subscribed[number])) for number in range(self._size)]
        await asyncio.gather(*(event.wait() for event in subscribed))
        ready.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    async def _one(self, number: int, subscribed: asyncio.Event) -> None:
        seen = 0
        for attempt in range(2):
            port = self._ports[(number + attempt) % len(self._ports)]
            async with connect(
                f"ws://127.0.0.1:{port}/app/shop?protocol=7", compression=None, open_timeout=PATIENCE
            ) as ws:
                await ws.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": self._channel}}))
                async for text_ in ws:
                    message = json.loads(text_)
                    if message["event"] not in (UPDATED, SNAPSHOT):
                        continue
                    self.messages += 1
                    data = json.loads(message["data"])
                    level = data["levels"][0] if message["event"] == SNAPSHOT else data
                    if level["version"] < seen and message["event"] == UPDATED:
                        self.out_of_order += 1
                    if level["version"] >= seen:
                        seen, self.quantities[number] = level["version"], level["stock_quantity"]
                    subscribed.set()
                    if seen == self._last:
                        return
                    if number % 4 == 0 and attempt == 0 and seen > 100:
                        break
