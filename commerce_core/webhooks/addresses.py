"""Where webhooks may go: to the public internet, and to nothing inside, however its name is written or resolved.

A name is looked up once; every address that it has is checked, and the connection goes to one of those, so that a name
that leads elsewhere a moment later changes nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from commerce_core.api.proxies import plain

Address = IPv4Address | IPv6Address
Resolve = Callable[..., Sequence[Any]]
"""As socket.getaddrinfo."""

LONGEST_URL = 2_000
# Not public, or a way to an IPv4 address that may not be; the standard library does not name them all as such.
_REFUSED = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # shared by customers of a carrier
            "192.0.0.0/24",  # for protocols
            "192.88.99.0/24",  # relays of 6to4
            "::/96",  # IPv4-compatible
            "::ffff:0:0:0/96",  # IPv4-translated
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",
            "2001::/23",  # for protocols; Teredo among them
            "2002::/16",  # 6to4
            "fec0::/10",  # once site-local
        ),
    )
)


class UnusableUrl(ValueError):
    """The URL cannot be an endpoint's. The text says what it should be."""


class AddressRefused(Exception):
    """The name leads to where no webhook may go."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart by the library that will connect."""

    scheme: str
    host: str
    port: int
    path: str
    # Host and port, as the header Host has them.
    netloc: str


def read_url(url: str, *, allow_http: bool) -> Target:
    """Take an endpoint's URL apart. Raises UnusableUrl."""
    try:
        parsed = parse_url(url)
    except LocationParseError:
        raise UnusableUrl("must be a URL, its host in ASCII") from None
    if parsed.scheme not in (("https", "http") if allow_http else ("https",)):
        raise UnusableUrl("must begin with https://")
    if not parsed.host or not url.isprintable() or " " in url:
        raise UnusableUrl("must be a URL such as https://erp.example/hooks")
    if parsed.auth is not None:
        raise UnusableUrl("must not hold a name or a password")
    if parsed.fragment is not None:
        raise UnusableUrl("must not have a fragment")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    host = parsed.host.strip("[]")
    return Target(parsed.scheme or "", host, port, parsed.request_uri, parsed.netloc or parsed.host)


def is_allowed(address: Address, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether webhooks may go to this address: it is public, or in one of the `allowed` networks."""
    address = plain(address)
    if any(address in network for network in allowed):
        return True
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or any(address in network for network in _REFUSED)
    )


def literal(host: str) -> Address | None:
    """The address that stands in a URL in place of a name; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def addresses_of(
    target: Target, allowed: Sequence[IPv4Network | IPv6Network], resolve: Resolve = socket.getaddrinfo
) -> list[str]:
    """The addresses to connect to, in order. Raises AddressRefused, and OSError when there is no such name."""
    found = [
        ip_address(str(answer[4][0]).partition("%")[0])
        for answer in resolve(target.host, target.port, type=socket.SOCK_STREAM)
    ]
    if not found or not all(is_allowed(address, allowed) for address in found):
        # What it is stays unsaid: who sets an endpoint up need not learn how the inside is numbered.
        raise AddressRefused("the name does not lead to a public address")
    return [str(plain(address)) for address in dict.fromkeys(found)]
