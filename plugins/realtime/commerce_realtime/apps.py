"""Apps: who shares a server. Channels of one app know nothing of another's."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class App:
    """`key` is public and chooses the app; `secret` signs."""

    id: str
    key: str
    secret: str = field(repr=False)


def parse_apps(text: str, first: App) -> tuple[App, ...]:
    """Apps beside `first`, out of lines such as `2 partner-key partner-secret`. Raises ValueError."""
    apps: list[App] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        words = line.split()
        if len(words) != 3 or not words[0].isdigit():
            raise ValueError("realtime.apps: each line is an id of digits, a key and a secret")
        apps.append(App(*words))
    everybody = [first, *apps]
    for what in ("id", "key"):
        if len({getattr(app, what) for app in everybody}) < len(everybody):
            raise ValueError(f"realtime.apps: two apps have one {what}")
    return tuple(apps)
