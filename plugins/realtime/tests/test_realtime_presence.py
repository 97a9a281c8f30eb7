"""The protocol's checklist, P50 to P55: who is in a channel, over two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from commerce_realtime import news
from commerce_realtime.signing import channel_auth
from realtime_harness import APP, Client, Running, running

Connect = Callable[..., Client]
Start = Callable[..., Running]
ADDED, REMOVED = "pusher_internal:member_added", "pusher_internal:member_removed"


@pytest.fixture(scope="module")
def pair(database_url: str) -> Iterator[tuple[Running, Running]]:
    """Two processes that know each other."""
    settings = {"bus": "test_presence", "presence_grace_seconds": 0}
    with running(database_url, **settings) as one, running(database_url, **settings) as other:
        for each in (one, other):
            each.wait_until(lambda each=each: each.server.peers.others)
        yield one, other


def test_p50_members_are_users_of_all_processes(pair: tuple[Running, Running], client: Connect) -> None:
    one, other = pair
    first = client(one)
    assert first.join("presence-p50", 7) == {"count": 1, "ids": ["7"], "hash": {"7": None}}
    second = client(other)
    other.wait_until(lambda: other.server.presence.ids("1", "presence-p50") == ["7"])
    seen = second.join("presence-p50", "8", name="Ada")
    assert seen["count"] == 2
    assert sorted(seen["ids"]) == ["7", "8"]
    assert seen["hash"] == {"7": None, "8": {"name": "Ada"}}
    assert first.next(ADDED) == {"user_id": "8", "user_info": {"name": "Ada"}}
    again = client(one)
    assert again.join("presence-p50", "8")["count"] == 2


@pytest.mark.parametrize(
    "channel_data",
    [None, "x", "[]", "{}", '{"user_id":null}', '{"user_id":""}', '{"user_id":true}', '{"user_id":["1"]}',
     '{"user_id":"' + "x" * 129 + '"}', '{"user_id":"1","user_info":"' + "x" * 1_000 + '"}'],
)  # fmt: skip
def test_p51_a_member_without_an_id_is_none(server: Running, client: Connect, channel_data: str | None) -> None:
    ours = client()
    more = {} if channel_data is None else {"channel_data": channel_data}
    auth = channel_auth(APP, ours.id, "presence-p51", channel_data)
    assert ours.refused("presence-p51", auth=auth, **more)["data"]["status"] == 400
    assert server.call(server.server.presence.ids, "1", "presence-p51") == []


def test_p52_a_member_comes_with_the_first_connection_and_leaves_with_the_last(
    pair: tuple[Running, Running], client: Connect
) -> None:
    one, other = pair
    watcher = client(one)
    watcher.join("presence-p52", "watcher")
    tabs = [client(server) for server in (one, other, other)]
    for tab in tabs:
        tab.join("presence-p52", "ada")
    assert watcher.next(ADDED)["user_id"] == "ada"
    # What a process tells comes in order: who knows of this one knows of Ada's tabs there.
    client(other).join("presence-p52", "last")
    assert watcher.next(ADDED)["user_id"] == "last"
    for tab in tabs[:2]:
        tab.close()
    tabs[2].send("pusher:unsubscribe", {"channel": "presence-p52"})
    assert watcher.next(REMOVED) == {"user_id": "ada"}
    assert watcher.kept == []
    assert watcher.all_until_pong() == []


def test_p53_the_members_of_a_process_that_was_killed_disappear(start: Start, client: Connect) -> None:
    one, doomed = (start(bus="test_p53", lease_seconds=1.0, presence_grace_seconds=0) for _ in range(2))
    watcher = client(one)
    watcher.join("presence-p53", "watcher")
    ours = client(doomed)
    ours.join("presence-p53", "ada")
    assert watcher.next(ADDED)["user_id"] == "ada"
    # It says nothing any more, and does not even take its leave.
    doomed.call(doomed.server.bus._task.cancel)  # type: ignore[union-attr]
    assert watcher.next(REMOVED) == {"user_id": "ada"}


def test_p53_also_of_one_that_was_killed_before_it_had_said_anything_else(client: Connect, start: Start) -> None:
    server = start(lease_seconds=1.0)
    watcher = client(server)
    watcher.join("presence-p53", "watcher")
    server.call(server.server._hear, news.News("short-lived", 1, "join", ["1", "presence-p53", "ada", None]))
    assert watcher.next(ADDED)["user_id"] == "ada"
    assert watcher.next(REMOVED)["user_id"] == "ada"


def test_p54_who_is_back_within_the_grace_has_never_left(start: Start, client: Connect) -> None:
    server = start(presence_grace_seconds=600)
    watcher = client(server)
    watcher.join("presence-p54", "watcher")
    for _ in range(3):
        with server.connect() as tab:
            tab.established().join("presence-p54", "ada")
    assert watcher.next(ADDED)["user_id"] == "ada"
    assert watcher.kept == []
    assert watcher.all_until_pong() == []


def test_p54_who_is_not_back_within_the_grace_has_left(start: Start, client: Connect) -> None:
    server = start(presence_grace_seconds=0.01)
    watcher = client(server)
    watcher.join("presence-p54", "watcher")
    with server.connect() as tab:
        tab.established().join("presence-p54", "ada")
    assert watcher.next(ADDED)["user_id"] == "ada"
    assert watcher.next(REMOVED)["user_id"] == "ada"
    assert watcher.all_until_pong() == []


def test_p55_who_joins_sees_everybody_in_the_answer_or_in_an_event(
    pair: tuple[Running, Running], client: Connect
) -> None:
    crowd = [client(pair[number % 2]) for number in range(12)]
    for number, each in enumerate(crowd):
        each.subscribe("presence-p55", **each.auth("presence-p55", {"user_id": str(number)}))
    for each in crowd:
        members: set[str] = set()
        while len(members) < 12:
            message = each.receive()
            if message["event"] == ADDED:
                assert members, "an event came before the answer"
                assert message["data"]["user_id"] not in members
                members.add(message["data"]["user_id"])
            else:
                assert message["event"] == "pusher_internal:subscription_succeeded"
                members = set(message["data"]["presence"]["ids"])
        assert each.all_until_pong() == []


def test_a_channel_has_a_most_of_members(start: Start, client: Connect) -> None:
    server = start(max_members=1)
    first, second = client(server), client(server)
    first.join("presence-full", "1")
    refused = second.refused("presence-full", **second.auth("presence-full", {"user_id": "2"}))
    assert refused["data"]["type"] == "LimitReached"
    second.join("presence-full", "1")
