"""The tier in Redis, which all processes share; and what is done while it is away.

Each operation is one script, so that nothing comes in between. All keys carry an epoch: to drop everything is to begin
a new one, and a Redis that was flushed begins one, too. A value is put with the ticket that was drawn before it was
built, and refused if one of its tags has been dropped since: an old value is never left behind by a slow builder.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from commerce_core.cache.entry import EVERYTHING, Entry
from commerce_core.clock import Clock
from commerce_core.settings import RedisSettings

PREFIX = "commerce:cache:"
CHANNEL = PREFIX + "news"
# How long a drop is remembered, so that a value built from before it is refused: longer than any build takes.
_REMEMBERED_SECONDS = 60
# A tag that more values bear than this is dropped, so that made-up queries cannot fill the memory with their names.
_MOST_BY_TAG = 10_000
# How long one process builds for all, at most.
LOCK_MS = 3_000
# How long Redis is left alone after it did not answer.
REST_SECONDS = 2.0

_EPOCH = """
local state = KEYS[1] .. 'epoch'
local epoch = redis.call('HGET', state, 'id')
if not epoch then
    epoch = ARGV[1]
    redis.call('HSET', state, 'id', epoch, 'sequence', 0)
end
local here = KEYS[1] .. epoch .. ':'
local function drop(tag)
    local tagged = here .. 'tag:' .. tag
    for _, digest in ipairs(redis.call('SMEMBERS', tagged)) do redis.call('UNLINK', here .. 'entry:' .. digest) end
    redis.call('UNLINK', tagged)
end
"""
_GET = (
    _EPOCH
    + """
local key = here .. 'entry:' .. ARGV[2]
local value = redis.call('GET', key)
return {epoch, redis.call('HGET', state, 'sequence'), value, value and redis.call('PTTL', key) or 0}
"""
)
_PUT = (
    _EPOCH
    + f"""
if epoch ~= ARGV[3] then return 0 end
for index = 7, #ARGV do
    local dropped = redis.call('GET', here .. 'dropped:' .. ARGV[index])
    if dropped and tonumber(dropped) > tonumber(ARGV[4]) then return 0 end
end
for index = 7, #ARGV do
    local tagged = here .. 'tag:' .. ARGV[index]
    if redis.call('SCARD', tagged) >= {_MOST_BY_TAG} then drop(ARGV[index]) end
    redis.call('SADD', tagged, ARGV[2])
    if redis.call('PTTL', tagged) < tonumber(ARGV[6]) then redis.call('PEXPIRE', tagged, ARGV[6]) end
end
redis.call('SET', here .. 'entry:' .. ARGV[2], ARGV[5], 'PX', ARGV[6])
return 1
"""
)
_DROP = (
    _EPOCH
    + """
local sequence = redis.call('HINCRBY', state, 'sequence', 1)
for index = 4, #ARGV do
    if ARGV[index] == '*' then
        redis.call('HSET', state, 'id', ARGV[1], 'sequence', 0)
    else
        drop(ARGV[index])
        redis.call('SET', here .. 'dropped:' .. ARGV[index], sequence, 'EX', ARGV[2])
    end
end
return redis.call('PUBLISH', KEYS[1] .. 'news', ARGV[3])
"""
)


class Ticket(NamedTuple):
    """How things stood when a value was asked for."""

    epoch: bytes
    sequence: bytes


class Found(NamedTuple):
    """What Redis has: the value, and how many milliseconds it will keep it."""

    ticket: Ticket
    entry: Entry | None
    left_ms: int


class RedisAway(Exception):
    """Redis does not answer, or did not a moment ago."""


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that is impatient, and never tries twice by itself."""
    assert settings.url is not None
    client: redis.Redis = redis.Redis.from_url(
        settings.url,
        socket_connect_timeout=settings.connect_timeout_ms / 1000,
        socket_timeout=settings.timeout_ms / 1000,
        max_connections=settings.max_connections,
        retry=Retry(NoBackoff(), 0),
    )
    return client


class SharedTier:
    """Safe between threads. Every call may raise RedisAway."""

    def __init__(self, client: redis.Redis, clock: Clock, *, rest_seconds: float = REST_SECONDS) -> None:
        self._client = client
        self._breaker = Breaker(clock, rest_seconds)
        self._get, self._put, self._drop = (client.register_script(script) for script in (_GET, _PUT, _DROP))

    def get(self, key: str) -> Found:
        """The value of `key`, and the ticket to put another one with."""
        epoch, sequence, packed, left_ms = self._ask(self._get, [PREFIX], [_new_epoch(), _digest(key)])
        try:
            entry = None if packed is None else Entry.unpack(packed)
        except ValueError:
            entry = None  # somebody else's
        return Found(Ticket(epoch, sequence), entry, int(left_ms))

    def put(self, key: str, entry: Entry, ticket: Ticket, *, milliseconds: int) -> bool:
        """Keep a value, unless it may be older than a drop of one of its tags; whether it was kept."""
        arguments = [_new_epoch(), _digest(key), *ticket, entry.pack(), milliseconds, *sorted(entry.tags)]
        return bool(self._ask(self._put, [PREFIX], arguments))

    def drop(self, tags: Iterable[str], news: str) -> None:
        """Drop what bears one of `tags`, and publish `news` of it."""
        self._ask(self._drop, [PREFIX], [_new_epoch(), _REMEMBERED_SECONDS, news, *tags])

    def drop_everything_once(self, occasion: str, news: str, *, seconds: int) -> None:
        """Begin a new epoch, unless another process has done so on this occasion within `seconds`."""
        if self._ask(self._client.set, f"{PREFIX}occasion:{occasion}", b"1", nx=True, ex=seconds):
            self.drop([EVERYTHING], news)

    def lock(self, key: str) -> bool:
        """Whether it is for us to build the value of `key`. Lapses by itself."""
        return bool(self._ask(self._client.set, f"{PREFIX}lock:{_digest(key)}", b"1", nx=True, px=LOCK_MS))

    def unlock(self, key: str) -> None:
        self._ask(self._client.delete, f"{PREFIX}lock:{_digest(key)}")

    def close(self) -> None:
        self._client.close()

    def _ask(self, call: Any, *arguments: Any, **options: Any) -> Any:
        self._breaker.check()
        try:
            answer = call(*arguments, **options)
        except (redis.RedisError, OSError) as error:
            self._breaker.open()
            raise RedisAway from error
        self._breaker.close()
        return answer


class Breaker:
    """After a failure everybody is turned away for some seconds, and then one is let through to try."""

    def __init__(self, clock: Clock, rest_seconds: float) -> None:
        self._clock = clock
        self._rest_seconds = rest_seconds
        self._lock = threading.Lock()
        self._is_open = False
        self._try_at = 0.0

    def check(self) -> None:
        """Raises RedisAway."""
        if not self._is_open:
            return
        with self._lock:
            now = self._clock.monotonic()
            if self._is_open and now < self._try_at:
                raise RedisAway
            self._try_at = now + self._rest_seconds

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            self._try_at = self._clock.monotonic() + self._rest_seconds

    def close(self) -> None:
        self._is_open = False


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _new_epoch() -> str:
    return uuid.uuid4().hex
