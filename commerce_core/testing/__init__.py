"""The test kit: `pytest -p commerce_core.testing` gives a real database, a real application, and makers of things.

Every test works on real, committed rows, through the public services or over HTTP; the database is emptied after each
test that used it. The clock stands still until the test moves it.
"""

from __future__ import annotations

import gc
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
from redis import Redis
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session
from webtest import TestApp

import commerce_core.models
from commerce_core import migrations
from commerce_core.accounts.tokens import issue_token
from commerce_core.accounts.users import create_user
from commerce_core.api.limits import STRATEGIES
from commerce_core.application import close, make_application
from commerce_core.cache.entry import EVERYTHING
from commerce_core.catalog.models import Variant
from commerce_core.catalog.service import add_variant, create_product
from commerce_core.clock import Clock
from commerce_core.database import Base, conninfo, make_engine, transaction
from commerce_core.embedded import embedded_postgres, resolve
from commerce_core.events import Event, ProductChanged, attach, emit, every_kind
from commerce_core.jobs.feeder import Feeder
from commerce_core.jobs.runner import run_due
from commerce_core.mail.models import Mail
from commerce_core.mail.templates import Letter, Templates
from commerce_core.plugins.calls import attach as attach_plugins
from commerce_core.plugins.loading import owners_declared
from commerce_core.pricing.core_rules import CATALOGUE_PRICE
from commerce_core.pricing.rules import Pricing
from commerce_core.settings import CoreSettings, parse_settings
from commerce_core.stock.service import receive_stock
from commerce_core.stock.verify import verify_stock
from commerce_core.testing.databases import migrated_template, own_database_url, own_engine
from commerce_core.testing.redis import redis_server, running_redis

__all__ = ["migrated_template", "own_database_url", "own_engine", "redis_server"]  # fixtures, too

Result = TypeVar("Result")

WEBHOOK_SECRET = "signs-webhooks-in-tests-only"
DEFAULTS = {
    "commerce.environment": "development",
    "payments.manual_webhook_secret": WEBHOOK_SECRET,
    "log.level": "warning",
    # As cheap as argon2id gets and still is what it is.
    "accounts.password_memory_kib": "1024",
    "accounts.password_passes": "1",
    # A machine that is busy must not look like a database that is, or one that is away.
    "sqlalchemy.pool_timeout_seconds": "60",
    "sqlalchemy.connect_timeout_seconds": "60",
    "sqlalchemy.statement_timeout_ms": "60000",
    "sqlalchemy.lock_timeout_ms": "60000",
    "stock.hot_wait_seconds": "60",
    "stock.statement_timeout_ms": "60000",
    "stock.lock_timeout_ms": "60000",
    "accounts.hash_wait_seconds": "60",
    # The clock of a test jumps, and so must what the desk remembers.
    "stock.sold_out_memory_ms": "0",
    # What a test changes is dropped from the cache at once.
    "cache.delay_ms": "0",
    # What it finds of the machine under test is no business of the shop's.
    "monitor.every_seconds": "0",
    "monitor.stock_verify_minutes": "0",
    # Tests ask as often as they like; those of limits set them.
    **{f"limits.{strategy}": "off" for strategy in STRATEGIES},
}


# What the catalogue says, and nothing else: for tests of services that need no shop's settings.
CATALOGUE_PRICES = Pricing((CATALOGUE_PRICE,))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "commerce(plugins, settings): the plugins to enable, and settings by dotted key, of the shop under test",
    )


def pytest_collection_finish() -> None:
    """What has been imported stays: to look for garbage in it again and again takes a tenth of the time of tests."""
    gc.freeze()


class StoppedClock(Clock):
    """Stands still until it is told to tick."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def set(self, now: datetime) -> None:
        """Stand still at another time."""
        self._now = now

    def tick(self, **delta: float) -> None:
        """Move on: `clock.tick(minutes=2)`."""
        self._now += timedelta(**delta)


# One for all, because the application that tests share goes by it.
_CLOCK = StoppedClock()


@pytest.fixture
def clock() -> StoppedClock:
    _CLOCK.set(datetime.now(UTC))
    return _CLOCK


@contextmanager
def folder_for_postgres() -> Iterator[Path]:
    """A temporary folder that PostgreSQL can reach, whoever runs the tests.

    Not pytest's own: as root, PostgreSQL runs as another user, and every start of a pytest closes its folder to others.
    """
    with tempfile.TemporaryDirectory(prefix="commerce-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "postgres"


@pytest.fixture(scope="session")
def database_url(_session_url: str) -> str:
    """A migrated database. Tests may have one of their own instead."""
    return _session_url


@pytest.fixture(scope="session")
def _session_url() -> Iterator[str]:
    """A migrated database: at `COMMERCE_TEST_DATABASE_URL` (which will be emptied!), else an embedded one."""
    given = os.environ.get("COMMERCE_TEST_DATABASE_URL")

    @contextmanager
    def server() -> Iterator[str]:
        if given:
            yield resolve(given)
        else:
            with folder_for_postgres() as folder, embedded_postgres(folder) as url:
                _do_without_disk(url)
                yield url

    with server() as url, _redis_for_all():
        engine = make_engine(url, make_settings(url).sqlalchemy)
        migrations.upgrade(engine)
        engine.dispose()
        yield url


def _do_without_disk(url: str) -> None:
    """No commit waits for the disk, which only matters should the machine lose its power."""
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        for name in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _redis_for_all() -> Iterator[None]:
    """With `COMMERCE_TEST_REDIS=1`, every shop under test has a Redis."""
    if not os.environ.get("COMMERCE_TEST_REDIS"):
        yield
        return
    with running_redis() as server:
        DEFAULTS["redis.url"] = server.url
        # A machine that is busy must not look like a Redis that is away.
        DEFAULTS["redis.timeout_ms"] = DEFAULTS["redis.connect_timeout_ms"] = "5000"
        yield


def make_settings(url: str, overrides: Mapping[str, Any] | None = None) -> CoreSettings:
    """The settings of a shop under test; the environment does not count."""
    return parse_settings({"sqlalchemy.url": url, **DEFAULTS, **(overrides or {})}, environ={})


@pytest.fixture(scope="session")
def _session_engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, make_settings(database_url).sqlalchemy)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _upgraded() -> set[str]:
    """The plugins whose tables the database of all tests has."""
    return set()


@pytest.fixture
def engine(_session_engine: Engine, settings: CoreSettings, _upgraded: set[str]) -> Iterator[Engine]:
    """The database, with the tables of the plugins under test. Afterwards it is emptied, and so is a Redis."""
    plugins = set(settings.commerce.plugins)
    if not plugins <= _upgraded:
        migrations.upgrade(_session_engine, owners_declared(settings))
        _upgraded |= plugins
    yield _session_engine
    empty_database(_session_engine)
    if "redis.url" in DEFAULTS:
        with Redis.from_url(DEFAULTS["redis.url"]) as redis:
            redis.flushall()


# To truncate a table, however small, takes as long as to delete thousands of rows; and most are empty.
_EMPTY = """
DO $$
DECLARE
    name text;
    filled boolean;
BEGIN
    -- The append-only triggers, and foreign keys, do not count for a replica.
    SET LOCAL session_replication_role = replica;
    FOREACH name IN ARRAY '{tables}'::text[] LOOP
        CONTINUE WHEN to_regclass(name) IS NULL;  -- a plugin's, which is not installed in this database
        IF pg_relation_size(name::regclass) > 2 * 1024 * 1024 THEN
            EXECUTE format('TRUNCATE %I CASCADE', name);
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO filled;
            IF filled THEN
                EXECUTE format('DELETE FROM %I', name);
            END IF;
        END IF;
    END LOOP;
END $$
"""


def empty_database(engine: Engine) -> None:
    """Delete every row, the ledger's too."""
    assert commerce_core.models  # all of them
    tables = ",".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(_EMPTY.replace("{tables}", f"{{{tables}}}")))


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    """A session. Commit what the application, or another session, should see."""
    with Session(engine) as session:
        yield session


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> CoreSettings:
    """The shop's settings, with those of the markers `commerce(plugins=["loyalty"], settings={...})`.

    Of several markers the nearest counts, plugins and settings each on their own.
    """
    given: dict[str, Any] = {}
    for marker in request.node.iter_markers("commerce"):
        for what, value in marker.kwargs.items():
            given.setdefault(what, value)
    plugins = {"commerce.plugins": " ".join(given["plugins"])} if "plugins" in given else {}
    return make_settings(database_url, {**plugins, **(given.get("settings") or {})})


class _SharedApplication:
    """An application that one test after the other uses, because to make one takes longer than most tests do."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self._registry = application.registry
        self._rest = dict(vars(self._registry))
        # What directives fill is filled again in place: others hold on to it.
        self._tables = [(table, table.copy()) for table in self._rest.values() if type(table) in (dict, list, set)]
        self._subscribers = [
            (table, {kind: tuple(found) for kind, found in table.items()})
            for table in vars(self._registry.bus).values()
        ]

    def restore(self) -> None:
        """Take back what a test has put into the registry, and forget what was kept for it."""
        vars(self._registry).update(self._rest)
        for table, content in self._tables:
            table.clear()
            table.extend(content) if isinstance(table, list) else table.update(content)
        for table, subscribers in self._subscribers:
            table.clear()
            table.update({kind: list(found) for kind, found in subscribers.items()})
        self._registry.cache.drop([EVERYTHING])


@pytest.fixture(scope="session")
def _shared_applications() -> Iterator[list[tuple[CoreSettings, _SharedApplication]]]:
    applications: list[tuple[CoreSettings, _SharedApplication]] = []
    yield applications
    for _, shared in applications:
        close(shared.application.registry)


@pytest.fixture
def shares_application() -> bool:
    """Whether tests with the same settings use one application, which takes most of the time of a small test to make.

    For a conftest.py to say so, where the plugins keep nothing in the process but in the shop's cache.
    """
    return False


@pytest.fixture
def application(
    settings: CoreSettings,
    clock: StoppedClock,
    engine: Engine,
    shares_application: bool,
    _session_url: str,
    _shared_applications: list[tuple[CoreSettings, _SharedApplication]],
) -> Iterator[Any]:
    """The WSGI application, on the test's clock. A test with settings of its own has one of its own."""
    usual = make_settings(_session_url)
    # What it keeps in a Redis is emptied behind its back; what it has counted for limits is not.
    keeps_nothing = settings.redis.url is None and settings.limits == usual.limits
    if keeps_nothing and (shares_application or settings == usual):
        shared = next((shared for known, shared in _shared_applications if known == settings), None)
        if shared is None:
            shared = _SharedApplication(make_application(settings, clock=clock))
            _shared_applications.append((settings, shared))
        app = shared.application
    else:
        shared = None
        app = make_application(settings, clock=clock)
    attach(engine, app.registry.bus)
    attach_plugins(engine, app.registry.plugins)
    yield app
    attach(engine, None)
    attach_plugins(engine, None)
    if shared:
        shared.restore()
    else:
        close(app.registry)


@pytest.fixture
def client(application: Any) -> TestApp:
    """A guest."""
    return TestApp(application)


@dataclass(frozen=True, slots=True)
class SignedIn:
    client: TestApp
    user_id: UUID


@pytest.fixture
def sign_in(application: Any, engine: Engine) -> Callable[..., SignedIn]:
    """`sign_in("staff")`: a client that acts as a new user of that role."""
    numbers = itertools.count(1)

    def make(role: str = "customer", **token: Any) -> SignedIn:
        with transaction(engine) as session:
            user = create_user(session, f"{role}{next(numbers)}@example.com", role.title(), role)
            bearer = issue_token(session, user, "test", **token)
            user_id = user.id
        client = TestApp(application)
        client.authorization = ("Bearer", bearer)
        return SignedIn(client, user_id)

    return make


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail as its reader sees it; a code that it holds is `context["token"]`."""

    to: str
    template: str
    context: dict[str, Any]
    letter: Letter


@pytest.fixture
def run_jobs(application: Any) -> Callable[[], int]:
    """`run_jobs()` does what workers would do now, here and at once; how many jobs were run."""
    feeder = Feeder(application.registry)

    def run() -> int:
        feeder.feed(application.registry.clock.now())
        return run_due(application.registry, application.registry.engine)

    return run


@pytest.fixture
def happened(application: Any) -> list[Event]:
    """Every event that is committed from here on, in order, as subscribers of the application's are told."""
    told: list[Event] = []
    for kind in every_kind():
        application.registry.bus.subscribe(kind, told.append)
    return told


@pytest.fixture
def staff(sign_in: Callable[..., SignedIn]) -> TestApp:
    return sign_in("staff").client


@pytest.fixture
def make_variant(engine: Engine, clock: StoppedClock) -> Callable[..., UUID]:
    """`make_variant(stock=10, price_amount=9999)`: the id of a variant for sale, of a product of its own."""
    numbers = itertools.count(1)

    def make(stock: int = 10, price_amount: int = 9_999, status: str = "active", **options: Any) -> UUID:
        number = next(numbers)
        with transaction(engine) as session:
            product = create_product(
                session, slug=f"product-{number}", name=f"Product {number}", now=clock.now(), status=status
            )
            variant = add_variant(session, product, sku=f"SKU-{number}", price_amount=price_amount, **options)
            if stock:
                receive_stock(session, variant.id, stock, now=clock.now(), actor="test", reason="opening stock")
            emit(session, ProductChanged(what="product.create", product_ids=(product.id,)))
            return variant.id

    return make


@pytest.fixture
def product_of(engine: Engine) -> Callable[[UUID], UUID]:
    """The id of a variant's product."""

    def find(variant_id: UUID) -> UUID:
        with Session(engine) as session:
            return session.get_one(Variant, variant_id).product_id

    return find


@pytest.fixture
def mails(engine: Engine, settings: CoreSettings, request: pytest.FixtureRequest) -> Callable[..., list[ReceivedMail]]:
    """`mails()`, `mails(to="ada@example.com")`: what the shop has written, oldest first, delivered or not."""
    with_plugins = bool(settings.commerce.plugins)
    folders = request.getfixturevalue("application").registry.plugins.mail_templates if with_plugins else ()
    templates = Templates(settings.mail, folders)

    def read(to: str | None = None) -> list[ReceivedMail]:
        with Session(engine) as session:
            found = session.scalars(select(Mail).order_by(Mail.id)).all()
            return [
                ReceivedMail(
                    mail.recipient,
                    mail.template,
                    mail.context or {},
                    templates.write(mail.template, mail.context or {}, ""),
                )
                for mail in found
                if to in (None, mail.recipient)
            ]

    return read


@contextmanager
def count_sql(engine: Engine) -> Iterator[list[str]]:
    """Collects the statements sent through `engine` (the application's is `application.registry.engine`)."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def concurrently(functions: list[Callable[[], Result]]) -> list[Result | BaseException]:
    """Call all of them at once, each in its own thread; what each returned or raised, in order."""
    barrier = threading.Barrier(len(functions))
    results: list[Any] = [None] * len(functions)

    def run(index: int, function: Callable[[], Result]) -> None:
        barrier.wait()
        try:
            results[index] = function()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def assert_stock_adds_up(engine: Engine) -> None:
    """`commerce stock verify`, as an assertion."""
    with Session(engine) as session:
        assert verify_stock(session) == []
