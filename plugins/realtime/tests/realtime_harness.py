"""A server of the test's own, in a thread with a loop; and clients, which speak the protocol and nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

from commerce_realtime import signing
from commerce_realtime.apps import App
from commerce_realtime.running import loop_factory
from commerce_realtime.server import Server
from commerce_realtime.settings import Settings
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from commerce_core.clock import Clock
from commerce_core.database import make_engine
from commerce_core.metrics import Metrics
from commerce_core.testing import make_settings

# Generous, because the machine may be busy.
PATIENCE = 120.0
SECRET = "a-secret-for-tests-only"
APP = App("1", "shop", SECRET)
Result = TypeVar("Result")


class Running:
    """A server of one process. `settings` are those of `realtime.*`."""

    def __init__(self, database_url: str, core: dict[str, Any] | None = None, /, **settings: Any) -> None:
        self._core = make_settings(database_url, {"metrics.allowed": "127.0.0.0/8", **(core or {})})
        given = {
            "secret": SECRET,
            "port": 0,
            "bus": f"test_{secrets.token_hex(4)}",
            "drain_seconds": 0,
            # A server that is slow to hear itself is none without a bus; and it looks for itself in tests of that only.
            "lease_seconds": 30.0,
            "check_seconds": 3_600,
        }
        self.settings = Settings.model_validate(given | settings)
        self.engine = make_engine(database_url, self._core.sqlalchemy)
        self._registry = SimpleNamespace(
            engine=self.engine,
            clock=Clock(),
            metrics=Metrics(),
            settings_object=self._core,
            database_url=database_url,
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the server does not start"
        self.wait_until(lambda: self.server.bus.is_there)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory(self.settings)) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self.server = Server(self._registry, self.settings)
        await self.server.start()
        self.port = self.server.port
        self._ready.set()
        await self._stop.wait()
        await self.server.stop(self._at_once)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the server's loop."""

        async def there() -> Result:
            return function(*arguments)

        return self.wait(there())

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Until it is so, as seen in the server's loop."""
        wait_until(lambda: self.call(condition))

    def begin_to_stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop is closed: it is just coming to its end
                self.begin_to_stop()
            self._thread.join(PATIENCE)
        self.engine.dispose()

    def connect(self, key: str = "shop", query: str | None = None, **options: Any) -> Client:
        return Client(self.port, key, query, **options)

    def raw_websocket(self, *headers: str, path: str = "/app/shop?protocol=7") -> socket.socket:
        """A socket that has shaken hands, and then sends whatever it likes."""
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        raw = self.raw()
        raw.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = raw.recv(1)
            assert data, "the server has closed the socket"
            head += data
        assert head.startswith(b"HTTP/1.1 101 ")
        return raw

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        return request(self.port, "GET", path, headers=headers)

    def api(self, method: str, path: str, body: Any = None, *, app: App = APP, **query: Any) -> Answer:
        """A request to the HTTP API, signed as server libraries do."""
        return signed(self.port, method, path, body, app=app, query=query)


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.text = response.read().decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {**(headers or {}), "Connection": "close"})
        response = connection.getresponse()
        content = response.read()
        response.read = lambda: content  # type: ignore[method-assign, assignment, misc]
        return response
    finally:
        connection.close()


def signed(
    port: int, method: str, path: str, body: Any = None, *, app: App = APP, query: dict[str, Any] | None = None
) -> Answer:
    content = b"" if body is None else json.dumps(body).encode()
    pairs = {"auth_key": app.key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0", **(query or {})}
    if content:
        pairs.setdefault("body_md5", hashlib.md5(content).hexdigest())
    pairs.setdefault("auth_signature", signing.request_signature(app, method, path, pairs.items()))
    return Answer(request(port, method, f"{path}?{urlencode(pairs)}", content or None))


class Client:
    """A client of the protocol. `next(event)` is what has come of that name; what came before is kept."""

    def __init__(
        self,
        port: int,
        key: str = "shop",
        query: str | None = None,
        *,
        prefix: str = "",
        scheme: str = "ws",
        host: str = "127.0.0.1",
        **options: Any,
    ) -> None:
        query = "protocol=7&client=js&version=8.6.0&flash=false" if query is None else query
        address = f"{scheme}://{host}:{port}{prefix}/app/{key}?{query}"
        self._open = ExitStack()
        self.socket = self._open.enter_context(
            connect(
                address,
                compression=None,
                open_timeout=PATIENCE,
                close_timeout=PATIENCE,
                ping_interval=None,
                max_queue=None,
                **options,
            )
        )
        self.kept: list[dict[str, Any]] = []

    def established(self) -> Self:
        """The same, once the server has said hello."""
        self.id = self.next("pusher:connection_established")["socket_id"]
        return self

    def send(self, event: str, data: Any = None, **more: Any) -> None:
        message = {"event": event, **more}
        self.socket.send(json.dumps(message if data is None else {**message, "data": data}))

    def receive(self) -> dict[str, Any]:
        """The next message, whatever it is; its data is read, too."""
        message = self.raw()
        if isinstance(message.get("data"), str):
            with contextlib.suppress(json.JSONDecodeError):
                message["data"] = json.loads(message["data"])
        return message

    def raw(self) -> dict[str, Any]:
        """The next message as it came."""
        message: dict[str, Any] = json.loads(self.socket.recv(PATIENCE))
        return message

    def next_message(self, event: str, channel: str | None = None) -> dict[str, Any]:
        def fits(message: dict[str, Any]) -> bool:
            return message["event"] == event and channel in (None, message.get("channel"))

        for index, message in enumerate(self.kept):
            if fits(message):
                return self.kept.pop(index)
        while True:
            message = self.receive()
            if fits(message):
                return message
            self.kept.append(message)

    def next(self, event: str, channel: str | None = None) -> Any:
        """The data of the next message of this name."""
        return self.next_message(event, channel).get("data")

    def subscribe(self, channel: Any, **data: Any) -> None:
        self.send("pusher:subscribe", {"auth": "", **data, "channel": channel})

    def subscribed(self, channel: str, **data: Any) -> Any:
        """Subscribe, and what the answer is."""
        self.subscribe(channel, **data)
        return self.next("pusher_internal:subscription_succeeded", channel)

    def refused(self, channel: Any, **data: Any) -> dict[str, Any]:
        """Subscribe, and why that is refused."""
        self.subscribe(channel, **data)
        found: dict[str, Any] = self.next_message("pusher:subscription_error")
        return found

    def auth(self, channel: str, member: Any = None, *, app: App = APP) -> dict[str, str]:
        """What a private channel, or (with a member) a presence channel is subscribed to with."""
        text = None if member is None else json.dumps(member)
        found = {"auth": signing.channel_auth(app, self.id, channel, text)}
        return found if text is None else found | {"channel_data": text}

    def join(self, channel: str, user_id: Any, **user_info: Any) -> Any:
        """Subscribe to a presence channel, and who is in it."""
        member = {"user_id": user_id, **({"user_info": user_info} if user_info else {})}
        return self.subscribed(channel, **self.auth(channel, member))["presence"]

    def sign_in(self, user_id: str) -> None:
        user_data = json.dumps({"id": user_id})
        self.send("pusher:signin", {"auth": signing.user_auth(APP, self.id, user_data), "user_data": user_data})

    def all_until_pong(self) -> list[dict[str, Any]]:
        """Everything that was on its way: what a ping's answer comes after."""
        self.send("pusher:ping", {})
        found, self.kept = self.kept, []
        while (message := self.receive())["event"] != "pusher:pong":
            found.append(message)
        return found

    def closed(self) -> int:
        """The code with which the server closes, after whatever it has still to say; 1006 for none."""
        try:
            while True:
                self.kept.append(self.receive())
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd is not None else 1006

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def frame(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


def until(raw: socket.socket, wanted: bytes) -> None:
    """Read until this has come."""
    found = b""
    while wanted not in found:
        data = raw.recv(65_536)
        assert data, "the server has closed the socket"
        found = found[-len(wanted) :] + data


def all_of(raw: socket.socket) -> bytes:
    """Everything that comes until the server closes the socket."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := raw.recv(65_536):
            found += data
    return found


@contextmanager
def running(*arguments: Any, **settings: Any) -> Iterator[Running]:
    """A server until the end of the block."""
    server = Running(*arguments, **settings)
    try:
        yield server
    finally:
        server.stop()
