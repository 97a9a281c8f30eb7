"""The protocol's checklist, P20 to P34: what clients say."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from commerce_realtime.signing import channel_auth
from commerce_realtime.wire import kind_of
from realtime_harness import APP, PATIENCE, Client, Running
from websockets.exceptions import ConnectionClosed

Connect = Callable[..., Client]
Start = Callable[..., Running]


@pytest.mark.parametrize(
    "message",
    ["no json", "[]", "1", '"pusher:ping"', "{}", '{"event":1}', '{"data":{}}', "null", b'{"event":"pusher:ping"}\xff'],
)
def test_p20_what_is_no_message_is_4200_and_the_connection_stays(client: Connect, message: str | bytes) -> None:
    ours = client()
    ours.socket.send(message)
    assert ours.next("pusher:error")["code"] == 4200
    ours.subscribed("anything")


def test_p20_data_may_be_an_object_or_a_text(client: Connect) -> None:
    ours = client()
    ours.send("pusher:subscribe", '{"channel":"one"}')
    ours.next("pusher_internal:subscription_succeeded", "one")
    ours.send("pusher:subscribe", {"channel": "two"})
    ours.next("pusher_internal:subscription_succeeded", "two")


def test_p21_a_message_that_is_too_large_is_1009(client: Connect) -> None:
    ours = client()
    ours.send("client-x", "x" * 10_001)
    assert ours.closed() == 1009


def test_p21_fragments_count_together(client: Connect) -> None:
    ours = client()
    ours.socket.send(['{"event":', '"pusher:ping",', '"data":{}}'])
    ours.next("pusher:pong")
    with contextlib.suppress(ConnectionClosed):  # it may be closed before the last has left
        ours.socket.send(["x" * 4_000 for _ in range(3)])
    assert ours.closed() == 1009


def test_p22_pings_of_both_kinds_are_answered(client: Connect) -> None:
    ours = client()
    ours.send("pusher:ping", {})
    assert ours.raw() == {"event": "pusher:pong", "data": "{}"}
    assert ours.socket.ping().wait(PATIENCE)
    ours.send("pusher:pong", {})
    assert ours.all_until_pong() == []


def test_p23_a_subscription_is_answered_with_an_empty_object_in_a_text(client: Connect) -> None:
    ours = client()
    ours.subscribe("news")
    assert ours.raw() == {"event": "pusher_internal:subscription_succeeded", "channel": "news", "data": "{}"}


@pytest.mark.parametrize("name", ["", "with blank", "x" * 165, "ümlaut", "a/b", 7, None, ["a"], "#other", "a\n"])
def test_p24_names_that_channels_cannot_have(client: Connect, name: object) -> None:
    ours = client()
    refused = ours.refused(name)["data"]
    assert (refused["type"], refused["status"]) == ("InvalidChannel", 400)


def test_p24_names_that_channels_can_have(client: Connect) -> None:
    ours = client()
    for name in ("x" * 164, "a_b-c=d@e,f.g;h", "0"):
        ours.subscribed(name)


def test_p25_to_subscribe_twice_is_answered_twice_and_delivered_once(server: Running, client: Connect) -> None:
    ours, other = client(), client()
    ours.subscribed("twice")
    ours.subscribed("twice")
    member = ours.auth("presence-twice", {"user_id": "1"})
    other.join("presence-twice", "2")
    ours.subscribed("presence-twice", **member)
    ours.subscribed("presence-twice", **member)
    server.api("POST", "/apps/1/events", {"name": "x", "channel": "twice", "data": "1"})
    ours.next("x")
    assert [message["event"] for message in ours.all_until_pong()] == []
    assert [message["event"] for message in other.all_until_pong()] == ["pusher_internal:member_added"]


def test_p26_kinds_of_channels_are_told_by_prefixes_with_their_dash() -> None:
    def letters(name: str) -> str:
        kind = kind_of(name)
        return "".join(
            letter
            for letter, is_so in zip(
                "ampc", (kind.needs_auth, kind.has_members, kind.is_encrypted, kind.is_cached), strict=True
            )
            if is_so
        )

    assert {
        name: letters(name)
        for name in (
            "news", "privateer", "presence", "cachefoo", "encrypted-x", "private-x", "presence-x", "cache-x",
            "private-encrypted-x", "private-cache-x", "presence-cache-x", "private-encrypted-cache-x",
            "presence-encrypted-x", "cache-private-x",
        )
    } == {
        "news": "", "privateer": "", "presence": "", "cachefoo": "", "encrypted-x": "", "private-x": "a",
        "presence-x": "am", "cache-x": "c", "private-encrypted-x": "ap", "private-cache-x": "ac",
        "presence-cache-x": "amc", "private-encrypted-cache-x": "apc", "presence-encrypted-x": "am",
        "cache-private-x": "c",
    }  # fmt: skip


def test_p27_to_unsubscribe_is_silent_and_ends_delivery(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("left")
    for name in ("left", "never", "left", None):
        ours.send("pusher:unsubscribe", {"channel": name})
    assert ours.all_until_pong() == []
    server.api("POST", "/apps/1/events", {"name": "x", "channel": "left", "data": "1"})
    assert ours.all_until_pong() == []


def test_p28_a_refused_subscription_names_its_channel(client: Connect) -> None:
    ours = client()
    refused = ours.refused("private-x", auth="shop:wrong")
    assert refused["channel"] == "private-x"
    assert refused["data"].keys() == {"type", "error", "status"}
    assert (refused["data"]["type"], refused["data"]["status"]) == ("AuthError", 401)


def test_p29_events_of_clients_go_to_everybody_else_of_private_channels(client: Connect) -> None:
    sender, receiver = client(), client()
    for each in (sender, receiver):
        each.subscribed("private-chat", **each.auth("private-chat"))
    sender.send("client-typing", {"on": True}, channel="private-chat")
    assert receiver.next("client-typing", "private-chat") == {"on": True}
    assert sender.all_until_pong() == []


def test_p29_of_a_member_it_is_told_who_it_is(client: Connect) -> None:
    sender, receiver = client(), client()
    sender.join("presence-chat", 7)
    receiver.join("presence-chat", "8")
    sender.send("client-typing", "{}", channel="presence-chat", user_id="8")
    assert receiver.next_message("client-typing")["user_id"] == "7"


def test_p29_events_of_clients_that_are_not_allowed(client: Connect, start: Start) -> None:
    ours = client()
    ours.subscribed("news")
    ours.subscribed("private-encrypted-x", **ours.auth("private-encrypted-x"))
    for channel in ("news", "private-encrypted-x", "private-where-it-is-not", None, 7):
        ours.send("client-x", {}, channel=channel)
        assert ours.next("pusher:error")["code"] == 4009
    silent = client(start())
    silent.subscribed("private-chat", **silent.auth("private-chat"))
    silent.send("client-x", {}, channel="private-chat")
    assert silent.next("pusher:error")["code"] == 4301
    silent.subscribed("news")


def test_p29_what_is_nested_too_deeply_is_no_event_and_no_member(client: Connect) -> None:
    ours = client()
    ours.subscribed("private-chat", **ours.auth("private-chat"))
    deep = "[" * 600 + "]" * 600
    ours.socket.send('{"event":"client-x","channel":"private-chat","data":' + deep + "}")
    assert ours.next("pusher:error")["code"] == 4200
    member = '{"user_id":"1","user_info":' + deep + "}"
    auth = channel_auth(APP, ours.id, "presence-deep", member)
    assert ours.refused("presence-deep", auth=auth, channel_data=member)["data"]["status"] == 400
    ours.subscribed("news")


def test_p29_more_than_ten_events_a_second_are_4301(client: Connect) -> None:
    sender, receiver = client(), client()
    for each in (sender, receiver):
        each.subscribed("private-chat", **each.auth("private-chat"))
    for number in range(400):  # so many that even a busy machine sees more than ten of them within a second
        sender.send("client-x", number, channel="private-chat")
    assert sender.next("pusher:error")["code"] == 4301
    sender.all_until_pong()
    arrived = [message["data"] for message in receiver.all_until_pong()]
    assert arrived[:10] == list(range(10))
    assert len(arrived) < 400


def test_p30_a_client_cannot_write_another_frame_than_its_event(client: Connect) -> None:
    sender, receiver = client(), client()
    for each in (sender, receiver):
        each.subscribed("private-chat", **each.auth("private-chat"))
    sender.send("client-x", {"a": 1}, channel="private-chat", user_id="boss", extra=1, socket_id="1.1")
    assert receiver.raw() == {"event": "client-x", "channel": "private-chat", "data": '{"a":1}'}


def test_p31_who_signs_in_hears_what_is_for_them(server: Running, client: Connect) -> None:
    ours = client()
    assert ours.refused("#server-to-user-12345")["data"]["status"] == 401
    ours.sign_in("12345")
    assert ours.next("pusher:signin_success") == {"user_data": '{"id": "12345"}'}
    ours.subscribed("#server-to-user-12345")
    assert ours.refused("#server-to-user-1")["data"]["status"] == 401
    server.api("POST", "/apps/1/events", {"name": "hello", "channels": ["#server-to-user-12345"], "data": '"you"'})
    assert ours.next("hello", "#server-to-user-12345") == "you"


@pytest.mark.parametrize("user_data", ['{"id":"1"}', '{"id":""}', "{}", "x", None, 7])
def test_p31_a_sign_in_that_was_not_signed_is_4009(client: Connect, user_data: object) -> None:
    ours = client()
    ours.send("pusher:signin", {"auth": "shop:forged", "user_data": user_data})
    assert ours.next("pusher:error")["code"] == 4009
    assert ours.closed() == 4009


@pytest.mark.parametrize("event", ["pusher:other", "pusher_internal:member_added", "inventory.updated", "client_x", ""])
def test_p32_other_events_are_4200_and_never_relayed(client: Connect, event: str) -> None:
    sender, receiver = client(), client()
    for each in (sender, receiver):
        each.subscribed("private-chat", **each.auth("private-chat"))
    sender.send(event, {}, channel="private-chat")
    assert sender.next("pusher:error")["code"] == 4200
    assert receiver.all_until_pong() == []


def test_p33_too_many_messages_are_4301_and_then_the_end(start: Start) -> None:
    with start(messages_per_second=1).connect() as ours:
        ours.established()
        for _ in range(10):
            ours.send("pusher:ping", {})
        for _ in range(10):
            ours.next("pusher:pong")
        with contextlib.suppress(ConnectionClosed):  # it may be closed before the last has left
            for _ in range(25):
                ours.send("pusher:ping", {})
        assert ours.next("pusher:error")["code"] == 4301
        assert ours.closed() == 4301


def test_p34_messages_are_answered_in_order_while_one_waits_for_other_processes(start: Start, client: Connect) -> None:
    one, other = start(bus="test_order"), start(bus="test_order")
    one.wait_until(lambda: one.server.peers.others)
    ours = client(one)
    ours.subscribe("cache-empty")
    ours.subscribe("after")
    ours.send("pusher:ping", {})
    assert [ours.receive()["event"] for _ in range(4)] == [
        "pusher_internal:subscription_succeeded",
        "pusher:cache_miss",
        "pusher_internal:subscription_succeeded",
        "pusher:pong",
    ]
    assert other.settings.bus == one.settings.bus
