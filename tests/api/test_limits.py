"""Rate limits: who asks too often is told when to come again, and costs next to nothing until then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from limits import parse
from support.problems import assert_problem
from webob import Response
from webtest import TestApp

from commerce_core.api.counters import MOST_KEYS, ProcessWindow
from commerce_core.api.limits import STRATEGIES, Strategy, network_of, rates_of
from commerce_core.api.problems import TooManyRequests
from commerce_core.settings import LimitSettings, SettingsError, parse_settings
from commerce_core.testing import SignedIn, StoppedClock, concurrently, count_sql

BRANDS = "/api/v1/brands"
HOLDS = "/api/v1/holds"
LIMIT_HEADERS = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}


def limited(**rates: str) -> Any:
    """In the process, whose clock is the test's; in Redis: test_limits_in_redis.py."""
    return pytest.mark.commerce(settings={"redis.url": None} | {f"limits.{name}": rate for name, rate in rates.items()})


@pytest.fixture
def ask(send: Callable[..., Response]) -> Callable[..., Response]:
    """`ask("203.0.113.1")`: a cheap request from that address."""

    def ask(address: str | None = "203.0.113.1", path: str = BRANDS, method: str = "GET", **environ: Any) -> Response:
        return send(method, path, REMOTE_ADDR=address, **environ)

    return ask


@limited(default="10/minute")
def test_of_a_thousand_requests_from_one_address_ten_get_through(ask: Callable[..., Response]) -> None:
    statuses = [ask().status_code for _ in range(1_000)]
    assert statuses == [200] * 10 + [429] * 990


@limited(default="3/minute")
def test_an_answer_says_how_many_more_there_may_be(ask: Callable[..., Response]) -> None:
    answers = [ask() for _ in range(5)]
    assert [answer.headers["RateLimit-Limit"] for answer in answers] == ["3"] * 5
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    assert all(1 <= int(answer.headers["RateLimit-Reset"]) <= 60 for answer in answers)
    problem = assert_problem(answers[-1], 429, "too-many-requests")
    assert answers[-1].headers["Retry-After"] == answers[-1].headers["RateLimit-Reset"]
    assert problem["detail"] == f"Try again in {answers[-1].headers['Retry-After']} seconds."


@limited(default="7/minute; 20/hour")
def test_whoever_waits_as_long_as_told_is_let_through(ask: Callable[..., Response], clock: StoppedClock) -> None:
    """And not much earlier than need be: what is let through in three hours is near what is allowed."""
    clock.tick(seconds=3_600 - clock.monotonic() % 3_600)
    let_through, until = 0, clock.monotonic() + 3 * 3_600
    while clock.monotonic() < until:
        answer = ask()
        if answer.status_code == 200:
            let_through += 1
            continue
        clock.tick(seconds=int(answer.headers["Retry-After"]))
        again = ask()
        # The shorter limit may refuse, and then the longer; never the same one twice.
        assert again.status_code == 200 or again.headers["RateLimit-Limit"] != answer.headers["RateLimit-Limit"]
        let_through += again.status_code == 200
    assert 50 <= let_through <= 61


@limited(default="10/minute")
def test_a_window_that_meets_the_next_lets_no_more_through(ask: Callable[..., Response], clock: StoppedClock) -> None:
    clock.tick(seconds=59 - clock.monotonic() % 60)
    assert [ask().status_code for _ in range(10)] == [200] * 10
    clock.tick(seconds=2)
    assert ask().status_code == 200  # a second's worth is out of sight
    assert ask().status_code == 429
    clock.tick(minutes=2)
    assert [ask().status_code for _ in range(11)] == [200] * 10 + [429]


@limited(default="2/minute")
def test_errors_and_refusals_carry_the_headers_too(ask: Callable[..., Response]) -> None:
    invalid = ask(path=f"{BRANDS}?nonsense=1")
    assert invalid.status_code == 422
    assert invalid.headers["RateLimit-Remaining"] == "1"
    unauthorized = ask(path="/api/v1/admin/stock/low")
    assert unauthorized.status_code == 401
    assert unauthorized.headers["RateLimit-Remaining"] == "0"
    assert ask().status_code == 429


@limited(default="1/minute", hold="1/minute")
def test_each_strategy_counts_for_itself(ask: Callable[..., Response]) -> None:
    assert ask().status_code == 200
    assert ask().status_code == 429
    assert ask(path=HOLDS, method="POST").status_code == 400  # no JSON, but let through
    assert ask(path=HOLDS, method="POST").status_code == 429


@limited(default="1/minute")
def test_addresses_count_apart_and_a_network_of_ipv6_together(ask: Callable[..., Response]) -> None:
    assert [ask(f"203.0.113.{n}").status_code for n in range(3)] == [200] * 3
    assert ask("::ffff:203.0.113.1").status_code == 429
    assert [ask(f"2001:db8::{n:x}").status_code for n in range(3)] == [200, 429, 429]
    assert ask("2001:db8:0:1::").status_code == 200
    # A server that knows no address, as on a unix socket: all in one.
    assert [ask(address).status_code for address in ("", None)] == [200, 429]


@limited(default="2/minute")
def test_users_count_for_themselves_wherever_they_are(
    ask: Callable[..., Response], sign_in: Callable[..., SignedIn]
) -> None:
    tokens = [" ".join(sign_in().client.authorization) for _ in range(2)]
    for number in range(2):
        assert ask(f"198.51.100.{number}", HTTP_AUTHORIZATION=tokens[0]).status_code == 200
    assert ask("198.51.100.9", HTTP_AUTHORIZATION=tokens[0]).status_code == 429
    assert ask("198.51.100.1", HTTP_AUTHORIZATION=tokens[1]).status_code == 200
    assert ask("198.51.100.1").status_code == 200


@limited(default="1/minute")
@pytest.mark.parametrize(
    "header", ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_X_CART_TOKEN", "HTTP_X_REQUEST_ID"]
)
def test_nothing_that_a_client_makes_up_helps(ask: Callable[..., Response], header: str) -> None:
    assert ask(**{header: "192.0.2.100.made.up"}).status_code == 200
    for garbage in ("192.0.2.1", "192.0.2.2, 192.0.2.3", "for=192.0.2.4", ",,,", "é" * 500, "\x00", "[::1", "-1"):
        assert ask(**{header: garbage}).status_code == 429


@limited(default="1/minute")
def test_a_refused_request_asks_the_database_nothing(ask: Callable[..., Response], application: Any) -> None:
    ask()
    with count_sql(application.registry.engine) as statements:
        assert ask().status_code == 429
    assert statements == []


@limited(failed_authentication="5/minute")
def test_made_up_tokens_soon_cost_no_look_into_the_database(
    ask: Callable[..., Response], application: Any, sign_in: Callable[..., SignedIn], clock: StoppedClock
) -> None:
    good = " ".join(sign_in().client.authorization)
    with count_sql(application.registry.engine) as statements:
        answers = [ask(HTTP_AUTHORIZATION=f"Bearer cmt_{n}").status_code for n in range(200)]
    assert answers == [401] * 5 + [429] * 195
    assert len(statements) == 6
    assert ask().status_code == 200
    assert ask("203.0.113.2", HTTP_AUTHORIZATION=good).status_code == 200
    refused = ask(HTTP_AUTHORIZATION=good)
    assert_problem(refused, 429, "too-many-requests")
    clock.tick(seconds=int(refused.headers["Retry-After"]))
    assert ask(HTTP_AUTHORIZATION=good).status_code == 200


@limited(failed_authentication="1/minute")
def test_good_tokens_are_no_failures(ask: Callable[..., Response], sign_in: Callable[..., SignedIn]) -> None:
    token = " ".join(sign_in().client.authorization)
    assert [ask(HTTP_AUTHORIZATION=token).status_code for _ in range(20)] == [200] * 20


@pytest.mark.commerce(settings={"limits.default": "1/minute", "limits.exempt": "127.0.0.0/8, ::1, 10.1.0.0/16"})
def test_who_is_exempt_may_ask_as_often_as_they_like(ask: Callable[..., Response]) -> None:
    for address in ("127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"):
        answers = [ask(address) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert not LIMIT_HEADERS & set(answers[0].headers)
    assert [ask("10.2.0.1").status_code for _ in range(2)] == [200, 429]


def test_a_strategy_that_is_off_is_not_even_asked(application: Any) -> None:
    assert all(strategy.is_off for strategy in application.registry.limiter.strategies.values())
    assert rates_of("off") == rates_of("") == []


@limited(default="1/minute")
def test_probes_are_not_counted(ask: Callable[..., Response]) -> None:
    assert [ask(path=path).status_code for path in ("/healthz", "/readyz") * 3] == [200] * 6


def as_request(application: Any, address: str) -> Any:
    """A request from there, as a view gets it."""
    request = application.request_factory.blank("/", environ={"REMOTE_ADDR": address})
    request.registry = application.registry
    return request


@pytest.mark.commerce(settings={"limits.login_account": "10/minute", "limits.exempt": "127.0.0.1"})
def test_a_thousand_addresses_on_one_account_are_stopped(application: Any) -> None:
    """Exempt ones, too: through a front end's own address come all of its visitors."""
    let_through = 0
    for number in range(1_000):
        address = "127.0.0.1" if number % 2 else f"10.0.{number // 250}.{number % 250}"
        limits = as_request(application, address).limits
        try:
            limits.hit("login_account", ("ada@example.com", " Ada@Example.com")[number // 2 % 2])
        except TooManyRequests:
            continue
        let_through += 1
    assert let_through == 10
    as_request(application, "10.0.0.1").limits.hit("login_account", "grace@example.com")


@pytest.mark.commerce(settings={"limits.coupon": "100/minute"})
def test_simultaneous_attempts_are_all_counted(application: Any) -> None:
    request = as_request(application, "203.0.113.1")
    outcomes = concurrently([lambda: request.limits.hit("coupon") for _ in range(150)])
    assert sum(outcome is None for outcome in outcomes) == 100


def test_memory_is_bounded_and_a_flood_washes_no_refusal_away(clock: StoppedClock) -> None:
    window = ProcessWindow(parse("5/hour"), clock)
    for _ in range(5):
        window.hit("victim")
    for number in range(3 * MOST_KEYS):
        window.hit(f"flood {number}")
        assert len(window._counts) <= MOST_KEYS
    assert not window.hit("victim").allowed
    clock.tick(hours=2)
    assert window.hit("victim").allowed
    assert len(window._counts) == 1
    assert not window._counts_before


def test_refusals_are_remembered_in_bounds(clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commerce_core.api.limits.MOST_REFUSALS", 100)
    strategy = Strategy("default", rates_of("1/minute"), clock, None)
    for number in range(250):
        for _ in range(2):
            standing = strategy.hit(f"key {number}")
        assert standing is not None
        assert not standing.allowed
        assert len(strategy._refused) <= 100


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_what_an_address_counts_as(address: str, network: str) -> None:
    assert network_of(address) == network


def test_every_limit_of_an_endpoint_is_a_setting(application: Any) -> None:
    limits = {endpoint.limit for endpoint in application.registry.endpoints}
    assert limits <= STRATEGIES | {None}
    unlimited = {endpoint.route_name for endpoint in application.registry.endpoints if endpoint.limit is None}
    assert unlimited == {"healthz", "readyz"}


@pytest.mark.parametrize("rate", ["ten/minute", "10", "10/fortnight", "10/minute nonsense", "/", "-1/minute"])
def test_a_rate_that_cannot_be_read_stops_the_process(rate: str) -> None:
    with pytest.raises(SettingsError, match=r"limits\.login: .*write it as 10/minute; 50/hour, or off"):
        parse_settings({"sqlalchemy.url": "postgresql://db/shop", "limits.login": rate}, environ={})


def test_the_defaults_can_be_read() -> None:
    for name in STRATEGIES:
        assert rates_of(getattr(LimitSettings(), name)), name


def test_every_limited_operation_is_documented_so(client: TestApp) -> None:
    document = client.get("/api/v1/openapi.json").json
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in ("/healthz", "/readyz"):
                assert "429" not in operation["responses"]
                continue
            assert operation["responses"]["429"] == {"$ref": "#/components/responses/TooManyRequestsProblem"}
            success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            assert set(success["headers"]) >= LIMIT_HEADERS
    assert set(document["components"]["responses"]["TooManyRequestsProblem"]["headers"]) == {
        "Retry-After",
        *LIMIT_HEADERS,
    }


@limited(hold="2/minute")
def test_a_hold_beyond_the_limit_takes_nothing(client: TestApp, make_variant: Any, staff: TestApp) -> None:
    variant_id = make_variant(stock=10)
    for status in (201, 201, 429):
        client.post_json(HOLDS, {"variant_id": str(variant_id), "quantity": 1}, status=status)
    assert staff.get(f"/api/v1/admin/stock/{variant_id}").json["reserved"] == 2
