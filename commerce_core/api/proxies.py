"""Who is really asking, when the shop stands behind proxies: `request.client_address`.

Anybody can write X-Forwarded-For. It is believed only as far as proxies of ours have written it, and only if the
connection comes from one of them (`api.trusted_proxies`, by default none).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import structlog
from pyramid.config import Configurator

_log = structlog.get_logger("commerce.proxies")
# Where proxies are, and shoppers are not.
_INSIDE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1", "fc00::/7")))
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


class TrustedProxies:
    """The networks of our proxies, and what may be believed of the headers that came through them."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = networks
        self._has_warned = False

    def client(self, peer: str, forwarded_for: str) -> str:
        """The client's address: `peer`, or the last in `forwarded_for` that is no proxy of ours.

        `peer` is who has opened the connection. An entry that cannot be read ends the search: it, and all before it,
        may have been made up, so the client is then the proxy that passed it on.
        """
        client = peer = read_address(peer) or peer
        if forwarded_for and self.trusts(peer):
            for entry in reversed(forwarded_for.split(",")):
                address = read_address(entry.strip())
                if address is None:
                    break
                client = address
                if not self.trusts(address):
                    break
        elif forwarded_for:
            self._warn_once(peer)
        return client

    def trusts(self, address: str) -> bool:
        """Whether `address`, as `read_address` writes it, is one of our proxies."""
        return bool(self._networks) and is_in(address, self._networks)

    def _warn_once(self, peer: str) -> None:
        """A proxy that was forgotten in the settings makes one client, with one limit, of everybody."""
        if not self._has_warned and is_in(peer, _INSIDE):
            self._has_warned = True
            _log.warning("X-Forwarded-For is not believed: if this is a proxy, set api.trusted_proxies", peer=peer)


@lru_cache(maxsize=4_096)
def read_address(text: str) -> str | None:
    """An IP address in its usual form, without port or zone, IPv4 as IPv4; None if it is none."""
    with_port = _WITH_PORT.fullmatch(text)
    if with_port:
        text = with_port[1] or with_port[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(plain(address))


def plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """IPv4 as IPv4, also where a socket that takes both kinds writes it as `::ffff:192.0.2.1`."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether `address` is in one of `networks`. What is no address, such as a unix socket's, is in none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _client_address(request: Any) -> str:
    """The client's address. Empty where the server knows none, as on a unix socket."""
    environ = request.environ
    proxies: TrustedProxies = request.registry.trusted_proxies
    return proxies.client(environ.get("REMOTE_ADDR") or "", environ.get("HTTP_X_FORWARDED_FOR", ""))


def believe_scheme(request: Any) -> None:
    """Take `https` from X-Forwarded-Proto when a proxy of ours says so; the last one's word counts."""
    environ = request.environ
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
    if scheme in ("http", "https"):
        proxies: TrustedProxies = request.registry.trusted_proxies
        peer = environ.get("REMOTE_ADDR") or ""
        if proxies.trusts(read_address(peer) or peer):
            environ["wsgi.url_scheme"] = scheme


def includeme(config: Configurator) -> None:
    config.registry.trusted_proxies = TrustedProxies(config.registry.settings_object.api.trusted_proxies)
    config.add_request_method(_client_address, "client_address", reify=True)
