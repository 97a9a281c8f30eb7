"""One POST to an endpoint: to an address that was checked, without redirects, and no longer than it may take."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from commerce_core.settings import CoreSettings
from commerce_core.tracing import outgoing_call
from commerce_core.webhooks.addresses import Resolve, Target, addresses_of, read_url

# Of an answer, so much is read and kept.
LONGEST_ANSWER = 2_048
# Of the addresses that a name has, so many are tried.
MOST_ADDRESSES = 2


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    retry_after: str | None


class Sender:
    """Sends webhooks by the shop's settings. `resolve` looks names up, as socket.getaddrinfo does."""

    def __init__(self, settings: CoreSettings, *, resolve: Resolve = socket.getaddrinfo) -> None:
        self._settings = settings.webhooks
        self.allow_http = settings.webhooks.allow_http or settings.commerce.environment == "development"
        self.resolve = resolve

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it. Raises UnusableUrl, AddressRefused, OSError or urllib3's HTTPError."""
        target = read_url(url, allow_http=self.allow_http)
        addresses = addresses_of(target, self._settings.allowed_networks, self.resolve)[:MOST_ADDRESSES]
        for address in addresses[:-1]:
            try:
                return self._post(target, address, body, headers)
            except (NewConnectionError, ConnectTimeoutError):
                continue  # as where there is no way to an IPv6 address
        return self._post(target, addresses[-1], body, headers)

    def _post(self, target: Target, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        timeout = urllib3.Timeout(
            connect=self._settings.connect_timeout_seconds, read=self._settings.read_timeout_seconds
        )
        pool: urllib3.HTTPConnectionPool
        if target.scheme == "https":
            # The certificate has to be the name's, though the connection is made to its address.
            pool = urllib3.HTTPSConnectionPool(
                address, target.port, timeout=timeout, server_hostname=target.host, assert_hostname=target.host
            )
        else:
            pool = urllib3.HTTPConnectionPool(address, target.port, timeout=timeout)
        with pool, outgoing_call("POST", f"{target.scheme}://{target.netloc}"):
            answer = pool.urlopen(
                "POST",
                target.path,
                body=body,
                headers={**headers, "Host": target.netloc},
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
            )
            try:
                return Answer(answer.status, _beginning(answer), answer.headers.get("Retry-After"))
            finally:
                answer.close()


def _beginning(answer: urllib3.BaseHTTPResponse) -> str:
    """The first of an answer's body, as it came. That it breaks off takes nothing from its status."""
    try:
        content = answer.read(LONGEST_ANSWER, decode_content=False)
    except HTTPError:
        return ""
    return content.decode("utf-8", "replace").replace("\x00", "")
