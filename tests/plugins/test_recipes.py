"""docs/plugins/recipes.md: every recipe is a plugin that does what it says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import Engine, update
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.accounts.models import User
from commerce_core.database import transaction
from commerce_core.plugins.context import Context
from commerce_core.plugins.startup import start, stop
from commerce_core.testing import SignedIn, StoppedClock
from commerce_core.testing.contract import buy

API = "/api/v1"
PAGE = (Path(__file__).parents[2] / "docs" / "plugins" / "recipes.md").read_text()
FILE = re.compile(r"^```(?:python|mako)\n##? commerce_extras/(\S+)\n(.*?)^```", re.M | re.S)
RECIPES: dict[str, dict[str, str]] = {
    title: dict(FILE.findall(text))
    for title, text in re.findall(r"^## (?!\w+/)(.*?)\n(.*?)(?=^## (?!\w+/)|\Z)", PAGE, re.M | re.S)
}
Test = TypeVar("Test", bound=Callable[..., object])
shown: set[str] = set()


def shows(title: str, **settings: str) -> Callable[[Test], Test]:
    """The shop of the test has the plugin of this recipe."""
    shown.add(title)

    def decorate(test: Test) -> Test:
        marked = pytest.mark.parametrize("recipe", [title], indirect=True, ids=[""])(test)
        given = {f"extras.{name}": value for name, value in settings.items()}
        return pytest.mark.commerce(plugins=["extras"], settings=given)(marked)

    return decorate


@pytest.fixture(autouse=True)
def recipe(request: pytest.FixtureRequest, install: Callable[..., Path]) -> None:
    """The recipe's files, installed."""
    if not hasattr(request, "param"):
        return
    files = {name: text.replace("commerce_extras", "made_extras") for name, text in RECIPES[request.param].items()}
    modules = {name.removesuffix(".py"): files.pop(name) for name in list(files) if name.endswith(".py")}
    declares = 'settings="made_extras.settings:Settings",' if "settings" in modules else ""
    package = install("extras", declares=declares + ('mail_templates="mail"' if files else ""), **modules)
    for name, text in files.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(text)


def test_every_recipe_is_tested() -> None:
    assert shown == set(RECIPES)
    assert all("hooks.py" in files for files in RECIPES.values())


@shows("Refuse what is in a cart")
def test_a_cart_is_refused(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    line = {"variant_id": str(make_variant()), "quantity": 6}
    refused = client.post_json(f"{API}/cart/lines", line, expect_errors=True)
    assert assert_problem(refused, 409, "extras/too-many")["most"] == 5
    client.post_json(f"{API}/cart/lines", {**line, "quantity": 5}, status=201)


@shows("Refuse an order, or do something together with it")
def test_an_order_is_refused(client: TestApp, make_variant: Callable[..., UUID], engine: Engine) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    address = {"name": "Ada Lovelace", "line1": "1 Main St", "city": "McMurdo", "country": "AQ"}
    order = {"hold_id": hold["id"], "shipping_address": address}
    assert_problem(client.post_json(f"{API}/orders", order, expect_errors=True), 409, "extras/not-sent-there")
    order["shipping_address"]["country"] = "US"
    client.post_json(f"{API}/orders", order, status=201)


@shows("Add a fee")
def test_a_small_order_costs_a_fee(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    variant_id = str(make_variant(price_amount=1_000))
    for quantity, fee in ((1, 250), (2, 0)):
        line = {"variant_id": variant_id, "quantity": quantity}
        assert client.post_json(f"{API}/cart/lines", line).json["totals"]["fee_total"]["amount"] == fee


@shows("Hold some things longer")
def test_a_large_hold_lasts_longer(
    client: TestApp, make_variant: Callable[..., UUID], clock: StoppedClock, application: Any
) -> None:
    variant_id = str(make_variant(stock=20))
    held = [client.post_json(f"{API}/holds", {"variant_id": variant_id, "quantity": n}).json for n in (1, 10)]
    clock.tick(seconds=application.registry.settings_object.stock.hold_seconds + 1)
    assert [client.get(f"{API}/holds/{hold['id']}").json["state"] for hold in held] == ["expired", "active"]


@shows("Show a value with products, and say when it has changed")
def test_products_show_how_often_they_were_ordered(
    application: Any,
    client: TestApp,
    make_variant: Callable[..., UUID],
    run_jobs: Callable[[], int],
) -> None:
    variant_id = make_variant()
    [product] = client.get(f"{API}/products").json["data"]
    assert product["extensions"] == {"extras": {"ordered": None}}
    buy(application, variant_id)
    run_jobs()
    assert client.get(f"{API}/products/{product['slug']}").json["extensions"] == {"extras": {"ordered": 1}}


class OtherSystem(HTTPServer):
    """Answers with the statuses that it is given, one after the other, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.told: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: OtherSystem

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.headers["Authorization"], self.headers["Idempotency-Key"]))
        self.send_response(self.server.statuses.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quietly."""


@pytest.fixture
def other_system() -> Iterator[OtherSystem]:
    with OtherSystem() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@shows("Tell another system of paid orders", url="http://127.0.0.1:1/", key="a-key")
def test_another_system_is_told_until_it_listens(
    application: Any,
    staff: TestApp,
    make_variant: Callable[..., UUID],
    run_jobs: Callable[[], int],
    clock: StoppedClock,
    other_system: OtherSystem,
) -> None:
    own = application.registry.plugins.settings_of("extras")
    nobody_listens = own.url
    orders = [buy(application, make_variant()) for _ in range(2)]
    staff.post_json(f"{API}/admin/orders/{orders[0]['id']}/mark-paid", {"reference": "till 1"})
    run_jobs()
    # Settings do not change; where the other system is does, for this test.
    object.__setattr__(own, "url", f"{nobody_listens[:-2]}{other_system.server_port}/")
    other_system.statuses = [503, 200, 400]
    for _ in range(2):
        clock.tick(minutes=10)
        run_jobs()
    assert other_system.told == [("Bearer a-key", orders[0]["id"])] * 2
    staff.post_json(f"{API}/admin/orders/{orders[1]['id']}/mark-paid", {"reference": "till 2"})
    run_jobs()
    [dead] = staff.get(f"{API}/admin/jobs?state=dead").json["data"]
    assert (dead["name"], other_system.statuses) == ("extras.tell", [])


@shows("Every day, write a mail")
def test_the_boss_is_written_to_every_day(
    application: Any,
    make_variant: Callable[..., UUID],
    run_jobs: Callable[[], int],
    clock: StoppedClock,
    mails: Callable[..., Any],
) -> None:
    clock.set(clock.now().replace(hour=23, minute=59))
    buy(application, make_variant())
    run_jobs()
    before = len(mails(to="boss@example.com"))
    clock.tick(minutes=2)
    run_jobs()
    *_, mail = mails(to="boss@example.com")
    assert len(mails(to="boss@example.com")) == before + 1
    assert (mail.letter.subject, mail.letter.text) == ("Orders of the day", "There were 1.\n")


@shows("An address for staff, and an event of your own")
def test_staff_put_crates_on_the_shelf(
    client: TestApp, staff: TestApp, make_variant: Callable[..., UUID], happened: list[Any]
) -> None:
    variant_id = make_variant(stock=0)
    crates = {"variant_id": str(variant_id), "crates": 2}
    client.post_json(f"{API}/extras/crates", crates, status=401)
    staff.post_json(f"{API}/extras/crates", crates, status=204)
    client.post_json(f"{API}/holds", {"variant_id": str(variant_id), "quantity": 24}, status=201)
    told = [event for event in happened if type(event).__name__ == "CratesReceived"]
    assert [(event.topic, event.variant_id, event.crates) for event in told] == [
        ("extras.crates_received", variant_id, 2)
    ]


@shows("Something for members of a group only")
def test_the_club_sees_its_news(sign_in: Callable[..., SignedIn], engine: Engine) -> None:
    ada = sign_in("customer")
    ada.client.get(f"{API}/extras/news", status=403)
    with transaction(engine) as session:
        session.execute(update(User).where(User.id == ada.user_id).values(tier="gold"))
    assert ada.client.get(f"{API}/extras/news").json == {"text": "The sale begins at noon."}
    sign_in("staff").client.get(f"{API}/extras/news", status=403)
    sign_in("admin").client.get(f"{API}/extras/news", status=200)


@shows("Let somebody else sign users in", proxy_secret="between-us")
def test_the_proxy_says_who_asks(client: TestApp, sign_in: Callable[..., SignedIn], engine: Engine) -> None:
    ada = sign_in("customer").client.get(f"{API}/auth/me").json
    who = {"X-Proxy-User": ada["email"], "X-Proxy-Secret": "between-us"}
    assert client.get(f"{API}/auth/me", headers=who).json["id"] == ada["id"]
    client.get(f"{API}/auth/me", headers={**who, "X-Proxy-Secret": "guessed"}, status=401)
    client.get(f"{API}/auth/me", headers={**who, "X-Proxy-User": "nobody@example.com"}, status=401)


@shows("Keep a client for as long as the process lives")
def test_the_client_is_there_while_the_process_serves(application: Any) -> None:
    start(application.registry, "web")
    assert application.registry.extras_http.pools is not None
    stop(application.registry)


@shows("Say what is still open before the plugin goes")
def test_orders_that_wait_are_told(
    application: Any, client: TestApp, make_variant: Callable[..., UUID], engine: Engine
) -> None:
    hook = application.registry.plugins.hook("commerce_disable_blockers")

    def open_things() -> list[str]:
        with transaction(engine) as session:
            return [told for _, told in hook.collect(Context(application.registry.plugins, session=session))]

    assert open_things() == []
    hold = client.post_json(f"{API}/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    client.post_json(f"{API}/orders", {"hold_id": hold["id"], "payment": {"provider": "manual"}}, status=201)
    assert open_things() == ["1 orders wait for their payment."]
