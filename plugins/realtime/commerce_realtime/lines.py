"""The connections between processes: Redis pub/sub where there is a Redis, else LISTEN and NOTIFY of PostgreSQL.

Both deliver in order while they live, and nothing of what is missed while they do not. NOTIFY takes a lock that all
who notify share until they commit: so it is never sent in a transaction of the shop's, but on a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from commerce_core.database import conninfo
from commerce_realtime.news import Joiner, Sender, in_parts

ERRORS = (psycopg.Error, redis.RedisError, OSError, asyncio.TimeoutError)
CONNECT_SECONDS = 5
ANSWER_SECONDS = 2.0
_NOTIFY = "SELECT pg_notify(%s, part) FROM unnest(%s::text[]) WITH ORDINALITY AS parts (part, number) ORDER BY number"


class Line(Protocol):
    """An open connection to the other processes. Any call may raise one of ERRORS, and it is of no use then."""

    async def send(self, texts: Sequence[str]) -> None: ...

    async def receive(self, seconds: float) -> Sequence[str]:
        """What has come; waits for the first for at most so long."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where processes meet: a channel called `name`, in a Redis or in the shop's database."""

    name: str
    database_url: str
    redis_url: str | None

    async def open(self) -> Line:
        """Join the others. Raises one of ERRORS."""
        if self.redis_url is not None:
            return await RedisLine.open(self.redis_url, self.name)
        return await PostgresLine.open(conninfo(self.database_url), self.name)

    def open_sender(self) -> Sender:
        """For a thread that only tells. Raises one of ERRORS."""
        if self.redis_url is not None:
            return RedisSender(self.redis_url, self.name)
        return PostgresSender(conninfo(self.database_url), self.name)


def _postgres_options(what: str) -> dict[str, Any]:
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": f"commerce-realtime {what}",
        "options": f"-c statement_timeout={int(ANSWER_SECONDS * 1000)}",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 5_000,
    }


class PostgresLine:
    """One connection that listens, and one that notifies, so that neither waits for the other."""

    def __init__(self, ear: psycopg.AsyncConnection[Any], mouth: psycopg.AsyncConnection[Any], name: str) -> None:
        self._ear, self._mouth, self._name = ear, mouth, name
        self._joiner = Joiner()

    @classmethod
    async def open(cls, address: str, name: str) -> PostgresLine:
        ear = await psycopg.AsyncConnection.connect(address, **_postgres_options("hears"))
        try:
            await ear.execute(f"LISTEN {name}")
            mouth = await psycopg.AsyncConnection.connect(address, **_postgres_options("tells"))
        except BaseException:
            await ear.close()
            raise
        return cls(ear, mouth, name)

    async def send(self, texts: Sequence[str]) -> None:
        parts = [part for text in texts for part in in_parts(text)]
        await self._mouth.execute(_NOTIFY, (self._name, parts))

    async def receive(self, seconds: float) -> Sequence[str]:
        found = []
        async for notify in self._ear.notifies(timeout=seconds, stop_after=1):
            text = self._joiner.take(notify.payload)
            if text is not None:
                found.append(text)
        return found

    async def close(self) -> None:
        for connection in (self._ear, self._mouth):
            with contextlib.suppress(*ERRORS):
                await connection.close()


class RedisLine:
    """PUBLISH and SUBSCRIBE."""

    def __init__(self, client: redis.asyncio.Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._pubsub: Any = client.pubsub(ignore_subscribe_messages=True)

    @classmethod
    async def open(cls, url: str, name: str) -> RedisLine:
        client = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        line = cls(client, name)
        try:
            await line._pubsub.subscribe(name)
        except BaseException:
            await line.close()
            raise
        return line

    async def send(self, texts: Sequence[str]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for text in texts:
                pipeline.publish(self._name, text)
            await pipeline.execute()

    async def receive(self, seconds: float) -> Sequence[str]:
        message = await self._pubsub.get_message(timeout=seconds)
        return [] if message is None else [message["data"].decode()]

    async def close(self) -> None:
        for part in (self._pubsub, self._client):
            with contextlib.suppress(*ERRORS):
                await part.aclose()


class PostgresSender:
    """For a thread that only tells."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._connection = psycopg.connect(address, **_postgres_options("tells"))

    def send(self, texts: Iterable[str]) -> None:
        parts = [part for text in texts for part in in_parts(text)]
        self._connection.execute(_NOTIFY, (self._name, parts))

    def close(self) -> None:
        self._connection.close()


class RedisSender:
    """For a thread that only tells."""

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        self._client = redis.Redis.from_url(
            url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._client.ping()

    def send(self, texts: Iterable[str]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for text in texts:
                pipeline.publish(self._name, text)
            pipeline.execute()

    def close(self) -> None:
        self._client.close()
