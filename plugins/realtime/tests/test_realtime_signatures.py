"""The protocol's checklist, P40 to P42: what is signed, and how. (P43 and P44 are about the shop's own endpoints.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from commerce_realtime import signing
from commerce_realtime.apps import App
from realtime_harness import APP, SECRET, Client, Running

Connect = Callable[..., Client]
Start = Callable[..., Running]
EXAMPLE = App("1", "278d425bdf160c739803", "7ad3773142a6692b25b8")


def test_p42_the_published_examples() -> None:
    def only(auth: str) -> str:
        key, _, signature = auth.partition(":")
        assert key == EXAMPLE.key
        return signature

    assert only(signing.channel_auth(EXAMPLE, "1234.1234", "private-foobar")) == (
        "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
    )
    member = '{"user_id":10,"user_info":{"name":"Mr. Channels"}}'
    assert only(signing.channel_auth(EXAMPLE, "1234.1234", "presence-foobar", member)) == (
        "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
    )
    assert only(signing.user_auth(EXAMPLE, "1234.1234", '{"id":"12345"}')) == (
        "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"
    )
    query = [
        ("auth_key", EXAMPLE.key),
        ("auth_timestamp", "1353088179"),
        ("auth_version", "1.0"),
        ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
    ]
    assert signing.request_signature(EXAMPLE, "POST", "/apps/3/events", query) == (
        "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    )


def test_p40_private_presence_and_user_are_signed_each_in_its_way(client: Connect) -> None:
    ours = client()
    ours.subscribed("private-x", **ours.auth("private-x"))
    ours.join("presence-x", "1", name="Ada")
    ours.sign_in("1")
    ours.next("pusher:signin_success")


@pytest.mark.parametrize("auth", [None, "", 7, ["shop:1"], {"a": 1}, "shop", "shop:", "shop:0000", "ümlaut"])
def test_p41_what_is_no_signature_is_401_and_no_exception(client: Connect, auth: object) -> None:
    ours = client()
    assert ours.refused("private-x", auth=auth)["data"]["status"] == 401
    ours.subscribed("still-here")


def test_p41_a_signature_counts_for_one_key_one_socket_one_channel_and_one_member(client: Connect) -> None:
    ours, other = client(), client()
    right = ours.auth("private-x")["auth"]
    wrong = [
        "other" + right.removeprefix("shop"),
        right.removeprefix("shop:"),
        right + "0",
        right.upper(),
        other.auth("private-x")["auth"],
        ours.auth("private-y")["auth"],
        ours.auth("private-x", app=App("1", "shop", SECRET + "!"))["auth"],
    ]
    for auth in wrong:
        assert ours.refused("private-x", auth=auth)["data"]["status"] == 401
    member = ours.auth("presence-x", {"user_id": "1"})
    forged = {**member, "channel_data": '{"user_id": "2"}'}
    assert ours.refused("presence-x", **forged)["data"]["status"] == 401
    ours.subscribed("private-x", auth=right)


def test_p41_apps_know_nothing_of_each_other(start: Start, client: Connect) -> None:
    server = start(apps="2 partner partners-own-secret")
    partner = App("2", "partner", "partners-own-secret")
    ours, theirs = client(server), client(server, key="partner")
    ours.subscribed("private-x", **ours.auth("private-x"))
    theirs.subscribed("private-x", **theirs.auth("private-x", app=partner))
    assert theirs.refused("private-y", **theirs.auth("private-y"))["data"]["status"] == 401
    event = {"name": "x", "channel": "private-x", "data": "1"}
    assert server.api("POST", "/apps/2/events", event, app=APP).status == 401
    assert server.api("POST", "/apps/2/events", event, app=partner).status == 200
    theirs.next("x")
    assert ours.all_until_pong() == []
