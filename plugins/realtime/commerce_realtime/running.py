"""Running the server until a signal."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Any

import structlog

from commerce_realtime.server import Server
from commerce_realtime.settings import Settings

_log = structlog.get_logger("commerce.realtime")


def loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    """The event loop of the settings; asyncio's own where there is no uvloop."""
    if settings.event_loop == "uvloop":
        try:
            import uvloop
        except ImportError:
            _log.warning("realtime runs without uvloop, which is not installed")
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


def run(registry: Any, settings: Settings, ready: Callable[[Server], None]) -> None:
    """Serve until SIGTERM or SIGINT; at the second one, end at once. Raises OSError where it cannot listen."""
    with asyncio.Runner(loop_factory=loop_factory(settings)) as runner:
        runner.run(_serve(registry, settings, ready))


async def _serve(registry: Any, settings: Settings, ready: Callable[[Server], None]) -> None:
    loop = asyncio.get_running_loop()
    stop, at_once = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    server = Server(registry, settings)
    await server.start()
    gc.freeze()  # All this stays, so there is no garbage to look for in it: every client would wait for 0.2 s.
    ready(server)
    await stop.wait()
    await server.stop(at_once)
