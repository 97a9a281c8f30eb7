"""CDNs that keep what we answer: told by jobs what is old. `config.add_cdn_purger(purger)` adds one.

Only changes of the catalogue are told. Stock changes too often for any CDN's limits: its copies of it are as old as
`cache.s_maxage` allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import orjson
import urllib3
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.cache.changes import CATALOGUE, tags_of
from commerce_core.cache.entry import EVERYTHING
from commerce_core.clock import Clock
from commerce_core.database import transaction
from commerce_core.events import EventBus, ProductChanged
from commerce_core.jobs.kinds import Fatal, JobContext, Retry, job
from commerce_core.settings import CdnSettings
from commerce_core.tracing import outgoing_call

# As many tags or addresses as Cloudflare takes in one call on any plan.
MOST_AT_A_TIME = 30
# Not before every process of the shop has dropped it, too: or the CDN would fetch, and keep, what is old.
AFTER = timedelta(seconds=1)
_LONGEST_ANSWER = 65_536
_LONGEST_WAIT_SECONDS = 3_600


class CdnPurger(Protocol):
    """A CDN's way of forgetting. `name` is unique among the shop's."""

    name: str
    # How many tags or addresses one call takes.
    most_at_a_time: int

    def purge(self, *, tags: Sequence[str], urls: Sequence[str]) -> None:
        """Have the copies with these tags (as in our Cache-Tag header) or at these addresses forgotten.

        Called by a job, with tags or with addresses, not both. Raises Retry or Fatal; anything else is tried again.
        """
        ...


class Cloudflare:
    """Cloudflare's purge by tag and by address."""

    name = "cloudflare"
    most_at_a_time = MOST_AT_A_TIME

    def __init__(self, zone: str, token: str, api: str) -> None:
        self._address = f"{api.rstrip('/')}/zones/{zone}/purge_cache"
        self._token = token
        # Redirects are not followed: the token is for this host alone.
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=15), retries=False)

    def purge(self, *, tags: Sequence[str], urls: Sequence[str]) -> None:
        with outgoing_call("POST", self._address):
            answer = self._http.request(
                "POST",
                self._address,
                body=orjson.dumps({"tags": tags} if tags else {"files": urls}),
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
                preload_content=False,
            )
        try:
            body = answer.read(_LONGEST_ANSWER)
        finally:
            answer.close()
        if answer.status == 429:
            raise Retry("Cloudflare has had too many purges", after=_wait(answer.headers.get("Retry-After")))
        if answer.status >= 500:
            raise ConnectionError(f"Cloudflare answered {answer.status}")
        if answer.status != 200 or not _succeeded(body):
            raise Fatal(f"Cloudflare answered {answer.status}: {_errors(body)}")


def _wait(header: str | None) -> timedelta | None:
    """What Retry-After says, in seconds, within reason; None for a date or nothing."""
    if header is None or not header.strip().isdecimal():
        return None
    return timedelta(seconds=min(int(header), _LONGEST_WAIT_SECONDS))


def _succeeded(body: bytes) -> bool:
    try:
        return orjson.loads(body).get("success") is True
    except (orjson.JSONDecodeError, AttributeError):
        return False


def _errors(body: bytes) -> str:
    try:
        errors = [f"{error['code']} {error['message']}" for error in orjson.loads(body)["errors"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no reason given"
    return "; ".join(errors)[:500] or "no reason given"


@job("cdn.purge", queue="low", retry=(10, 30, 60, 300, 900, 1_800), timeout=60)
def purge_cdn(context: JobContext, purger: str, tags: list[str], urls: list[str]) -> None:
    """One call to one CDN."""
    for candidate in context.registry.cdn_purgers:
        if candidate.name == purger:
            candidate.purge(tags=tags, urls=urls)
            return
    raise Fatal(f"no CDN {purger!r} is configured any more")


def request_purge(
    session: Session,
    purgers: Iterable[CdnPurger],
    *,
    tags: Iterable[str] = (),
    urls: Iterable[str] = (),
    now: datetime,
) -> list[UUID]:
    """Have jobs purge every CDN once the session commits; the jobs. What waits to be purged already is not twice."""
    jobs = []
    for purger in purgers:
        for kind, things in (("tags", sorted(set(tags))), ("urls", sorted(set(urls)))):
            for start in range(0, len(things), purger.most_at_a_time):
                chosen = things[start : start + purger.most_at_a_time]
                job_id = purge_cdn.enqueue(
                    session,
                    now=now,
                    run_at=now + AFTER,
                    unique_key=f"cdn.purge {purger.name} {kind} {' '.join(chosen)}",
                    **{"purger": purger.name, "tags": [], "urls": [], kind: chosen},
                )
                jobs += [job_id] if job_id is not None else []
    return jobs


def add_cdn_purger(config: Configurator, purger: CdnPurger) -> None:
    """Directive: tell this CDN, too, what is old. Its name must not be taken."""
    purgers = config.registry.cdn_purgers
    if any(known.name == purger.name for known in purgers):
        raise ConfigurationError(f"two CDNs are called {purger.name!r}")
    purgers.append(purger)


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.cdn_purgers = []
    config.add_directive("add_cdn_purger", add_cdn_purger)
    for purger in purgers_of(registry.settings_object.cdn):
        config.add_cdn_purger(purger)
    config.add_job(purge_cdn)
    subscribe(registry.bus, registry.engine, registry.cdn_purgers, registry.clock)


def purgers_of(settings: CdnSettings) -> list[CdnPurger]:
    """The CDNs that the settings name."""
    if settings.cloudflare_zone is None or settings.cloudflare_token is None:
        return []
    return [Cloudflare(settings.cloudflare_zone, settings.cloudflare_token.get_secret_value(), settings.cloudflare_url)]


def subscribe(bus: EventBus, engine: Engine, purgers: Sequence[CdnPurger], clock: Clock) -> None:
    """Let changes of the catalogue be purged from CDNs, if there are any then."""

    def purge(event: ProductChanged) -> None:
        if purgers:
            tags = [CATALOGUE if tag == EVERYTHING else tag for tag in tags_of(event)]
            with transaction(engine) as session:
                request_purge(session, purgers, tags=tags, now=clock.now())

    bus.subscribe(ProductChanged, purge)
