"""docs/webhooks.md: its verification works, and its topics are those that there are."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from commerce_core.events import kinds
from commerce_core.webhooks.signing import make_secret, signature
from commerce_core.webhooks.topics import PING, public_events

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
NOW = 1_795_264_200


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_verification_in_the_documentation_believes_the_shop_and_nobody_else() -> None:
    written: dict[str, Any] = {}
    exec(block("verify"), written)
    verify = written["verify"]
    old, new, body, message_id = make_secret(), make_secret(), block("message").encode(), str(uuid4())
    signed = {"webhook-id": message_id, "webhook-timestamp": str(NOW)}
    headers = {**signed, "webhook-signature": signature((new, old), message_id, NOW, body)}
    assert verify(new, headers, body, now=NOW + 300)
    assert verify(old, headers, body, now=NOW - 300)
    assert not verify(make_secret(), headers, body, now=NOW)
    assert not verify(new, headers, body + b" ", now=NOW)
    assert not verify(new, {**headers, "webhook-id": str(uuid4())}, body, now=NOW)
    assert not verify(new, {**headers, "webhook-timestamp": str(NOW + 1)}, body, now=NOW)
    assert not verify(new, headers, body, now=NOW + 301)


def test_a_signature_is_the_one_of_the_standard() -> None:
    """The example of the Standard Webhooks' own libraries."""
    secret, message_id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature((secret,), message_id, timestamp, b'{"test": 2432232314}') == expected


def test_every_topic_of_the_core_is_documented_with_its_fields() -> None:
    rows = {
        topic: columns
        for topics, columns in re.findall(r"^\| (`[a-z_.`, ]+`) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
        for topic in re.findall(r"`([a-z_.]+)`", topics)
    }
    events = {kind.topic: kind for kind in public_events() if kind.__module__ == kinds.__name__}
    assert rows.keys() == events.keys() | {PING}
    for topic, kind in events.items():
        if not rows[topic].startswith("the same"):
            assert set(re.findall(r"`([a-z_]+)`", rows[topic])) >= {field.name for field in fields(kind)}, topic


def test_the_message_in_the_documentation_is_json() -> None:
    assert list(json.loads(block("message"))) == ["id", "topic", "created_at", "api_version", "data"]
