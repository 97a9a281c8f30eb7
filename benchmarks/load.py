"""A load client that costs little: one process, one epoll loop, HTTP/1.1 keep-alive, requests made beforehand.

Closed loop: each connection sends its next request when the answer to the last one is complete.
"""

from __future__ import annotations

import multiprocessing
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class Result:
    """What one run saw. Latencies in milliseconds, sorted."""

    seconds: float
    statuses: Counter[int]
    latencies: list[float] = field(repr=False)

    @property
    def rate(self) -> float:
        """Answers a second, of every status."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))]


def request(method: str, path: str, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """A request ready to be sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, warmup: float = 1.0) -> Result:
    """Send `requests` (drawn at random) over `connections` for `seconds`, after `warmup` seconds that do not count."""
    with _SPAWN.Pool(1) as pool:
        return pool.apply(_run, (port, list(requests), connections, seconds, warmup))


def _run(port: int, requests: list[bytes], connections: int, seconds: float, warmup: float) -> Result:
    draw = random.Random(1).choice
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    partial: dict[int, bytes] = {}
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[client.fileno()] = client
        poll.register(client.fileno(), select.EPOLLIN)
    clock = time.perf_counter
    begin = clock() + warmup
    end = begin + seconds
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    for number, client in sockets.items():
        sent[number] = clock()
        client.sendall(draw(requests))
    now = clock()
    while now < end:
        for number, _ in poll.poll(1.0):
            client = sockets[number]
            data = client.recv(262_144)
            if number in partial:
                data = partial.pop(number) + data
            now = clock()
            if not _complete(data):
                partial[number] = data
                continue
            if now >= begin:
                statuses[int(data[9:12])] += 1
                latencies.append((now - sent[number]) * 1000)
            sent[number] = now
            client.sendall(draw(requests))
    for client in sockets.values():
        client.close()
    latencies.sort()
    return Result(seconds, statuses, latencies)


def _complete(data: bytes) -> bool:
    """Whether `data` holds a whole answer."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        if not data:
            raise ConnectionError("the server closed the connection")
        return False
    lower = data[:head].lower()
    at = lower.find(b"content-length:")
    if at < 0:
        return True
    return len(data) >= head + 4 + int(lower[at + 15 : lower.find(b"\r\n", at) if b"\r\n" in lower[at:] else None])
