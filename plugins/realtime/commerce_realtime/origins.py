"""Which web pages may connect: patterns of hosts, such as `shop.example` and `*.shop.example`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit


def is_allowed(origins: Sequence[str], patterns: Sequence[str], *, without: bool) -> bool:
    """Whether a handshake with these Origin headers is welcome; `without`: also one that has none."""
    if not origins:
        return without
    if len(origins) > 1:
        return False
    if "*" in patterns:
        return True
    try:
        host = urlsplit(origins[0]).hostname
    except ValueError:
        return False
    return host is not None and any(fnmatchcase(host.lower(), pattern.lower()) for pattern in patterns)
