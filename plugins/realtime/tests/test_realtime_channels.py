"""Who may listen to what (P43, P44), and what customers and staff are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from commerce_realtime import signing
from commerce_realtime.channels import RULES, ChannelRule
from realtime_harness import APP, SECRET, Client, Running, running
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.events import JobDied, StockLow, emit
from commerce_core.testing import SignedIn

BUS = "test_channels"
pytestmark = pytest.mark.commerce(
    plugins=["realtime"],
    settings={"realtime.secret": SECRET, "realtime.bus": BUS, "realtime.presence": "true"},
)
API = "/api/v1"
SOCKET = "12.34"
Connect = Callable[..., Client]
Start = Callable[..., Running]
SignIn = Callable[..., SignedIn]


@pytest.fixture(scope="module")
def hub(database_url: str) -> Iterator[Running]:
    with running(database_url, bus=BUS) as server:
        yield server


def asked(asker: TestApp, channel: str, *, socket_id: str = SOCKET, status: int = 200, **headers: str) -> Any:
    """The answer of `/broadcasting/auth`, asked as pusher-js asks."""
    form = {"socket_id": socket_id, "channel_name": channel}
    return asker.post("/broadcasting/auth", form, headers=headers, status=status)


@pytest.fixture
def order(client_of_shop: TestApp, make_variant: Callable[..., UUID]) -> Callable[..., dict[str, Any]]:
    """`order(buyer)`: an order of theirs, as they are answered."""
    variant_id = str(make_variant(stock=50))

    def place(buyer: TestApp, **headers: str) -> dict[str, Any]:
        hold = buyer.post_json(f"{API}/holds", {"variant_id": variant_id, "quantity": 1}, headers=headers).json
        placed: dict[str, Any] = buyer.post_json(f"{API}/orders", {"hold_id": hold["id"]}, headers=headers).json
        return placed

    return place


@pytest.fixture
def client_of_shop(application: Any) -> TestApp:
    """A guest."""
    return TestApp(application)


def test_what_browsers_need_is_told_to_anybody(client_of_shop: TestApp) -> None:
    answer = client_of_shop.get(f"{API}/realtime/config")
    assert answer.json == {
        "key": "shop",
        "host": None,
        "port": 6001,
        "tls": False,
        "path": "",
        "presence": True,
        "channels": {
            "everything": "inventory",
            "catalogue": "catalogue",
            "product": "inventory.product.{id}",
            "variant": "inventory.variant.{id}",
        },
    }
    assert "secret" not in answer.text


def test_p43_a_form_or_json_at_each_of_the_usual_addresses(sign_in: SignIn) -> None:
    ada = sign_in("customer")
    channel = f"private-user.{ada.user_id}"
    wanted = {"auth": signing.channel_auth(APP, SOCKET, channel), "channel_data": None}
    given = {"socket_id": SOCKET, "channel_name": channel}
    for path in ("/broadcasting/auth", "/pusher/auth"):
        assert ada.client.post(path, given).json == wanted
        assert ada.client.post_json(path, given).json == wanted
    user_data = json.dumps({"id": str(ada.user_id)}, separators=(",", ":"))
    for path in ("/broadcasting/user-auth", "/pusher/user-auth"):
        assert ada.client.post(path, {"socket_id": SOCKET}).json == {
            "auth": signing.user_auth(APP, SOCKET, user_data),
            "user_data": user_data,
        }


@pytest.mark.parametrize("socket_id", ["", "1", "1.2:presence-x", "1.2\n", "٣.٤", "a.b"])
def test_p43_nothing_is_signed_but_for_sockets(client_of_shop: TestApp, sign_in: SignIn, socket_id: str) -> None:
    ada = sign_in("customer")
    asked(ada.client, f"private-user.{ada.user_id}", socket_id=socket_id, status=422)
    ada.client.post("/broadcasting/user-auth", {"socket_id": socket_id}, status=422)


def test_p44_what_is_not_allowed_is_403_and_what_is_no_request_422(client_of_shop: TestApp) -> None:
    for channel in ("private-user.1", "private-staff", "private-other", "presence-other", "private-order.x"):
        answer = asked(client_of_shop, channel, status=403)
        assert answer.json["type"] == "/problems/forbidden"
    for channel in ("inventory", "", "private x", "#server-to-user-1"):
        asked(client_of_shop, channel, status=422)
    client_of_shop.post("/broadcasting/auth", b"\xff=%", status=400)
    client_of_shop.post("/broadcasting/auth", b"[", content_type="application/json", status=400)
    client_of_shop.post_json("/broadcasting/auth", [], status=422)
    client_of_shop.post("/broadcasting/user-auth", {"socket_id": SOCKET}, status=401)


def test_a_user_listens_to_their_own_channel_and_to_nobody_else_s(sign_in: SignIn) -> None:
    ada, eve, staff = sign_in("customer"), sign_in("customer"), sign_in("staff")
    channel = f"private-user.{ada.user_id}"
    asked(ada.client, channel)
    asked(eve.client, channel, status=403)
    asked(staff.client, channel, status=403)


def test_staff_listen_to_staff(sign_in: SignIn) -> None:
    asked(sign_in("customer").client, "private-staff", status=403)
    asked(sign_in("staff").client, "private-staff")
    asked(sign_in("admin").client, "private-staff")
    asked(sign_in("admin", abilities=["order:read-all"]).client, "private-staff", status=403)


def test_an_order_is_listened_to_by_whose_it_is(
    client_of_shop: TestApp, sign_in: SignIn, order: Callable[..., dict[str, Any]]
) -> None:
    ada, eve = sign_in("customer"), sign_in("customer")
    of_ada = f"private-order.{order(ada.client)['id']}"
    asked(ada.client, of_ada)
    asked(eve.client, of_ada, status=403)
    asked(client_of_shop, of_ada, status=403)
    asked(sign_in("staff").client, of_ada)
    token = {"X-Cart-Token": "a-token-of-some-guest"}
    of_guest = f"private-order.{order(client_of_shop, **token)['id']}"
    asked(client_of_shop, of_guest, **token)
    asked(client_of_shop, of_guest, status=403)
    asked(client_of_shop, of_guest, status=403, **{"X-Cart-Token": "a-token-of-another-guest"})
    asked(client_of_shop, f"private-order.{uuid4()}", status=403)


def test_who_looks_at_a_product_is_a_member_without_a_name(
    client_of_shop: TestApp, sign_in: SignIn, hub: Running, client: Connect
) -> None:
    ada, channel = sign_in("customer"), f"presence-product.{uuid4()}"
    tabs = [client(hub), client(hub)]
    for tab in tabs:
        given = asked(ada.client, channel, socket_id=tab.id).json
        assert str(ada.user_id) not in given["channel_data"]
        assert tab.subscribed(channel, **given)["presence"]["count"] == 1
    guest = client(hub)
    given = asked(client_of_shop, channel, socket_id=guest.id).json
    assert guest.subscribed(channel, **given)["presence"]["count"] == 2
    asked(client_of_shop, "presence-product.x", status=403)


@pytest.mark.commerce(settings={"realtime.secret": SECRET, "realtime.bus": BUS})
def test_without_the_setting_nobody_is_counted(client_of_shop: TestApp) -> None:
    asked(client_of_shop, f"presence-product.{uuid4()}", status=403)


def test_another_s_private_channel_is_refused_by_the_server_too(sign_in: SignIn, hub: Running, client: Connect) -> None:
    ada, eve = sign_in("customer"), client(hub)
    channel = f"private-user.{ada.user_id}"
    stolen = asked(ada.client, channel).json
    assert eve.refused(channel, **stolen)["data"]["status"] == 401


def test_leave_has_to_be_asked_for_anew_so_that_who_lost_a_role_hears_no_more(start: Start, client: Connect) -> None:
    server = start(leave_seconds=0.5)
    staff, user, guest = client(server), client(server), client(server)
    assert staff.subscribed("private-staff", **staff.auth("private-staff")) == {}
    user.sign_in("ada")
    guest.subscribed("inventory")
    assert [staff.closed(), user.closed()] == [4200, 4200]
    # Who has been given no leave has none to lose.
    assert "pusher:pong" not in [message["event"] for message in guest.all_until_pong()]


def test_rules_are_about_whole_names() -> None:
    rule = ChannelRule(pattern="private-user.{id}", may=lambda request, id: True)
    assert rule.parts_of("private-user.7") == {"id": "7"}
    for name in ("private-user.", "private-user.7.8", "private-userx7", "xprivate-user.7", "private-user.7\n"):
        assert rule.parts_of(name) is None
    assert all(rule.pattern.startswith(("private-", "presence-")) for rule in RULES)


# --- What is told ---


def test_a_customer_is_told_of_their_orders_and_staff_of_all(
    sign_in: SignIn, order: Callable[..., dict[str, Any]], hub: Running, client: Connect
) -> None:
    ada, staff, browser = sign_in("customer"), sign_in("staff"), client(hub)
    for who, channel in ((ada, f"private-user.{ada.user_id}"), (staff, "private-staff")):
        browser.subscribed(channel, **asked(who.client, channel, socket_id=browser.id).json)
    placed = order(ada.client)
    told = browser.next("order.placed", f"private-user.{ada.user_id}")
    assert told == {
        "order_id": placed["id"],
        "number": placed["number"],
        "total": placed["total"]["amount"],
        "currency": "USD",
    }
    assert browser.next("order.placed", "private-staff") == told
    channel = f"private-order.{placed['id']}"
    browser.subscribed(channel, **asked(ada.client, channel, socket_id=browser.id).json)
    ada.client.post_json(f"{API}/orders/{placed['id']}/cancel", {})
    for name in (f"private-user.{ada.user_id}", channel):
        assert browser.next("order.cancelled", name)["reason"] == "cancelled"


def test_a_guest_is_told_of_their_order(
    client_of_shop: TestApp, order: Callable[..., dict[str, Any]], hub: Running, client: Connect
) -> None:
    token = {"X-Cart-Token": "a-token-of-some-guest"}
    placed = order(client_of_shop, **token)
    browser, channel = client(hub), f"private-order.{placed['id']}"
    browser.subscribed(channel, **asked(client_of_shop, channel, socket_id=browser.id, **token).json)
    client_of_shop.post_json(f"{API}/orders/{placed['id']}/cancel", {}, headers=token)
    assert browser.next("order.cancelled", channel)["order_id"] == placed["id"]


def test_staff_are_told_of_dead_jobs_and_low_stock(sign_in: SignIn, engine: Any, hub: Running, client: Connect) -> None:
    browser = client(hub)
    given = asked(sign_in("staff").client, "private-staff", socket_id=browser.id).json
    browser.subscribed("private-staff", **given)
    low = StockLow(variant_id=uuid4(), product_id=uuid4(), sku="A", available=1, threshold=5, version=7)
    with transaction(engine) as session:
        emit(session, JobDied(job_id=uuid4(), name="mail.send", error="no server", subject=None))
        emit(session, low)
    assert browser.next("job.died")["error"] == "no server"
    assert browser.next("stock.low")["variant_id"] == str(low.variant_id)


def test_programs_in_the_shop_can_tell_anything(application: Any, hub: Running, client: Connect) -> None:
    browser = client(hub)
    browser.subscribed("news")
    application.registry.realtime.broadcast(["news"], "sale.begins", {"minutes": 5})
    assert browser.next("sale.begins", "news") == {"minutes": 5}
