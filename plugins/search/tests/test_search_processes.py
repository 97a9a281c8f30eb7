"""Search with the shop as it runs in production: two web servers, a worker, and somebody with a kill -9."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from commerce_search import indexing
from sqlalchemy import Engine, text

from commerce_core import migrations
from commerce_core.accounts.tokens import issue_token
from commerce_core.accounts.users import create_user
from commerce_core.application import make_configurator
from commerce_core.database import transaction
from commerce_core.demo.bulk import load_bulk
from commerce_core.plugins.loading import owners_declared
from commerce_core.settings import CoreSettings
from commerce_core.testing import make_settings
from tests.support.processes import Shop, running_shop, wait_until

SOAK = bool(os.environ.get("COMMERCE_SOAK"))
BACKENDS = ["whoosh", "tantivy", "postgresql"] if SOAK else ["tantivy"]
ROUNDS = 20 if SOAK else 2
PRODUCTS = 3_000 if SOAK else 300
KILLS = 10 if SOAK else 1
# What changes is seen on the other server within a second, if the machine has nothing else to do.
LIMIT_SECONDS = 1.0 if SOAK else float("inf")


class Shoppers:
    """Search without a break, on every server, and keep what goes wrong."""

    def __init__(self, ports: list[int], count: int = 2) -> None:
        self.answers = itertools.count(1)
        self.answered = 0
        self.wrong: list[Any] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=(ports[n % len(ports)], n)) for n in range(count)]

    def __enter__(self) -> Shoppers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _shop(self, port: int, seed: int) -> None:
        chance = random.Random(seed)
        while not self._stopping.is_set():
            words = chance.sample(["nordwind", "jacket", "trail", "boot", "bottel", "classic", "phone"], 2)
            status, body = ask(port, "/api/v1/search?" + urlencode({"q": " ".join(words)}))
            if status != 200 or body["meta"]["total"] == 0:
                self.wrong.append((status, words, body))
            self.answered = next(self.answers)


def ask(port: int, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        answer = response.read()
        etag = response.getheader("ETag")
        return response.status, {**(json.loads(answer) if answer else {}), "etag": etag}
    finally:
        connection.close()


@pytest.fixture
def shop_settings(own_database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    return {
        "commerce.plugins": "search",
        "search.backend": request.param,
        "search.path": str(tmp_path / "search"),
        "scheduler.interval_seconds": "0.2",
    }


@pytest.fixture
def settings(own_database_url: str, shop_settings: dict[str, str]) -> CoreSettings:
    return make_settings(own_database_url, shop_settings)


@pytest.fixture
def registry(settings: CoreSettings, own_engine: Engine) -> Any:
    """The shop of this process, with a catalogue that is indexed."""
    migrations.upgrade(own_engine, owners_declared(settings))
    registry = make_configurator(settings).registry
    load_bulk(own_engine, PRODUCTS, seed=1, now=registry.clock.now())
    indexing.rebuild(registry.search, registry.engine)
    yield registry
    registry.search.close()
    registry.engine.dispose()


@pytest.fixture
def shop(registry: Any, tmp_path: Path, own_database_url: str, shop_settings: dict[str, str]) -> Iterator[Shop]:
    with running_shop(tmp_path, own_database_url, shop_settings) as running:
        yield running


@pytest.fixture
def bearer(registry: Any) -> str:
    with transaction(registry.engine) as session:
        user = create_user(session, "staff@example.com", "Staff", "staff")
        return f"Bearer {issue_token(session, user, 'test')}"


def seconds_until(condition: Callable[[], object]) -> float:
    started = time.monotonic()
    wait_until(condition)
    return time.monotonic() - started


# One test, because a shop of several processes takes long to start.
@pytest.mark.parametrize("shop_settings", BACKENDS, indirect=True)
def test_under_load_changes_are_seen_everywhere_and_a_reindex_that_is_killed_hurts_nobody(
    shop: Shop, registry: Any, bearer: str, tmp_path: Path
) -> None:
    changes_on_one_server_are_soon_right_in_the_search_of_the_other(shop, registry, bearer)
    a_reindex_that_is_killed_breaks_no_search_and_loses_no_product(shop, registry, tmp_path)


def changes_on_one_server_are_soon_right_in_the_search_of_the_other(shop: Shop, registry: Any, bearer: str) -> None:
    here, there = shop.ports
    with transaction(registry.engine) as session:
        rows = session.execute(
            text(
                "SELECT product.id, product.name, variant.id AS variant_id, available.total FROM product"
                " JOIN variant ON product_id = product.id AND is_default, LATERAL (SELECT sum(on_hand) AS total"
                " FROM stock_level JOIN variant AS each ON each.id = variant_id WHERE product_id = product.id)"
                " AS available WHERE status = 'active' AND sellable_variants = 1 AND"
                " (SELECT on_hand FROM stock_level WHERE variant_id = variant.id) > 0 ORDER BY product.id LIMIT :limit"
            ),
            {"limit": ROUNDS},
        ).all()
    assert rows
    took = []

    def ids(**query: Any) -> list[str]:
        status, page = ask(there, "/api/v1/search?" + urlencode({"facets": "false", "per_page": 100, **query}))
        assert status == 200
        return [product["id"] for product in page["data"]]

    with Shoppers(shop.ports) as shoppers:
        for number, row in enumerate(rows, 1):
            address = f"/api/v1/admin/products/{row.id}/variants/{row.variant_id}"
            _, variant = ask(here, address, Authorization=bearer)
            change = {"price_amount": number}
            status, _ = ask(here, address, "PATCH", change, Authorization=bearer, **{"If-Match": variant["etag"]})
            assert status == 200
            took.append(seconds_until(lambda row=row: str(row.id) in ids(max_price=ROUNDS)))
            hold = {"variant_id": str(row.variant_id), "quantity": int(row.total)}
            assert ask(here, "/api/v1/holds", "POST", hold)[0] == 201
            took.append(seconds_until(lambda row=row: str(row.id) not in ids(max_price=ROUNDS, in_stock="true")))
    print(f"seen after {', '.join(f'{seconds:.2f}' for seconds in took)} s; {shoppers.answered} searches meanwhile")
    assert not shoppers.wrong
    assert max(took) < LIMIT_SECONDS, shop.output


def a_reindex_that_is_killed_breaks_no_search_and_loses_no_product(shop: Shop, registry: Any, tmp_path: Path) -> None:
    chance = random.Random(5)
    reindex = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "commerce_core.cli",
        "search",
        "reindex",
        str(tmp_path / "shop.ini"),
    ]
    environment = {**os.environ, "COMMERCE_SQLALCHEMY__URL": registry.database_url}
    with Shoppers(shop.ports) as shoppers:
        for _ in range(KILLS):
            with (tmp_path / "reindex.log").open("ab") as log:
                process = subprocess.Popen(reindex, env=environment, stdout=log, stderr=log)
            wait_until(lambda process=process: is_building(registry) or process.poll() is not None)
            # A small index is built before many have searched.
            enough = shoppers.answered + (chance.randrange(60) if SOAK else 0)
            wait_until(lambda process=process, enough=enough: shoppers.answered >= enough or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_until(lambda: nobody_builds(registry))  # until the database has noticed that it is gone
        done = subprocess.run(reindex, env=environment, capture_output=True, text=True, check=True)
    assert "products are indexed" in done.stdout
    assert not shoppers.wrong
    assert len(indexing.check(registry.search, registry.engine, mend=False)) == 0


def nobody_builds(registry: Any) -> bool:
    try:
        with indexing._only_builder(registry.engine):
            return True
    except indexing.BuildUnderWay:
        return False


def is_building(registry: Any) -> bool:
    with transaction(registry.engine) as session:
        return indexing.building(session, registry.search.code) is not None
