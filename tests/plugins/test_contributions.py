"""What plugins bring is there: prices, fields, routes, permissions, jobs, subscribers, checks, mails, commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.application import make_configurator, without_database
from commerce_core.cache.entry import EVERYTHING
from commerce_core.catalog.service import create_brand, create_category
from commerce_core.cli.main import main
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, emit
from commerce_core.mail.service import queue_mail
from commerce_core.orders.models import OrderAdjustment
from commerce_core.plugins.host import PluginHost
from commerce_core.plugins.mistakes import BrokenPlugins
from commerce_core.plugins.startup import processes, start, stop
from commerce_core.pricing.service import quote_basket
from commerce_core.testing import SignedIn, StoppedClock, count_sql, make_settings

API = "/api/v1"
Log = list[Any]
loyalty = pytest.mark.commerce(plugins=["loyalty"])


@pytest.fixture(autouse=True)
def told() -> Iterator[list[Any]]:
    """What the plugin loyalty has been told."""
    from sample_loyalty.hooks import told

    told.clear()
    yield told
    told.clear()


@pytest.fixture
def variant_id(make_variant: Callable[..., UUID]) -> str:
    return str(make_variant(stock=50))


@pytest.fixture
def place_order(client: TestApp, variant_id: str) -> Callable[..., Any]:
    """`place_order()`: an order of two, as the client is answered."""

    def place(quantity: int = 2, **body: Any) -> Any:
        hold = client.post_json(f"{API}/holds", {"variant_id": variant_id, "quantity": quantity}).json
        return client.post_json(f"{API}/orders", {"hold_id": hold["id"], **body}).json

    return place


# --- Prices ---


@pytest.mark.parametrize("exclusive", ["false", "true"])
def test_plugins_in_either_order_make_one_price(engine: Engine, exclusive: str) -> None:
    """Rules that commute add up; of exclusive ones the better counts, and the trace says what became of the other."""
    from support.baskets import basket, item

    seen = []
    for plugins in ("tenoff fiveoff", "fiveoff tenoff"):
        names = {"commerce.plugins": plugins, "tenoff.exclusive": exclusive, "fiveoff.exclusive": exclusive}
        registry = make_configurator(without_database(make_settings("postgresql://none", names))).registry
        with transaction(engine) as session:
            quote = quote_basket(session, registry.pricing, basket(item(1, 9_999, quantity=3)))
        by_source = {adjustment.source: adjustment.amount for adjustment in quote.adjustments}
        outcomes = {step["source"]: step["outcome"] for step in quote.trace if step["stage"] == "LINE"}
        seen.append((quote.total, by_source, outcomes))
    assert seen[0] == seen[1]
    total, by_source, outcomes = seen[0]
    if exclusive == "false":
        assert by_source == {"tenoff": -3_000, "fiveoff": -1_500}
        assert total == 29_997 - 4_500
    else:
        assert by_source == {"tenoff": -3_000}
        assert outcomes["tenoff"] == "applied"
        assert outcomes["fiveoff"] != "applied"


@pytest.mark.commerce(plugins=["tenoff"])
def test_who_changed_the_price_is_kept_with_the_order(place_order: Callable[..., Any], engine: Engine) -> None:
    order = place_order()
    assert [(each["source"], each["code"]) for each in order["adjustments"]] == [("tenoff", "ten-off")]
    with transaction(engine) as session:
        assert session.scalars(select(OrderAdjustment.source)).all() == ["tenoff"]


# --- Fields ---


@loyalty
def test_extensions_are_loaded_once_for_a_page(
    client: TestApp, place_order: Callable[..., Any], application: Any
) -> None:
    guest = {"X-Cart-Token": "a-token-of-sixteen-characters"}
    client.extra_environ.update({"HTTP_X_CART_TOKEN": guest["X-Cart-Token"]})
    orders = [place_order(quantity) for quantity in (1, 2, 3)]
    assert [order["extensions"] for order in orders] == [
        {"loyalty": {"points": 99 * n + n * 99 // 100}} for n in (1, 2, 3)
    ]
    with count_sql(application.registry.engine) as statements:
        page = client.get(f"{API}/orders").json["data"]
    assert [order["extensions"]["loyalty"]["points"] for order in page] == [299, 199, 99]
    of_field = [each for each in statements if each.startswith("SELECT orders.id, orders.total")]
    assert len(of_field) == 1
    assert client.get(f"{API}/orders/{orders[0]['id']}").json["extensions"]["loyalty"] == {"points": 99}


@loyalty
def test_fields_are_in_all_resources_and_what_is_left_out_is_null(
    client: TestApp, staff: TestApp, variant_id: str, place_order: Callable[..., Any]
) -> None:
    cart = client.post_json(f"{API}/cart/lines", {"variant_id": variant_id, "quantity": 1}).json
    assert cart["extensions"] == {"loyalty": {"points": None}}
    [product] = client.get(f"{API}/products?include=variants").json["data"]
    assert product["extensions"] == {"loyalty": {"offer": {"double": True, "anonymous": True}}}
    assert product["variants"][0]["extensions"] == {"loyalty": {"points": 7}}
    detail = client.get(f"{API}/products/{product['slug']}").json
    assert (detail["extensions"], detail["variants"]) == (product["extensions"], product["variants"])
    order = place_order()
    shown = staff.get(f"{API}/admin/orders/{order['id']}").json
    assert shown["extensions"] == order["extensions"] == {"loyalty": {"points": 199}}


@loyalty
def test_a_field_says_from_when_on_it_is_wrong(
    client: TestApp, variant_id: str, product_of: Callable[[UUID], UUID], clock: StoppedClock
) -> None:
    from sample_loyalty.hooks import offer_ends_at

    path = f"{API}/products/{product_of(UUID(variant_id))}"
    offer_ends_at += [clock.now() + timedelta(seconds=90), clock.now() + timedelta(seconds=9)]
    try:
        first = client.get(path)
        assert first.headers["Cache-Control"] == "public, max-age=9, s-maxage=9, stale-while-revalidate=0"
        clock.tick(seconds=8.5)
        assert client.get(path).headers["Cache-Control"] == "public, max-age=0, must-revalidate"
    finally:
        offer_ends_at.clear()
    clock.tick(seconds=0.5)
    assert client.get(path).headers["Cache-Control"].startswith("public, max-age=30")


@loyalty
def test_a_field_that_fails_is_logged_with_its_request_also_where_the_answer_is_kept(
    client: TestApp, variant_id: str, product_of: Callable[[UUID], UUID], logged: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sample_loyalty.hooks.points_of_a_variant", [])
    answer = client.get(f"{API}/products/{product_of(UUID(variant_id))}", status=500)
    [line] = [line for line in logged if line["event"] == "plugin failed"]
    assert line["request_id"] == answer.headers["X-Request-ID"]


@loyalty
def test_categories_brands_and_users_have_fields_too(
    client: TestApp, staff: TestApp, sign_in: Callable[..., SignedIn], engine: Engine
) -> None:
    with transaction(engine) as session:
        parent = create_category(session, slug="outdoor", name="Outdoor")
        create_category(session, slug="tents", name="Tents", parent=parent)
        create_brand(session, slug="kestrel", name="Kestrel")
    same_for_all, staff_s = {"loyalty": {"asked_by": None}}, {"loyalty": {"asked_by": "staff"}}
    [category] = staff.get(f"{API}/categories").json["data"]
    assert [category["extensions"], category["children"][0]["extensions"]] == [same_for_all, same_for_all]
    assert staff.get(f"{API}/categories/tents").json["extensions"] == same_for_all
    assert [brand["extensions"] for brand in client.get(f"{API}/brands").json["data"]] == [same_for_all]
    customer = sign_in("customer")
    assert customer.client.get(f"{API}/auth/me").json["extensions"] == {"loyalty": {"asked_by": "customer"}}
    assert staff.get(f"{API}/admin/users/{customer.user_id}").json["extensions"] == staff_s
    assert {user["extensions"] == staff_s for user in staff.get(f"{API}/admin/users").json["data"]} == {True}


@loyalty
def test_fields_of_products_are_kept_with_the_answer_and_dropped_by_their_event(
    application: Any,
    client: TestApp,
    engine: Engine,
    variant_id: str,
    product_of: Callable[[UUID], UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    product_id = product_of(UUID(variant_id))
    points = {"loyalty": {"points": 7}}

    def shown() -> Any:
        return client.get(f"{API}/products/{product_id}").json["variants"][0]["extensions"]

    def is_kept() -> bool:
        application.registry.cache.drop([EVERYTHING])
        monkeypatch.setattr("sample_loyalty.hooks.points_of_a_variant", [7])
        assert shown() == points
        monkeypatch.setattr("sample_loyalty.hooks.points_of_a_variant", [8])
        return bool(shown() == points)

    # That the product was made may be heard again, late, and drop the first answer.
    assert any(is_kept() for _ in range(3))
    with transaction(engine) as session:
        emit(session, ProductChanged(what="loyalty.update", product_ids=(product_id,)))
    assert shown() == {"loyalty": {"points": 8}}


def test_without_plugins_extensions_are_empty_and_cost_nothing(
    client: TestApp, application: Any, place_order: Callable[..., Any], variant_id: str
) -> None:
    assert place_order()["extensions"] == {}
    assert client.get(f"{API}/products").json["data"][0]["extensions"] == {}
    assert not application.registry.plugins.runtime.order_placing


# --- Addresses, people ---


@loyalty
def test_routes_are_below_the_plugins_name_unless_it_asks_for_another(client: TestApp) -> None:
    assert client.get("/feeds/points.json").json == {"units_per_point": 1}
    assert client.get(f"{API}/loyalty/rate", status=401)
    assert client.get("/static/loyalty/points.css").content_type == "text/css"
    assert client.get(f"{API}/capabilities").json == {
        "data": [{"plugin": "loyalty", "capabilities": ["loyalty.points"]}]
    }


@loyalty
def test_what_a_plugin_adds_is_in_the_reference(client: TestApp) -> None:
    document = client.get(f"{API}/openapi.json").json
    grant = document["paths"][f"{API}/loyalty/grants"]["post"]
    assert (grant["operationId"], grant["x-permission"]) == ("sample_loyalty_grant", "loyalty:grant")
    assert document["components"]["schemas"]["LoyaltyTooManyProblem"]
    extensions = document["components"]["schemas"]["Order"]["properties"]["extensions"]
    assert extensions["properties"]["loyalty"]["properties"] == {"points": {"type": "integer"}}
    assert client.get("/problems/loyalty/too-many", headers={"Accept": "application/json"}).json["status"] == 409
    assert client.get(f"{API}/docs").status_code == 200


@loyalty
def test_a_plugins_permission_is_for_its_role_and_tokens_can_be_narrowed_to_it(
    sign_in: Callable[..., SignedIn], client: TestApp
) -> None:
    staff, customer = sign_in("staff").client, sign_in().client
    grants = f"{API}/loyalty/grants"
    staff.post_json(grants, {"points": 1}, status=204)
    customer.post_json(grants, {"points": 1}, status=403)
    client.post_json(grants, {"points": 1}, status=401)
    assert_problem(staff.post_json(grants, {"points": 101}, expect_errors=True), 409, "loyalty/too-many")
    assert "loyalty:grant" in staff.get(f"{API}/auth/me").json["permissions"]
    assert [each["path"] for each in staff.get(f"{API}/admin/resources").json["data"]] == [grants]
    token = staff.post_json(f"{API}/auth/tokens", {"device_name": "x", "abilities": ["loyalty:grant"]}).json["token"]
    narrow = {"Authorization": f"Bearer {token}"}
    client.post_json(grants, {"points": 1}, headers=narrow, status=204)
    client.get(f"{API}/admin/orders", headers=narrow, status=403)
    for beyond in ("loyalty:vip", "loyalty:nothing"):
        customer.post_json(f"{API}/auth/tokens", {"device_name": "x", "abilities": [beyond]}, status=403)


@loyalty
def test_a_permission_may_be_for_a_group(sign_in: Callable[..., SignedIn], client: TestApp) -> None:
    customer = sign_in().client
    customer.get(f"{API}/loyalty/rate", status=403)
    assert customer.get(f"{API}/loyalty/rate", headers={"X-Vip": "1"}).json == {"units_per_point": 100}
    client.get(f"{API}/loyalty/rate", headers={"X-Vip": "1"}, status=401)
    narrow = sign_in(abilities=["account:self"]).client
    narrow.get(f"{API}/loyalty/rate", headers={"X-Vip": "1"}, status=403)
    assert sign_in("admin").client.get(f"{API}/loyalty/rate").status_code == 200


@loyalty
def test_a_plugin_may_say_who_asks(sign_in: Callable[..., SignedIn], client: TestApp) -> None:
    known = sign_in().client.get(f"{API}/auth/me").json
    assert client.get(f"{API}/auth/me", headers={"X-Single-Sign-On": known["email"]}).json["id"] == known["id"]
    client.get(f"{API}/auth/me", headers={"X-Single-Sign-On": "nobody@example.com"}, status=401)
    client.get(f"{API}/auth/me", headers={"Authorization": "Bearer made-up"}, status=401)


# --- Carts, holds, orders ---


@loyalty
def test_a_cart_is_refused_for_one_reason_or_for_all_of_them(client: TestApp, variant_id: str) -> None:
    cart = client.post_json(f"{API}/cart/lines", {"variant_id": variant_id, "quantity": 4}).json
    client.extra_environ.update({"HTTP_X_CART_TOKEN": cart["token"]})
    line = f"{API}/cart/lines/{cart['lines'][0]['id']}"
    body = {"variant_id": variant_id, "quantity": 2}
    problem = assert_problem(client.post_json(f"{API}/cart/lines", body, status=409), 409, "loyalty/too-many")
    assert (problem["detail"], problem["most"]) == ("At most 5 (edit).", 5)
    refused = assert_problem(client.patch_json(line, {"quantity": 13}, status=409), 409, "cart-refused")
    assert [each["type"] for each in refused["problems"]] == ["/problems/loyalty/too-many", "/problems/loyalty/unlucky"]
    assert client.get(f"{API}/cart").json["lines"][0]["quantity"] == 4


@loyalty
def test_a_hold_is_no_way_around_what_carts_are_refused_for(client: TestApp, variant_id: str) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": variant_id, "quantity": 6}).json
    problem = assert_problem(
        client.post_json(f"{API}/orders", {"hold_id": hold["id"]}, status=409), 409, "loyalty/too-many"
    )
    assert problem["detail"] == "At most 5 (place)."


@pytest.mark.commerce(plugins=["loyalty"], settings={"loyalty.hold_minutes": "30"})
def test_a_plugin_says_how_long_a_hold_lasts(client: TestApp, variant_id: str, clock: StoppedClock) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": variant_id, "quantity": 1}).json
    clock.tick(minutes=29)
    extended = client.post(f"{API}/holds/{hold['id']}/extend").json
    clock.tick(minutes=29)
    assert client.get(f"{API}/holds/{hold['id']}").json["state"] == "active"
    assert extended["expires_at"] > hold["expires_at"]


@loyalty
def test_a_plugin_is_told_of_placing_of_transitions_and_of_what_has_happened(
    place_order: Callable[..., Any], staff: TestApp, run_jobs: Callable[[], int], logged: Log, told: Log
) -> None:
    order = place_order(payment={"provider": "manual"})
    number = order["number"]
    paid = {"reference": "till 4711", "note": "cash"}
    staff.post_json(f"{API}/admin/orders/{order['id']}/mark-paid", paid)
    run_jobs()
    happened = [
        ("placing", number, [order["lines"][0]["sku"]]),
        ("payment_status", "unpaid", "pending"),
        ("placed", number),
        ("status", "pending", "processing"),
        ("payment_status", "pending", "paid"),
    ]
    assert told[:6] == [("started", "web"), *happened]
    assert set(told[6:]) == {("credited", number), ("expired",)}
    # What fails after the commit is the plugin's, and hurts nobody.
    [line] = [line for line in logged if line["event"] == "plugin failed"]
    assert (line["plugin"], line["hook"]) == ("loyalty", "subscriber of OrderPlaced")


@loyalty
def test_mail_templates_and_health_checks_of_a_plugin_are_used(
    client: TestApp, engine: Engine, mails: Callable[..., Any], clock: StoppedClock
) -> None:
    with transaction(engine) as session:
        queue_mail(
            session, template="points", to="ada@example.com", context={"points": 7}, locale="en", now=clock.now()
        )
    [mail] = mails()
    assert (mail.letter.subject, mail.letter.text) == ("Your points", "You have 7.\n")
    assert client.get("/readyz").json["checks"] == {"database": "ok", "migrations": "ok", "loyalty.ledger": "ok"}


@pytest.mark.commerce(plugins=["loyalty"], settings={"loyalty.healthy": "false"})
def test_a_check_that_is_not_critical_is_only_shown(client: TestApp) -> None:
    assert client.get("/readyz").json["checks"]["loyalty.ledger"] == "failing"


def test_a_plugin_is_started_and_stopped_once(told: Log) -> None:
    settings = without_database(make_settings("postgresql://none", {"commerce.plugins": "loyalty"}))
    registry = make_configurator(settings).registry
    stop(registry)
    start(registry, "worker")
    stop(registry)
    stop(registry)
    assert told == [("started", "worker"), ("stopped",)]
    assert registry.search_backends.keys() == {"loyalty-finder"}
    assert [purger.name for purger in registry.cdn_purgers] == ["loyaltycdn"]


def test_two_shops_in_one_process_have_each_their_own_plugins() -> None:
    settings = make_settings("postgresql://none", {"commerce.plugins": "loyalty"})
    with_plugin = make_configurator(without_database(settings)).registry
    without = make_configurator(without_database(make_settings("postgresql://none"))).registry
    assert len(with_plugin.plugins.plugins) == 1
    assert without.plugins.plugins == ()
    assert "loyalty:grant" not in without.plugin_permissions
    assert "loyalty.credit" not in without.jobs


# --- Commands ---


@loyalty
def test_what_is_open_is_asked_before_a_plugin_goes(
    place_order: Callable[..., Any], database_url: str, tmp_path: Path
) -> None:
    place_order()
    ini = tmp_path / "shop.ini"
    text = "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\ncommerce.plugins = loyalty\n"
    ini.write_text(f"{text}sqlalchemy.url = {database_url.replace('%', '%%')}\n")
    asked = CliRunner().invoke(main, ["plugins", "blockers", "loyalty", str(ini)])
    assert (asked.exit_code, asked.output) == (1, "Error: loyalty cannot go yet:\n  1 orders have no points yet.\n")
    unknown = CliRunner().invoke(main, ["plugins", "blockers", "giftcards", str(ini)])
    assert f"giftcards is not enabled in {ini}" in unknown.output


def test_plugins_say_what_has_to_run_beside_the_web_server(install: Callable[..., Path]) -> None:
    install(
        "clerk",
        """
        from commerce_core.plugin import Process

        @hookimpl
        def commerce_register_processes():
            return [Process(name="clerk-night", command=("clerk", "night")), Process(name="web", command=("clerk",))]
        """,
    )
    host = PluginHost.load(make_settings("postgresql://nowhere", {"commerce.plugins": "loyalty"}), StoppedClock())
    assert [(process.name, process.command) for process in processes(host)] == [("loyalty", ("loyalty",))]
    host = PluginHost.load(make_settings("postgresql://nowhere", {"commerce.plugins": "clerk"}), StoppedClock())
    with pytest.raises(BrokenPlugins, match="the process 'web' should be called clerk-web"):
        processes(host)


# Each command in a fresh shell, but in one process: to start one takes seconds.
ASK = """
import json, sys
from click.testing import CliRunner
from commerce_core.cli import main
answers = [CliRunner().invoke(main, arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([[answer.exit_code, answer.stdout, answer.stderr] for answer in answers]))
"""


@dataclass(frozen=True)
class Answer:
    exit_code: int
    stdout: str
    stderr: str


def run(*commands: str, cwd: Path) -> list[Answer]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, json.dumps([command.split() for command in commands])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Answer(*answer) for answer in json.loads(done.stdout.splitlines()[-1])]


def test_commands_about_plugins_and_of_plugins(tmp_path: Path, database_url: str) -> None:
    ini = tmp_path / "shop.ini"
    text = "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\nsqlalchemy.url = {}\n"
    ini.write_text(text.format(database_url.replace("%", "%%")) + "loyalty.units_per_point = 25\n")
    [not_enabled] = run("loyalty rate shop.ini", cwd=tmp_path)
    assert "The plugin loyalty is not enabled in shop.ini" in not_enabled.stderr
    with ini.open("a") as more:
        more.write("commerce.plugins = loyalty\n")
    rate, together, listed, doctor, shown, blockers, config, misspelt = run(
        "loyalty rate shop.ini",
        "loyalty shop.ini",
        "plugins list --installed shop.ini",
        "plugins doctor shop.ini",
        "settings show shop.ini",
        "plugins blockers loyalty shop.ini",
        "plugins config loyalty",
        "plugins config loyality",
        cwd=tmp_path,
    )
    assert rate.stdout == "25\n"
    assert together.stdout == "keeping the points together\n"
    assert "enabled" in listed.stdout
    assert (doctor.exit_code, doctor.stdout.splitlines()[0]) == (0, "loyalty (samples 1.0)")
    assert doctor.stdout.endswith("1 plugin enabled, and sound.\n")
    assert "loyalty.units_per_point = 25" in shown.stdout
    # A busy machine may have it said before that the hook took long.
    assert (blockers.exit_code, blockers.stdout.splitlines()[-1]) == (0, "Nothing of loyalty is open.")
    assert "# Minor units that earn one point.\n# loyalty.units_per_point = 100\n" in config.stdout
    assert "did you mean loyalty?" in misspelt.stderr
