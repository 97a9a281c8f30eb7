"""The protocol's checklist, P90 to P94: clients that are slow, greedy or broken hurt nobody but themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from commerce_realtime import cached, news, wire
from commerce_realtime.bus import Bus
from commerce_realtime.hub import MOST_LETTERS, PORTION, Channel, Delivery
from commerce_realtime.outbox import Outbox
from realtime_harness import PATIENCE, SECRET, Client, Running, all_of, frame, until, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

Connect = Callable[..., Client]
Start = Callable[..., Running]

# Each of these has ended some server, or a connection of somebody else.
NASTY = [
    {"event": "pusher:subscribe"},
    {"event": "pusher:subscribe", "data": None},
    {"event": "pusher:subscribe", "data": []},
    {"event": "pusher:subscribe", "data": "x"},
    {"event": "pusher:subscribe", "data": {"channel": {"a": 1}}},
    {"event": "pusher:subscribe", "data": {"channel": "presence-x", "channel_data": {"user_id": 1}}},
    {"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": {"key": 1}}},
    {"event": "pusher:subscribe", "data": {"channel": "inventory.variant.none"}},
    {"event": "pusher:subscribe", "data": {"channel": "inventory.product."}},
    {"event": "pusher:unsubscribe"},
    {"event": "pusher:unsubscribe", "data": {"channel": ["x"]}},
    {"event": "client-x"},
    {"event": "client-x", "channel": {"a": 1}, "data": [[[]]]},
    {"event": "pusher:" + "x" * 5_000},
]


def test_p90_no_message_of_one_client_hurts_another(server: Running, client: Connect) -> None:
    victim = client()
    victim.subscribed("news")
    hostile = client()
    for message in NASTY:
        hostile.socket.send(json.dumps(message))
    hostile.socket.send("[" * 9_000)
    hostile.all_until_pong()
    server.api("POST", "/apps/1/events", {"name": "x", "channel": "news", "data": "1"})
    assert victim.next("x") == 1


def test_p90_noise_on_the_port_hurts_nobody(server: Running, client: Connect) -> None:
    victim = client()
    noise = random.Random(7)
    for attempt in range(60):
        with server.raw() as raw:
            raw.sendall(noise.randbytes(noise.randrange(1, 300)) + (b"\r\n\r\n" if attempt % 2 else b""))
            raw.shutdown(socket.SHUT_WR)
            all_of(raw)
        with server.raw_websocket() as raw:
            raw.sendall(noise.randbytes(noise.randrange(1, 300)))
            raw.shutdown(socket.SHUT_WR)
            all_of(raw)
    assert victim.all_until_pong() == []
    server.wait_until(lambda: len(server.server.connections) == 1)


@pytest.mark.usefixtures("curt")
def test_frames_that_break_the_rules_close_their_own_socket(server: Running) -> None:
    unmasked = b"\x81\x02{}"
    reserved = b"\xf1\x80\x00\x00\x00\x00"
    oversized = b"\x81\xff" + (2**40).to_bytes(8) + b"\x00" * 4
    for data, code in ((unmasked, 1002), (reserved, 1002), (oversized, 1009)):
        with server.raw_websocket() as raw:
            raw.sendall(data)
            assert code.to_bytes(2) in all_of(raw)


def test_who_is_refused_and_goes_in_the_same_breath_is_no_error_of_ours(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(
        "commerce_realtime.connection._log", SimpleNamespace(error=lambda *what, **more: errors.append((what, more)))
    )
    with server.raw_websocket() as raw:
        raw.sendall(frame(b'{"event": "pusher:signin", "data": {}}') + frame((1000).to_bytes(2), Opcode.CLOSE))
        assert b"4009" in all_of(raw)
    assert errors == []


def test_a_request_that_comes_byte_by_byte_is_not_waited_for_for_ever(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_realtime.server._KEEP_ALIVE_SECONDS", 0.5)
    server = start()
    with server.raw() as raw:
        raw.sendall(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        until(raw, b'{"health":"OK"}')
        raw.sendall(b"GET /up HTTP/1.1\r\nX: ")
        raw.settimeout(0.05)
        for _ in range(1_000):
            with contextlib.suppress(TimeoutError):
                assert raw.recv(1) == b""
                break
            raw.sendall(b"x")
        else:
            pytest.fail("it is still waited for")


@pytest.mark.usefixtures("curt")
def test_endless_fragments_are_1009(server: Running) -> None:
    with server.raw_websocket() as raw:
        raw.sendall(frame(b"", fin=False) + frame(b"", Opcode.CONT, fin=False) * 200)
        assert (1009).to_bytes(2) in all_of(raw)


@pytest.mark.parametrize(
    "change", ["Upgrade: h2c", "Connection: close", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: short"]
)
def test_handshakes_that_are_none_are_answered_by_http(server: Running, change: str) -> None:
    name = change.partition(":")[0]
    lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    head = [line for line in lines if not line.startswith(name)] + [change]
    with server.raw() as raw:
        raw.sendall("\r\n".join(["GET /app/shop?protocol=7 HTTP/1.1", "Host: x", *head]).encode() + b"\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        assert all_of(raw).startswith(b"HTTP/1.1 4")


def test_ten_thousand_subscriptions_by_one_socket_are_refused_and_then_it_is_sent_away(
    start: Start, client: Connect
) -> None:
    server = start(max_channels=100)
    ours = client(server)
    for number in range(10_000):
        try:
            ours.subscribe(f"channel-{number}")
        except ConnectionClosed:
            break
    assert ours.closed() == 4301
    kinds = [message["event"] for message in ours.kept]
    assert kinds.count("pusher_internal:subscription_succeeded") == 100
    refused = [message["data"] for message in ours.kept if message["event"] == "pusher:subscription_error"]
    assert {each["type"] for each in refused} == {"LimitReached"}
    # Then it had sent more than it may in ten seconds; on a busy machine, in a part of the next ten, too.
    assert 400 <= len(refused) < 1_000
    server.wait_until(lambda: not server.server.apps["1"].channels)


def test_p92_to_leave_costs_as_much_as_one_has_channels(server: Running, client: Connect) -> None:
    """Of a thousand channels, a socket that has one touches one."""
    crowd = [client() for _ in range(10)]
    for number, each in enumerate(crowd):
        for channel in range(20):
            each.subscribed(f"c{number}-{channel}")
    channels = server.server.apps["1"].channels
    touched: list[str] = []

    class Watched(dict[str, object]):
        def __getitem__(self, name: str) -> object:
            touched.append(name)
            return super().__getitem__(name)

        def __iter__(self):  # type: ignore[no-untyped-def]
            touched.append("all")
            return super().__iter__()

        def pop(self, name: str, *default: object) -> object:  # type: ignore[override]
            touched.append(name)
            return super().pop(name, *default)

    server.server.apps["1"].channels = Watched(channels)  # type: ignore[assignment]
    crowd[0].close()
    server.wait_until(lambda: len(touched) >= 20)
    assert set(touched) == {f"c0-{channel}" for channel in range(20)}


@pytest.mark.usefixtures("curt")
def test_half_open_sockets_are_found_and_closed(start: Start) -> None:
    server = start(ping_seconds=0.05, pong_seconds=0.05)
    with server.raw_websocket() as raw:
        # It never says anything again; and does not answer the close, either.
        data = all_of(raw)
        assert b"pusher:ping" in data
        assert (4201).to_bytes(2) in data


# --- Clients that do not read ---


def test_p93_a_client_that_does_not_read_gets_the_newest_of_each_state() -> None:
    outbox = Outbox(since=0.0, most_unkeyed=3)
    for number in range(1_000):
        assert outbox.put(b"a%d" % number, "a")
        assert outbox.put(b"b%d" % number, "b")
    assert outbox.put(b"event", None)
    assert list(outbox.take()) == [(b"a999", "a"), (b"b999", "b"), (b"event", None)]
    assert outbox.dropped == 1_998
    assert list(outbox.take()) == []


def test_p93_nothing_is_without_bounds() -> None:
    outbox = Outbox(since=0.0, most_unkeyed=3)
    assert [outbox.put(b"event", None) for _ in range(4)] == [True, True, True, False]
    outbox = Outbox(since=0.0, most_unkeyed=3)
    assert all(outbox.put(b"state", number) for number in range(1_000))
    assert not outbox.put(b"state", 1_000)


class _Reader:
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes, key: object = None) -> None:
        self.frames.append(frame)


class _Loop:
    """Does what is to be done soon when it is told to."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()


def _crowd() -> tuple[_Loop, Delivery, Channel, list[_Reader]]:
    loop, channel = _Loop(), Channel("inventory")
    readers = [_Reader() for _ in range(PORTION + 1)]
    channel.subscribers.update(dict.fromkeys(readers))  # type: ignore[arg-type]
    return loop, Delivery(loop), channel, readers  # type: ignore[arg-type]


def test_p93_a_crowd_that_cannot_be_told_so_fast_is_told_the_newest_of_each_state() -> None:
    loop, delivery, channel, readers = _crowd()
    for number in range(1_000):
        delivery.send(channel, b"a%d" % number, key="a")
        delivery.send(channel, b"b%d" % number, key="b")
    late = _Reader()
    channel.subscribers[late] = None  # type: ignore[index]
    loop.run()
    assert {tuple(reader.frames) for reader in [*readers, late]} == {(b"a999", b"b999")}
    delivery.send(channel, b"a1000", key="a")
    loop.run()
    assert readers[0].frames[-1] == readers[-1].frames[-1] == b"a1000"


def test_no_newer_state_overtakes_a_snapshot_that_a_crowd_waits_for() -> None:
    loop, delivery, channel, readers = _crowd()
    delivery.send(channel, b"a1", key="a")
    delivery.send(channel, b"all with a1", key="all", is_whole=True)
    delivery.send(channel, b"a2", key="a")
    delivery.send(channel, b"a3", key="a")
    loop.run()
    assert {tuple(reader.frames) for reader in readers} == {(b"a1", b"all with a1", b"a3")}


def test_p93_events_that_are_no_state_wait_for_a_crowd_in_order_and_not_without_bounds() -> None:
    loop, delivery, channel, readers = _crowd()
    for number in range(MOST_LETTERS + 10):
        delivery.send(channel, b"%d" % number)
    assert len(readers[0].frames) == len(readers[-1].frames) == 10
    loop.run()
    assert readers[0].frames == readers[-1].frames == [b"%d" % number for number in range(MOST_LETTERS + 10)]


def test_a_write_that_fails_keeps_nobody_from_what_comes_after() -> None:
    loop, delivery, channel, readers = _crowd()
    readers[0].send = lambda frame, key=None: 1 / 0  # type: ignore[assignment, method-assign, misc]
    delivery.send(channel, b"first")
    with pytest.raises(ZeroDivisionError):
        loop.run()
    del readers[0].send
    delivery.send(channel, b"second")
    loop.run()
    assert readers[-1].frames == [b"first", b"second"]


def test_p93_of_processes_that_come_and_go_no_more_than_the_last_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("commerce_realtime.bus._MOST_PROCESSES", 3)
    missed: list[bool] = []
    bus = Bus(
        None,  # type: ignore[arg-type]
        beat_seconds=1,
        hear=lambda heard: None,
        has_come=lambda: None,
        has_gone=lambda: None,
        has_missed=lambda: missed.append(True),
    )
    for number in range(100):
        bus._take(news.News("stays", number, "stock", []))
        bus._take(news.News(f"comes and goes {number}", 1, "stock", []))
    assert len(bus._numbers) == 3
    bus._take(news.News("stays", 101, "stock", []))
    assert missed == [True]


async def _known_elsewhere(*_question: object) -> list[object]:
    return [[0.0, "x", "{}"]]


def test_p93_what_others_remember_of_cache_channels_counts_as_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MOST", 3)
    events = cached.CachedEvents(lambda: 0.0, SimpleNamespace(answers={}, ask=_known_elsewhere))  # type: ignore[arg-type]
    for number in range(10):
        assert asyncio.run(events.ask("1", f"cache-{number}")) is not None
    assert len(events._kept) == 3


def test_p93_events_that_are_no_state_have_a_slow_client_closed_with_4100(start: Start, client: Connect) -> None:
    server = start(max_buffered_bytes=4_096, max_waiting=10)
    reader = client(server)
    reader.subscribed("news")
    sent = 0
    with _slow_client(server, "news") as slow:
        while server.call(lambda: len(server.server.connections)) == 2:
            server.call(server.server.publish, "1", ["news"], "x", "x" * 9_000)
            assert reader.next("x")
            sent += 1
            assert sent < 2_000
        until(slow, (4100).to_bytes(2) + b"Too slow")


def test_a_client_that_does_not_read_for_too_long_is_closed(start: Start) -> None:
    server = start(max_buffered_bytes=4_096, slow_seconds=0.2, max_waiting=100_000)
    with _slow_client(server, "news") as slow:
        while server.call(lambda: server.server.connections):
            server.call(server.server.publish, "1", ["news"], "x", "x" * 9_000)
        until(slow, (4100).to_bytes(2) + b"Too slow")


def _slow_client(server: Running, channel: str) -> socket.socket:
    """One that subscribes, and then reads nothing."""
    raw = server.raw_websocket()
    raw.sendall(frame(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}).encode()))
    until(raw, b"subscription_succeeded")
    return raw


def test_p93_pings_whose_answers_nobody_reads_cut_their_socket(start: Start) -> None:
    server = start(max_buffered_bytes=4_096, messages_per_second=0)
    with server.raw_websocket() as raw:
        pings = frame(b"x" * 125, Opcode.PING) * 500
        with contextlib.suppress(ConnectionError):  # else it would go on for ever, and the answers would pile up
            while True:
                raw.sendall(pings)
    server.wait_until(lambda: not server.server.connections)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
def test_p33_pings_and_pongs_count_as_messages(start: Start, opcode: Opcode) -> None:
    server = start(messages_per_second=1)
    with server.raw_websocket() as raw:
        raw.sendall(frame(b"", opcode) * 100)
        until(raw, (4301).to_bytes(2))


def test_p93_requests_whose_answers_nobody_reads_are_not_read_either(start: Start) -> None:
    server = start(max_buffered_bytes=4_096)
    with server.raw() as raw:
        raw.setblocking(False)
        request = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n" * 200
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 50_000_000:
                sent += raw.send(request)
                server.call(lambda: None)
        assert sent < 50_000_000
        [connection] = server.server._exchanges
        assert connection._exchange is not None
        # Some were answered; of the rest no more was taken in than comes at once.
        assert server.call(connection.transport.get_write_buffer_size) < 100_000
        assert len(connection._exchange._protocol.trailing_data[0]) < 1_000_000
        raw.setblocking(True)
        until(raw, b'{"health":"OK"}')  # and it goes on for who reads
        answers = 0
        while answers < 200:
            answers += raw.recv(65_536).count(b"HTTP/1.1 200")
    assert server.get("/up").status == 200


def test_p93_products_that_there_are_not_leave_nothing_behind(server: Running, client: Connect) -> None:
    ours = client()
    feed = server.server.feed
    before = server.call(lambda: (len(feed._products), len(feed._snapshots)))
    names = [f"inventory.product.{name}" for name in ("rubbish", "", UUID(int=7), "x" * 100)]
    for name in names:
        ours.subscribed(name)
        assert ours.next("inventory.snapshot", name) == {"levels": []}
        ours.send("pusher:unsubscribe", {"channel": name})
    ours.all_until_pong()
    assert server.call(lambda: (len(feed._products), len(feed._snapshots))) == before


def test_a_client_that_reads_again_ends_with_the_newest_state(start: Start) -> None:
    server = start(max_buffered_bytes=4_096, slow_seconds=600)
    with _slow_client(server, "news") as slow:
        channel = server.server.apps["1"].channels["news"]

        def tell() -> None:
            for number in range(1_500):
                frame = wire.message("x", "news", f"{number} " + "x" * 2_000)
                server.server.delivery.send(channel, frame, key="state")

        server.call(tell)
        assert server.call(lambda: len(server.server.slow)) == 1
        until(slow, b'"data":"1499 ')


# --- A crowd at the door ---


def test_a_crowd_is_let_in_at_a_pace_and_those_for_whom_it_is_too_much_come_later(start: Start) -> None:
    server = start(handshakes_per_second=10, handshake_wait_seconds=0.5)
    statuses: list[int] = []
    gathered = threading.Event()
    server.loop.call_soon_threadsafe(gathered.wait, PATIENCE)  # all of them are there before the first is let in
    sockets = [server.raw() for _ in range(20)]
    head = (
        b"GET /app/shop?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for raw in sockets:
        raw.sendall(head)
    gathered.set()
    for raw in sockets:
        statuses.append(int(raw.recv(100).split()[1]))
        raw.close()
    assert statuses.count(503) >= 10
    assert statuses.count(101) >= 1
    assert set(statuses) == {101, 503}


def test_who_waits_to_be_let_in_while_the_server_drains_is_sent_elsewhere(start: Start) -> None:
    server = start(handshakes_per_second=1)
    gate = server.server.gate

    def close_for_long() -> None:
        for _ in range(1_000):
            gate._bucket.take(server.server.now())

    def drain() -> None:
        server.server.is_draining = True
        gate._let_in()

    server.call(close_for_long)
    with server.raw() as raw:
        raw.sendall(
            b"GET /app/shop?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        server.wait_until(lambda: gate.waiting)
        server.call(drain)
        until(raw, b"503 ")


def test_p94_what_processes_tell_each_other_holds_no_secrets(
    start: Start, client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    write = news.write

    def spy(*what: object) -> str:
        told.append(write(*what))  # type: ignore[arg-type]
        return told[-1]

    monkeypatch.setattr("commerce_realtime.news.write", spy)
    server = start(client_events="members", apps="2 partner partners-own-secret")
    ours = client(server)
    ours.join("presence-x", "7")
    ours.send("client-x", {}, channel="presence-x")
    ours.all_until_pong()
    server.api("POST", "/apps/1/events", {"name": "x", "channel": "news", "data": "1"})
    wait_until(lambda: any('"event"' in text for text in told))
    assert {news.read(text).kind for text in told} >= {"beat", "join", "relay", "event"}  # type: ignore[union-attr]
    assert not [text for text in told if SECRET in text or "partners-own-secret" in text]


def test_messages_in_parts_are_put_together_and_lost_parts_cost_one_message() -> None:
    joiner = news.Joiner()
    text = news.write("p", 1, "event", "ü" * 9_000)
    parts = list(news.in_parts(text))
    assert len(parts) > 2
    assert max(len(part.encode()) for part in parts) < 8_000
    assert [joiner.take(part) for part in parts][-1] == text
    assert [joiner.take(part) for part in parts[1:]] == [None] * (len(parts) - 1)
    assert joiner.take("[1]") == "[1]"
