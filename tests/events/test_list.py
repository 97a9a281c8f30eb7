"""The list of events in the documents is that of the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from commerce_core.events import kinds

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
ROW = re.compile(r"^\| `(\w+)` \| `([\w.]+)` \| ((?:`\w+`(?:, )?)+) \|", re.M)


EVENTS = [kind for kind in vars(kinds).values() if isinstance(kind, type) and "topic" in vars(kind)]


def test_every_event_is_listed_with_its_topic_and_all_of_its_fields() -> None:
    listed = {
        name: (topic, re.findall(r"`(\w+)`", columns)) for name, topic, columns in ROW.findall(DOCUMENT.read_text())
    }
    assert listed == {kind.__name__: (kind.topic, [field.name for field in fields(kind)]) for kind in EVENTS}


def test_every_event_says_when_and_has_a_topic_of_its_own() -> None:
    assert all((kind.__doc__ or "").strip() and not kind.__doc__.startswith(kind.__name__ + "(") for kind in EVENTS)
    assert len({kind.topic for kind in EVENTS}) == len(EVENTS)
