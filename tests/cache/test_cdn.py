"""CDNs are told what is old: by jobs, after the commit, in batches, for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commerce_core.application import close, make_configurator
from commerce_core.cache.cdn import AFTER, request_purge
from commerce_core.database import transaction, uuid7
from commerce_core.events import ProductChanged, emit
from commerce_core.jobs.models import Job
from commerce_core.jobs.runner import run_due
from commerce_core.settings import SettingsError
from commerce_core.testing import StoppedClock, make_settings
from tests.cache.cloudflare import TOKEN, ZONE, FakeCloudflare, fake_cloudflare


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with fake_cloudflare() as server:
        yield server


@pytest.fixture
def registry(database_url: str, engine: Engine, clock: StoppedClock, cloudflare: FakeCloudflare) -> Iterator[Any]:
    given = {"cdn.cloudflare_zone": ZONE, "cdn.cloudflare_token": TOKEN, "cdn.cloudflare_url": cloudflare.url}
    registry = make_configurator(make_settings(database_url, given), clock=clock).registry
    yield registry
    close(registry)


def change(registry: Any, *product_ids: UUID) -> None:
    with transaction(registry.engine) as session:
        emit(session, ProductChanged(what="product.update", product_ids=product_ids))


def run(registry: Any, **later: float) -> int:
    registry.clock.tick(**(later or {"seconds": AFTER.total_seconds()}))
    return run_due(registry, registry.engine)


def jobs(engine: Engine) -> list[Job]:
    with Session(engine) as session:
        return list(session.scalars(select(Job).order_by(Job.id)))


def test_a_change_is_purged_by_tag_once_every_process_has_dropped_it(registry: Any, cloudflare: FakeCloudflare) -> None:
    product_id = uuid7()
    change(registry, product_id)
    assert run_due(registry, registry.engine) == 0
    assert run(registry) == 1
    assert cloudflare.purged == [("tags", ["lists", f"product:{product_id}"])]


def test_an_import_purges_the_whole_catalogue_and_nothing_else_of_the_zone(
    registry: Any, cloudflare: FakeCloudflare
) -> None:
    change(registry)
    change(registry)
    run(registry)
    assert cloudflare.purged == [("tags", ["catalogue"])]


def test_many_tags_and_addresses_go_in_calls_of_thirty(registry: Any, cloudflare: FakeCloudflare) -> None:
    addresses = [f"https://shop.example/{number}" for number in range(31)]
    with transaction(registry.engine) as session:
        tags = [f"product:{uuid7()}" for _ in range(61)]
        request_purge(session, registry.cdn_purgers, tags=tags, urls=addresses, now=registry.clock.now())
    run(registry)
    assert sorted((kind, len(things)) for kind, things in cloudflare.purged) == [
        ("files", 1),
        ("files", 30),
        ("tags", 1),
        ("tags", 30),
        ("tags", 30),
    ]


def test_a_change_that_is_rolled_back_purges_nothing(registry: Any, engine: Engine) -> None:
    with Session(registry.engine) as session:
        emit(session, ProductChanged(what="product.update"))
        session.execute(select(1))
        session.rollback()
    assert jobs(engine) == []


@pytest.mark.parametrize("mischief", ["hang up", "500"])
def test_what_fails_for_a_while_is_tried_again(
    registry: Any, cloudflare: FakeCloudflare, engine: Engine, mischief: str
) -> None:
    cloudflare.mischief.append(mischief)
    change(registry)
    run(registry)
    assert (jobs(engine)[0].state, cloudflare.purged) == ("waiting", [])
    run(registry, seconds=12)
    assert cloudflare.purged == [("tags", ["catalogue"])]


def test_too_many_purges_wait_as_long_as_they_are_told_to(
    registry: Any, cloudflare: FakeCloudflare, engine: Engine
) -> None:
    cloudflare.mischief.append("429")
    change(registry)
    run(registry)
    assert jobs(engine)[0].run_at == registry.clock.now() + timedelta(seconds=90)
    run(registry, seconds=90)
    assert cloudflare.purged == [("tags", ["catalogue"])]


@pytest.mark.parametrize("mischief", ["302", "not json"])
def test_what_is_no_answer_of_cloudflares_is_not_tried_again(
    registry: Any, cloudflare: FakeCloudflare, engine: Engine, mischief: str
) -> None:
    cloudflare.mischief.append(mischief)
    change(registry)
    run(registry)
    assert (jobs(engine)[0].state, cloudflare.calls) == ("dead", 1)


def test_a_refused_token_is_told_to_staff_without_the_token(
    registry: Any, cloudflare: FakeCloudflare, engine: Engine
) -> None:
    registry.cdn_purgers[0]._token = "a-token-that-was-revoked"
    change(registry)
    run(registry)
    job = jobs(engine)[0]
    assert job.state == "dead"
    assert "403: 10000 Authentication error" in (job.error or "")
    assert "revoked" not in f"{job.error}{job.traceback}{job.arguments}"


def test_a_shop_adds_a_cdn_of_its_own(database_url: str, engine: Engine, clock: StoppedClock) -> None:
    class Recorder:
        name = "recorder"
        most_at_a_time = 2

        def __init__(self) -> None:
            self.purged: list[list[str]] = []

        def purge(self, *, tags: Any, urls: Any) -> None:
            self.purged.append([*tags, *urls])

    recorder = Recorder()
    config = make_configurator(make_settings(database_url), clock=clock)
    config.add_cdn_purger(recorder)
    config.commit()
    registry = config.registry
    change(registry, uuid7(), uuid7())
    assert run(registry) == 2
    assert sorted(len(tags) for tags in recorder.purged) == [1, 2]
    registry.cdn_purgers.clear()
    close(registry)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cdn.cloudflare_zone": ZONE},
        {"cdn.base_url": "https://x.example", "cdn.image_template": "{base}/{path}/{wdith}"},
        {"cdn.image_template": "{base}/{path}"},
        {"cdn.base_url": "//x.example"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        make_settings("postgresql://", wrong)
