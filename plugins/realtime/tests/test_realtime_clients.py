"""pusher-js and laravel-echo, as they are published: they connect, listen, come back, and stay away when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from realtime_shop import NODE_FOLDER, REALTIME_PORT, SETTINGS, Node, Shop, node_modules
from sqlalchemy import Engine
from webtest import TestApp

from commerce_core.testing import SignedIn

pytestmark = pytest.mark.commerce(plugins=["realtime"], settings=SETTINGS)
API = "/api/v1"
UPDATED, SNAPSHOT = "inventory.updated", "inventory.snapshot"
MakeVariant = Callable[..., UUID]
# What clients.md tells people to write.
OPTIONS: dict[str, Any] = {
    "wsHost": "127.0.0.1",
    "wsPort": REALTIME_PORT,
    "forceTLS": False,
    "enabledTransports": ["ws", "wss"],
}


@pytest.fixture
def shop(application: Any, database_url: str, engine: Engine) -> Iterator[Shop]:
    shop = Shop(application, database_url)
    yield shop
    shop.stop()


@pytest.fixture
def guest(application: Any) -> TestApp:
    """Who buys."""
    return TestApp(application)


@pytest.fixture
def node(pytestconfig: pytest.Config) -> Iterator[Callable[[], Node]]:
    """`node()`: a Node process with both libraries."""
    folder = node_modules(pytestconfig)
    nodes: list[Node] = []

    def start() -> Node:
        nodes.append(Node(NODE_FOLDER / "clients.mjs", folder))
        return nodes[-1]

    yield start
    for each in nodes:
        each.stop()


def bearer(someone: SignedIn) -> dict[str, str]:
    return {"Authorization": f"Bearer {someone.client.authorization[1]}"}


def hold(guest: TestApp, variant_id: UUID) -> None:
    guest.post_json(f"{API}/holds", {"variant_id": str(variant_id), "quantity": 1}, status=201)


def pusher(node: Node, shop: Shop, headers: dict[str, str] | None = None, key: str = "shop") -> None:
    authorization = {"endpoint": f"{shop.address}/broadcasting/auth", "headers": headers or {}}
    authentication = {"endpoint": f"{shop.address}/broadcasting/user-auth", "headers": headers or {}}
    options = {
        **OPTIONS,
        "cluster": "",
        "channelAuthorization": {"transport": "ajax", **authorization},
        "userAuthentication": {"transport": "ajax", **authentication},
    }
    node.tell("pusher", key=key, options=options)


def echo(node: Node, shop: Shop, headers: dict[str, str] | None = None) -> None:
    more = {"authEndpoint": f"{shop.address}/broadcasting/auth", "auth": {"headers": headers or {}}}
    node.tell("echo", options={"key": "shop", **OPTIONS, **more})


def will_try_again(node: Node) -> bool:
    node.tell("look_ahead")
    return bool(node.wait_for(looked=True)["retries"])


def test_pusher_js_listens_to_public_private_and_presence_channels(
    shop: Shop, node: Callable[[], Node], make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    variant_id, ada = make_variant(stock=10), sign_in("customer")
    ours, other = node(), node()
    for each, headers in ((ours, bearer(ada)), (other, {})):
        pusher(each, shop, headers)
        each.wait_for(state="connected")

    public, private = f"inventory.variant.{variant_id}", f"private-user.{ada.user_id}"
    ours.tell("subscribe", channel=public)
    assert ours.event(public, SNAPSHOT)["levels"][0]["stock_quantity"] == 10
    ours.tell("subscribe", channel=private)
    ours.event(private, "pusher:subscription_succeeded")
    other.tell("subscribe", channel=private)
    assert other.event(private, "pusher:subscription_error")["status"] == 403

    room = f"presence-product.{uuid4()}"
    other.tell("subscribe", channel=room)
    assert other.event(room, "pusher:subscription_succeeded")["count"] == 1
    ours.tell("subscribe", channel=room)
    assert ours.event(room, "pusher:subscription_succeeded")["count"] == 2
    assert other.event(room, "pusher:member_added")["id"]
    ours.tell("trigger", channel=room, event="client-hello", data={"says": "hello"})
    assert other.event(room, "client-hello") == {"says": "hello"}

    hold(ada.client, variant_id)
    told = ours.event(public, UPDATED)
    assert (told["stock_quantity"], told["previous_quantity"], told["change_reason"]) == (9, 10, "hold")
    order = {"variant_id": str(variant_id), "quantity": 1}
    held = ada.client.post_json(f"{API}/holds", order, status=201).json
    body = {"hold_id": held["id"], "payment": {"provider": "manual"}}
    ada.client.post_json(f"{API}/orders", body, status=201)
    assert ours.event(private, "order.placed")["order_id"]

    ours.tell("signin")
    ours.wait_for(event="pusher:signin_success")
    ours.stop()
    assert other.event(room, "pusher:member_removed")["id"]


def test_laravel_echo_listens_to_public_private_and_presence_channels(
    shop: Shop, node: Callable[[], Node], guest: TestApp, make_variant: MakeVariant, sign_in: Callable[..., SignedIn]
) -> None:
    variant_id, staff = make_variant(stock=3), sign_in("staff")
    ours, other = node(), node()
    for each, headers in ((ours, bearer(staff)), (other, {})):
        echo(each, shop, headers)
        each.wait_for(state="connected")

    public = f"inventory.variant.{variant_id}"
    ours.tell("listen", kind="channel", channel=public, events=[f".{SNAPSHOT}", f".{UPDATED}"])
    assert ours.event(public, f".{SNAPSHOT}")["levels"][0]["stock_quantity"] == 3
    ours.tell("listen", kind="private", channel="staff", events=[".stock.low", ".stock.out"])
    ours.event("staff", "subscribed")
    other.tell("listen", kind="private", channel="staff")
    assert other.event("staff", "error")["status"] == 403

    room = f"product.{uuid4()}"
    other.tell("listen", kind="join", channel=room)
    assert len(other.event(room, "here")) == 1
    ours.tell("listen", kind="join", channel=room)
    assert len(ours.event(room, "here")) == 2
    other.event(room, "joining")

    hold(guest, variant_id)
    assert ours.event(public, f".{UPDATED}")["stock_quantity"] == 2
    ours.stop()
    other.event(room, "leaving")


@pytest.mark.parametrize("library", [pusher, echo], ids=["pusher-js", "laravel-echo"])
def test_clients_come_back_when_the_server_is_killed_and_know_what_was_sold_meanwhile(
    library: Callable[..., None], shop: Shop, node: Callable[[], Node], guest: TestApp, make_variant: MakeVariant
) -> None:
    variant_id, ours = make_variant(stock=10), node()
    channel = f"inventory.variant.{variant_id}"
    library(ours, shop)
    dot = "." if library is echo else ""
    if library is echo:
        ours.tell("listen", kind="channel", channel=channel, events=[f".{SNAPSHOT}", f".{UPDATED}"])
    else:
        ours.tell("subscribe", channel=channel)
    ours.wait_for(state="connected")
    assert ours.event(channel, dot + SNAPSHOT)["levels"][0]["stock_quantity"] == 10

    killed = shop.realtime
    shop.start_realtime()
    shop.cut(killed)
    assert ours.wait_for(connecting_in=1)["retries"]
    hold(guest, variant_id)
    ours.wait_for(state="connected")
    level = ours.event(channel, dot + SNAPSHOT)["levels"][0]
    if level["stock_quantity"] == 10:  # it was back before the hold
        level = ours.event(channel, dot + UPDATED)
    assert level["stock_quantity"] == 9
    hold(guest, variant_id)
    assert ours.event(channel, dot + UPDATED)["stock_quantity"] == 8


def test_a_client_with_a_key_of_nobody_is_told_4001_and_never_tries_again(shop: Shop, node: Callable[[], Node]) -> None:
    ours = node()
    pusher(ours, shop, key="nobody")
    assert ours.wait_for(error={"code": 4001, "message": "There is no such app"})
    ours.wait_for(state="disconnected")
    assert not will_try_again(ours)


def test_a_client_whose_user_is_signed_out_is_told_4009_and_never_tries_again(
    shop: Shop, node: Callable[[], Node], sign_in: Callable[..., SignedIn]
) -> None:
    ours, ada = node(), sign_in("customer")
    pusher(ours, shop, bearer(ada))
    ours.wait_for(state="connected")
    ours.tell("signin")
    ours.wait_for(event="pusher:signin_success")
    shop.realtime.call(shop.realtime.server.terminate, "1", str(ada.user_id))
    ours.wait_for(state="disconnected")
    assert not will_try_again(ours)
