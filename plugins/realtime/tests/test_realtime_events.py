"""The protocol's checklist, P60 to P65, P70 to P73: events to clients, and the end of connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from commerce_realtime import wire
from commerce_realtime.wire import Code
from realtime_harness import PATIENCE, Client, Running, frame, running, wait_until
from websockets.frames import Opcode

Connect = Callable[..., Client]
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def pair(database_url: str) -> Iterator[tuple[Running, Running]]:
    """Two processes that know each other."""
    with running(database_url, bus="test_events") as one, running(database_url, bus="test_events") as other:
        for each in (one, other):
            each.wait_until(lambda each=each: each.server.peers.others)
        yield one, other


def trigger(server: Running, name: str, channel: str, data: object = "", **more: object) -> None:
    text = data if isinstance(data, str) else json.dumps(data)
    answer = server.api("POST", "/apps/1/events", {"name": name, "channel": channel, "data": text, **more})
    assert answer.status == 200, answer.text


def test_p60_data_is_always_a_text(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("news")
    trigger(server, "x", "news", {"a": 1})
    assert ours.raw() == {"event": "x", "channel": "news", "data": '{"a": 1}'}
    trigger(server, "x", "news", "no JSON")
    assert ours.raw()["data"] == "no JSON"


def test_p61_events_come_once_and_in_order(pair: tuple[Running, Running], client: Connect) -> None:
    one, other = pair
    receivers = [client(each) for each in pair]
    for receiver in receivers:
        receiver.subscribed("news")
    for number in range(30):
        trigger(one, "x", "news", number)
    for receiver in receivers:
        assert [receiver.next("x") for _ in range(30)] == list(range(30))
        assert receiver.all_until_pong() == []
    assert one.settings.bus == other.settings.bus


def test_p61_a_crowd_that_is_written_to_in_portions_gets_everything_in_order(
    start: Start, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_realtime.hub.PORTION", 3)
    server = start()
    receivers = [client(server) for _ in range(8)]
    for receiver in receivers:
        receiver.subscribed("news")
    for number in range(20):
        trigger(server, "x", "news", number)
    for receiver in receivers:
        assert [receiver.next("x") for _ in range(20)] == list(range(20))


def test_p62_the_socket_that_has_caused_an_event_is_left_out(pair: tuple[Running, Running], client: Connect) -> None:
    one, other = pair
    here, there, cause = client(one), client(other), client(other)
    for each in (here, there, cause):
        each.subscribed("p62")
    trigger(one, "x", "p62", "1", socket_id=cause.id)
    trigger(one, "y", "p62", "2")
    for each in (here, there):
        assert each.next("x") == 1
    cause.next("y")
    assert cause.kept == []


def test_p63_a_cache_channel_begins_with_its_last_event(pair: tuple[Running, Running], client: Connect) -> None:
    one, other = pair
    ours = client(one)
    ours.subscribed("cache-p63")
    ours.next("pusher:cache_miss", "cache-p63")
    for number in (1, 2):
        trigger(one, "x", "cache-p63", number)
        assert ours.next("x") == number
    ours.close()
    last = wire.message("x", "cache-p63", "2")
    other.wait_until(lambda: other.server.cached.get("1", "cache-p63") == last)
    later = client(other)  # nobody is subscribed any more, and it is another process
    later.subscribed("cache-p63")
    assert later.next("x", "cache-p63") == 2


def test_p63_a_process_that_has_just_begun_asks_the_others(
    database_url: str, pair: tuple[Running, Running], client: Connect
) -> None:
    trigger(pair[0], "x", "cache-new", 7)
    with running(database_url, bus="test_events") as third:
        third.wait_until(lambda: len(third.server.peers.others) == 2)
        ours = client(third)
        ours.subscribed("cache-new")
        assert ours.next("x") == 7


def test_p63_events_of_clients_are_not_kept_and_after_half_an_hour_nothing_is(
    start: Start, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(client_events="members")
    ours = client(server)
    ours.subscribed("private-cache-x", **ours.auth("private-cache-x"))
    ours.next("pusher:cache_miss")
    ours.send("client-x", {}, channel="private-cache-x")
    other = client(server)
    other.subscribed("private-cache-x", **other.auth("private-cache-x"))
    other.next("pusher:cache_miss")
    trigger(server, "x", "cache-old", 1)
    server.wait_until(lambda: server.server.cached.get("1", "cache-old"))
    monkeypatch.setattr("commerce_realtime.cached.KEPT_SECONDS", -1.0)
    other.subscribed("cache-old")
    other.next("pusher:cache_miss", "cache-old")


def test_p64_what_is_encrypted_passes_through_unread(server: Running, client: Connect) -> None:
    ours = client()
    ours.subscribed("private-encrypted-x", **ours.auth("private-encrypted-x"))
    sealed = '{"nonce":"AAAA","ciphertext":"BBBB=="}'
    trigger(server, "x", "private-encrypted-x", sealed)
    assert ours.raw()["data"] == sealed


# --- Silence, and the end ---


def test_p65_how_many_are_subscribed_is_told_to_who_asks_for_it_and_to_nobody_else(
    server: Running, client: Connect
) -> None:
    """`pusher_internal:subscription_count` is optional, and left out: in a crowd it would be most of what is sent."""
    ours, theirs = client(), client()
    ours.subscribed("p65")
    theirs.subscribed("p65")
    assert ours.all_until_pong() == []
    answer = server.api("GET", "/apps/1/channels/p65", info="subscription_count")
    assert answer.json == {"occupied": True, "subscription_count": 2}
    theirs.send("pusher:unsubscribe", {"channel": "p65"})
    theirs.all_until_pong()
    assert ours.all_until_pong() == []


def test_p70_a_silent_client_is_asked_and_then_closed(start: Start, client: Connect) -> None:
    silent = client(start(ping_seconds=0.1, pong_seconds=0.1))  # and is subscribed to nothing
    assert silent.closed() == 4201
    assert silent.kept[0]["event"] == "pusher:ping"


def test_p70_a_client_that_answers_is_asked_again(start: Start, client: Connect) -> None:
    alive = client(start(ping_seconds=0.1, pong_seconds=PATIENCE))
    alive.next("pusher:ping")
    alive.send("pusher:pong", {})
    alive.next("pusher:ping")


def test_p70_a_client_that_pings_the_websockets_way_is_asked_that_way(start: Start) -> None:
    server = start(ping_seconds=0.1, pong_seconds=PATIENCE)
    with server.raw_websocket() as raw:
        raw.sendall(frame(b"", Opcode.PING))
        found = b""
        while b"\x89\x00" not in found:  # a ping without content
            data = raw.recv(1_000)
            assert data
            found += data
        assert b"pusher:ping" not in found


def test_p71_codes_are_those_that_tell_clients_what_to_do() -> None:
    never = {Code.UNKNOWN_APP, Code.BAD_VERSION, Code.UNSUPPORTED_PROTOCOL, Code.NO_PROTOCOL, Code.UNAUTHORIZED}
    assert {code for code in Code if 4000 <= code < 4100} == never
    assert {code for code in Code if 4100 <= code < 4200} == {Code.TOO_SLOW}
    assert {code for code in Code if 4200 <= code < 4300} == {Code.COME_BACK, Code.SILENT}
    assert {code for code in Code if code >= 4300} == {Code.TOO_MUCH}


def test_p72_errors_are_texts_of_objects() -> None:
    sent = json.loads(wire.error(4200, "What?")[2:])
    assert sent["event"] == "pusher:error"
    assert json.loads(sent["data"]) == {"code": 4200, "message": "What?"}


def test_p73_at_the_end_clients_are_sent_away_one_after_the_other(start: Start, client: Connect) -> None:
    server = start(drain_seconds=0.2)
    clients = [client(server) for _ in range(10)]
    with server.raw() as keep_alive:
        keep_alive.sendall(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in keep_alive.recv(1_000)
        server.begin_to_stop()
        wait_until(lambda: _refused(server))
        assert [each.closed() for each in clients] == [4200] * 10
        server.stop()


def test_p73_while_it_drains_it_is_not_well_and_a_second_signal_ends_it_at_once(
    start: Start, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_realtime.server._DRAINED_PER_SECOND", 0.1)
    server = start(drain_seconds=1_000)
    clients = [client(server) for _ in range(20)]
    with server.raw() as keep_alive:
        keep_alive.sendall(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in keep_alive.recv(1_000)
        server.begin_to_stop()
        wait_until(lambda: _refused(server))
        keep_alive.sendall(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"503 Service Unavailable" in keep_alive.recv(1_000)
    assert server.call(lambda: server.server.connections)  # it takes its time
    server.loop.call_soon_threadsafe(server._at_once.set)
    assert {each.closed() for each in clients} == {4200}


def _refused(server: Running) -> bool:
    try:
        server.raw().close()
    except (ConnectionRefusedError, ConnectionResetError):  # the latter as it closes the door
        return True
    return False
