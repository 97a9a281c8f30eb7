"""The protocol's checklist, P80 to P88: the HTTP API, and the official library for servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from commerce_realtime import signing
from pusher import Pusher  # type: ignore[import-untyped]
from realtime_harness import APP, PATIENCE, SECRET, Client, Running, all_of, running, wait_until

Connect = Callable[..., Client]
Start = Callable[..., Running]
EVENT = {"name": "x", "channel": "news", "data": "1"}


@pytest.fixture(scope="module")
def pair(database_url: str) -> Iterator[tuple[Running, Running]]:
    with running(database_url, bus="test_api") as one, running(database_url, bus="test_api") as other:
        for each in (one, other):
            each.wait_until(lambda each=each: each.server.peers.others)
        yield one, other


def library(server: Running) -> Any:
    return Pusher(
        app_id="1", key="shop", secret=SECRET, host="127.0.0.1", port=server.port, ssl=False, timeout=PATIENCE
    )


def test_p80_requests_are_signed_over_method_path_and_sorted_query(server: Running) -> None:
    assert server.api("POST", "/apps/1/events", EVENT).status == 200
    assert server.api("GET", "/apps/1/channels", filter_by_prefix="presence- &=ü", info="user_count").status == 200


def test_p81_the_query_counts_as_it_was_sent(server: Running) -> None:
    empty = "d41d8cd98f00b204e9800998ecf8427e"  # what one library sends with requests that have no body
    assert server.api("GET", "/apps/1/channels", body_md5=empty).status == 200
    assert server.api("GET", "/apps/1/channels", body_md5="other").status == 401


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"auth_key": "other"}, 401),
        ({"auth_signature": "0" * 64}, 401),
        ({"auth_version": "2.0"}, 401),
        ({"auth_timestamp": "1000000000"}, 401),
        ({"auth_timestamp": str(int(time.time()) + 100_000)}, 401),
        ({"auth_timestamp": "soon"}, 401),
        ({"auth_timestamp": "²"}, 401),
        ({"body_md5": "0" * 32}, 401),
        ({"body_md5": ""}, 401),
    ],
)
def test_p82_a_request_that_was_not_signed_now_and_for_this_is_refused(
    server: Running, query: dict[str, str], status: int
) -> None:
    assert server.api("POST", "/apps/1/events", EVENT, **query).status == status


def test_p82_an_app_that_there_is_not_is_404_and_a_request_without_signature_401(server: Running) -> None:
    assert server.api("POST", "/apps/99/events", EVENT).status == 404
    assert server.get("/apps/1/channels").status == 401
    assert server.api("POST", "/apps/1/nothing", EVENT).status == 404
    assert server.api("GET", "/apps/1/events").status == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"data": "x" * 10_001}, 413),
        ({"data": {"no": "text"}}, 400),
        ({"data": None}, 400),
        ({"name": "pusher:subscribe"}, 400),
        ({"name": "pusher_internal:member_added"}, 400),
        ({"name": ""}, 400),
        ({"name": 7}, 400),
        ({"channel": "with blank"}, 400),
        ({"channel": None}, 400),
        ({"channels": []}, 400),
        ({"channels": [f"c{number}" for number in range(101)]}, 400),
        ({"channels": "news"}, 400),
        ({"socket_id": "none"}, 400),
    ],
)
def test_p83_events_that_cannot_be(server: Running, change: dict[str, Any], status: int) -> None:
    assert server.api("POST", "/apps/1/events", EVENT | change).status == status


def test_p83_bodies_that_are_no_events(server: Running) -> None:
    for body in ([], "x", 7):
        assert server.api("POST", "/apps/1/events", body).status == 400
    with server.raw() as raw:
        raw.sendall(_head("/apps/1/events?" + _signed_query(), length=99_999_999) + b"x" * 500_000)
        assert all_of(raw).startswith(b"HTTP/1.1 413 ")


def test_p82_a_body_that_nobody_has_signed_for_is_not_waited_for(server: Running) -> None:
    for target, status in ((f"/apps/1/events?{_signed_query()}0", 401), ("/up", 404), ("/apps/99/events", 404)):
        with server.raw() as raw:
            raw.sendall(_head(target, length=300_000) + b"{")
            assert all_of(raw).startswith(f"HTTP/1.1 {status} ".encode())


def _head(target: str, *, length: int) -> bytes:
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def _signed_query() -> str:
    """Of a request for events, whatever its body turns out to be; ends with the signature."""
    pairs = {"auth_key": APP.key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0"}
    signature = signing.request_signature(APP, "POST", "/apps/1/events", pairs.items())
    return urlencode({**pairs, "auth_signature": signature})


def test_p83_an_event_to_many_channels_may_say_how_many_listen(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("many-1")
    ours.join("presence-many", "7")
    body = {"name": "x", "channels": ["many-1", "many-2"], "data": "1", "info": "subscription_count"}
    answer = server.api("POST", "/apps/1/events", body)
    assert answer.json == {
        "channels": {
            "many-1": {"occupied": True, "subscription_count": 1},
            "many-2": {"occupied": False, "subscription_count": 0},
        }
    }
    assert server.api("POST", "/apps/1/events", {**EVENT, "channels": ["many-1"]}).json == {}
    ours.next("x", "many-1")
    body = {"name": "x", "channels": ["presence-many"], "data": "1", "info": "user_count,subscription_count"}
    answer = server.api("POST", "/apps/1/events", body)
    assert answer.json["channels"]["presence-many"] == {"occupied": True, "subscription_count": 1, "user_count": 1}


def test_p84_batches_are_answered_event_by_event(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("batch")
    one = {"name": "x", "channel": "batch", "data": "1"}
    assert server.api("POST", "/apps/1/batch_events", {"batch": [one, {**one, "data": "2"}]}).json == {}
    assert [ours.next("x"), ours.next("x")] == [1, 2]
    answer = server.api("POST", "/apps/1/batch_events", {"batch": [one, {**one, "info": "subscription_count"}]})
    assert answer.json == {"batch": [{}, {"occupied": True, "subscription_count": 1}]}
    for batch in ([], [one] * 11, "x", [7], None):
        assert server.api("POST", "/apps/1/batch_events", {"batch": batch}).status == 400


def test_p85_channels_are_counted_over_all_processes(pair: tuple[Running, Running], client: Connect) -> None:
    one, other = pair
    for server in (one, other, other):
        client(server).subscribed("p85")
    client(one).join("presence-p85", "1")
    client(other).join("presence-p85", "1")
    client(other).join("presence-p85", "2")
    client(other).subscribed("cache-p85")
    one.wait_until(lambda: len(one.server.presence.ids("1", "presence-p85")) == 2)
    channels = one.api("GET", "/apps/1/channels", info="subscription_count").json["channels"]
    assert channels["p85"] == {"subscription_count": 3}
    assert channels["presence-p85"] == {"subscription_count": 3}
    assert one.api("GET", "/apps/1/channels", filter_by_prefix="presence-", info="user_count").json == {
        "channels": {"presence-p85": {"user_count": 2}}
    }
    assert one.api("GET", "/apps/1/channels", info="user_count").status == 400
    assert one.api("GET", "/apps/1/channels/p85", info="subscription_count").json == {
        "occupied": True,
        "subscription_count": 3,
    }
    assert one.api("GET", "/apps/1/channels/nobody").json == {"occupied": False}
    users = one.api("GET", "/apps/1/channels/presence-p85/users").json["users"]
    assert sorted(user["id"] for user in users) == ["1", "2"]
    assert one.api("GET", "/apps/1/channels/p85/users").status == 400
    one.api("POST", "/apps/1/events", {"name": "x", "channel": "cache-p85", "data": '"kept"'})
    cached = one.api("GET", "/apps/1/channels/cache-p85", info="cache").json["cache"]
    assert cached["data"] == '"kept"'


def test_p86_the_connections_of_a_user_can_be_ended_by_both_addresses(
    pair: tuple[Running, Running], client: Connect
) -> None:
    one, other = pair
    for path in ("/apps/1/users/ada/terminate_connections", "/users/ada/terminate_connections"):
        theirs = [client(one), client(other)]
        somebody = client(other)
        for each, user in ((theirs[0], "ada"), (theirs[1], "ada"), (somebody, "eve")):
            each.sign_in(user)
            each.next("pusher:signin_success")
        assert one.api("POST", path, {}).status == 200
        assert [each.closed() for each in theirs] == [4009, 4009]
        assert somebody.all_until_pong() == []


def test_p88_health_says_when_the_bus_has_been_away_for_long(start: Start) -> None:
    server = start(bus_lost_seconds=0.01)
    for path in ("/up", "/healthz"):
        answer = server.get(path)
        assert (answer.status, json.loads(answer.read())) == (200, {"health": "OK"})
    server.call(server.server.bus._task.cancel)  # type: ignore[union-attr]
    server.call(server.server.bus._lose, OSError("for the test"))
    wait_until(lambda: server.get("/up").status == 503)
    # It is alive all the same: if it were started again for this, it would cut all its sockets, and be deaf as before.
    assert server.get("/healthz").status == 200
    # The others cannot be told; who publishes is told that.
    assert server.api("POST", "/apps/1/events", EVENT).status == 503


def test_p88_an_event_is_answered_before_a_crowd_is_told(
    server: Running, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = client()
    ours.subscribed("crowd")
    order: list[str] = []
    publish, send = server.server.publish, type(server.server.api).answer

    async def answer(api: Any, request: Any) -> Any:
        found = await send(api, request)
        order.append("answered")
        return found

    monkeypatch.setattr(server.server, "publish", lambda *what: (order.append("told"), publish(*what)))
    monkeypatch.setattr(type(server.server.api), "answer", answer)
    server.api("POST", "/apps/1/events", {**EVENT, "channel": "crowd"})
    ours.next("x", "crowd")
    assert order == ["answered", "told"]


def test_metrics_are_shown_to_who_may_read_them(server: Running, start: Start, client: Connect) -> None:
    client()
    text = server.get("/metrics").read().decode()
    assert "commerce_realtime_connections_opened_total" in text
    assert start({"metrics.allowed": "10.0.0.0/8"}).get("/metrics").status == 403
    assert server.get("/metrics", **{"X-Forwarded-For": "127.0.0.1"}).status == 403


# --- The official library ---


def test_the_library_triggers_events(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("news")
    pusher = library(server)
    assert pusher.trigger(["news", "other"], "x", {"price": 7}) == {}
    assert ours.next("x", "news") == {"price": 7}
    pusher.trigger_batch([{"channel": "news", "name": "y", "data": {"n": number}} for number in (1, 2)])
    assert [ours.next("y"), ours.next("y")] == [{"n": 1}, {"n": 2}]
    pusher.trigger("news", "z", "text", ours.id)
    pusher.trigger("news", "last", "text")
    ours.next("last")
    assert ours.kept == []


def test_the_library_asks_authenticates_and_ends_connections(server: Running, client: Connect) -> None:
    pusher, ours = library(server), client()
    auth = pusher.authenticate("presence-room", ours.id, {"user_id": "9", "user_info": {"name": "Ada"}})
    assert ours.subscribed("presence-room", **auth)["presence"]["hash"] == {"9": {"name": "Ada"}}
    assert pusher.channels_info("presence-room", ["user_count"]) == {"channels": {"presence-room": {"user_count": 1}}}
    assert pusher.channel_info("presence-room", ["user_count"]) == {"occupied": True, "user_count": 1}
    assert pusher.users_info("presence-room") == {"users": [{"id": "9"}]}
    ours.send("pusher:signin", pusher.authenticate_user(ours.id, {"id": "9"}))
    ours.next("pusher:signin_success")
    ours.subscribed("#server-to-user-9")
    pusher.send_to_user("9", "hello", {"you": True})  # P87
    assert ours.next("hello") == {"you": True}
    pusher.terminate_user_connections("9")
    assert ours.closed() == 4009
    assert APP.key == "shop"
