"""Huey, as the carrier: it brings the ids of jobs that may run to the workers, quickly and in order of priority.

Nothing depends on its memory: a message that is lost is sent again by the feeder, one that comes twice finds its job
taken.
A message is the id of a job and nothing else, so whoever can write to Redis cannot make a worker run code.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

import psycopg
import redis
import structlog
from huey.api import Huey
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import BaseStorage, PostgresStorage, RedisStorage
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from commerce_core.log import first_line

_log = structlog.get_logger("commerce.job")
TASK = "run_job"
CHANNEL = "commerce_jobs"
# Of ten looks, how many begin with which queue: the critical one mostly, and none ever starves.
TURNS = {"critical": 6, "default": 3, "low": 1}
# A worker that hears nothing looks for itself this often.
LISTEN_SECONDS = 1.0

Carried = tuple[UUID, str, int]
"""A job that may run: its id, its queue, its priority."""


class Courier(Protocol):
    """Gives jobs to the carrier."""

    # Whether a message is committed together with its job, so that nobody need look whether it got lost in between.
    with_the_job: bool

    def hand_over(self, session: Session, jobs: Sequence[Carried]) -> None:
        """Carry these jobs once the session's transaction has committed. Never fails: the feeder will see to them."""
        ...

    def size(self, queue: str) -> int:
        """How many messages a queue holds. Raises the carrier's error when it is away."""
        ...

    def storage(self, queues: Sequence[str]) -> BaseStorage:
        """Where a worker gets the messages of these queues from."""
        ...


class JobMessages(Serializer):  # type: ignore[misc]
    """A message on the wire is the id of a job. Not a pickle, which would run whatever it is told to."""

    def _serialize(self, data: Message) -> bytes:
        return str(data.args[0]).encode()

    def _deserialize(self, data: bytes) -> Message:
        job_id = data.decode()
        return Message(job_id, f"{__name__}.{TASK}", args=(job_id,), kwargs={})


class Carrier(Huey):  # type: ignore[misc]
    """A Huey that only carries: results, retries, schedules and revocations are the job row's business."""

    def __init__(self, storage: BaseStorage) -> None:
        self._given = storage
        super().__init__("commerce", results=False, serializer=JobMessages())

    def create_storage(self) -> BaseStorage:
        return self._given

    def is_revoked(self, *_: Any, **__: Any) -> bool:
        return False

    def delete(self, *_: Any) -> bool:
        return False

    def read_schedule(self, *_: Any) -> list[Any]:
        return []


def turns(queues: Sequence[str]) -> Iterator[Sequence[str]]:
    """In which order to look into the queues, time after time: each is first in its share of the looks."""
    shares = [queue for queue in queues for _ in range(TURNS[queue])]
    # A stride that is prime to the number of shares spreads each queue's turns.
    stride = next(step for step in (7, 3, 1) if len(shares) % step)
    for place in itertools.count():
        first = shares[place * stride % len(shares)]
        yield [first, *(queue for queue in queues if queue != first)]


class PostgresCourier:
    """Messages are rows of an unlogged table, written in the transaction that wants the job."""

    with_the_job = True
    _INSERT = text(
        "INSERT INTO job_message (queue, data, priority)"
        " SELECT * FROM unnest(CAST(:queues AS text[]), CAST(:data AS bytea[]), CAST(:priorities AS float8[]))"
    )

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def hand_over(self, session: Session, jobs: Sequence[Carried]) -> None:
        session.execute(
            self._INSERT,
            {
                "queues": [queue for _, queue, _ in jobs],
                "data": [str(job_id).encode() for job_id, _, _ in jobs],
                "priorities": [priority for _, _, priority in jobs],
            },
        )
        session.info["jobs_carried_by"] = (self, ())

    def committed(self, _jobs: Sequence[Carried]) -> None:
        """Wake the workers. Not in the job's transaction, because commits that notify wait for each other."""
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(self._url, autocommit=True)
                    weakref.finalize(self, self._connection.close)
                self._connection.execute(f"NOTIFY {CHANNEL}")
            except psycopg.Error as error:
                self._connection = None
                _log.warning("workers not woken", error=first_line(error))

    def size(self, queue: str) -> int:
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM job_message WHERE queue = %s", (queue,)).fetchone()
            assert row is not None
            return int(row[0])

    def storage(self, queues: Sequence[str]) -> BaseStorage:
        return PostgresQueues(self._url, queues)


class PostgresQueues(PostgresStorage):  # type: ignore[misc]
    """Huey's PostgreSQL storage over our own table and several queues."""

    def __init__(self, url: str, queues: Sequence[str]) -> None:
        # A message that is lost is sent again, so nobody waits for the disk.
        super().__init__(dsn=url, read_timeout=LISTEN_SECONDS, create_tables=False, options="-c synchronous_commit=off")
        self.table_task = "job_message"
        self.channel = CHANNEL
        self._turns = turns(queues)

    def _dequeue(self) -> bytes | None:
        for queue in next(self._turns):
            self.name = queue
            data: bytes | None = super()._dequeue()
            if data is not None:
                return data
        return None


class RedisCourier:
    """Messages are members of a sorted set for each queue, added after the commit."""

    with_the_job = False

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def hand_over(self, session: Session, jobs: Sequence[Carried]) -> None:
        _, waiting = session.info.get("jobs_carried_by", (self, ()))
        session.info["jobs_carried_by"] = (self, (*waiting, *jobs))

    def committed(self, jobs: Sequence[Carried]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for job_id, queue, priority in jobs:
                    # UUIDv7 sorts by time: among equals the oldest comes first.
                    pipeline.zadd(_key(queue), {str(job_id): -priority})
                pipeline.execute()
        except redis.RedisError as error:
            _log.warning("jobs not carried; the feeder will", count=len(jobs), error=first_line(error))

    def size(self, queue: str) -> int:
        size: int = self._client.zcard(_key(queue))
        return size

    def storage(self, queues: Sequence[str]) -> BaseStorage:
        return RedisQueues(self._client, queues)


class RedisQueues(RedisStorage):  # type: ignore[misc]
    """Huey's Redis storage over several queues, each a sorted set."""

    def __init__(self, client: redis.Redis, queues: Sequence[str]) -> None:
        super().__init__(connection_pool=client.connection_pool, read_timeout=LISTEN_SECONDS)
        self._turns = turns(queues)

    def dequeue(self) -> bytes | None:
        found = self.conn.bzpopmin([_key(queue) for queue in next(self._turns)], timeout=LISTEN_SECONDS)
        return None if found is None else found[1]


def _key(queue: str) -> str:
    return f"commerce:jobs:{queue}"


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if not session.in_nested_transaction():
        courier, jobs = session.info.pop("jobs_carried_by", (None, ()))
        if courier is not None:
            courier.committed(jobs)


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, previous: Any) -> None:
    if not previous.nested:
        session.info.pop("jobs_carried_by", None)


def courier_of(engine: Engine) -> Courier:
    """The courier that the engine was given by `attach`."""
    courier: Courier = engine.get_execution_options()["commerce_courier"]
    return courier


def attach(engine: Engine, courier: Courier) -> None:
    """Let every session of this engine hand its jobs to `courier`."""
    engine.update_execution_options(commerce_courier=courier)
