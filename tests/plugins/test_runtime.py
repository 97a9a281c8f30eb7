"""What a plugin does wrong while the shop serves: the request fails cleanly, and the log says whose it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine
from support.problems import assert_problem
from support.till import Till
from webob import Response
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.plugins.calls import BUDGETS
from commerce_core.stock.service import place_hold
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up

API = "/api/v1"
RUNTIME_HOOKS = ("authenticate", "hold_duration", "validate_cart", "order_placing", "order_transition")
Log = list[Any]
Rows = Callable[[], dict[str, int]]
Ask = Callable[[str], Response]


def misbehaves(hook: str, how: str = "raise") -> pytest.MarkDecorator:
    return pytest.mark.commerce(plugins=["mischief"], settings={"mischief.hook": hook, "mischief.how": how})


def each_hook(how: str, *hooks: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "hook", [pytest.param(hook, marks=misbehaves(hook, how), id=hook) for hook in hooks or RUNTIME_HOOKS]
    )


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)


@pytest.fixture
def ask(client: TestApp, make_variant: Callable[..., UUID], engine: Engine) -> Ask:
    """`ask("order_placing")`: a request in which that hook is called."""
    variant_id = str(make_variant(stock=5))

    def post(path: str, body: Any) -> Response:
        return client.post_json(API + path, body, expect_errors=True)

    def order() -> Response:
        hold = post("/holds", {"variant_id": variant_id, "quantity": 2})
        assert hold.status_code == 201, hold.text
        return post("/orders", {"hold_id": hold.json["id"], "payment": {"provider": "manual"}})

    requests: dict[str, Callable[[], Response]] = {
        "authenticate": lambda: client.get(f"{API}/orders", expect_errors=True),
        "hold_duration": lambda: post("/holds", {"variant_id": variant_id, "quantity": 2}),
        "validate_cart": lambda: post("/cart/lines", {"variant_id": variant_id, "quantity": 2}),
        "order_placing": order,
        # With a payment the order's payment goes from unpaid to pending.
        "order_transition": order,
        "field": order,
    }
    return lambda hook: requests[hook]()


@each_hook("raise", *RUNTIME_HOOKS, "field")
def test_a_hook_that_raises_undoes_everything_and_is_named_in_the_log(
    hook: str,
    ask: Ask,
    rows: Rows,
    engine: Engine,
    logged: Log,
) -> None:
    before = rows()
    response = ask(hook)
    assert_problem(response, 500, "plugin-failed")
    for internal in ("mischief", "secret", "RuntimeError", ".py"):
        assert internal not in response.text
    after = rows()
    if hook in ("order_placing", "order_transition", "field"):  # there was a hold before
        assert (after.pop("hold"), after.pop("stock_movement")) == (
            before.pop("hold") + 1,
            before.pop("stock_movement") + 1,
        )
    assert after == before
    assert_stock_adds_up(engine)
    [line] = [line for line in logged if line["event"] == "plugin failed"]
    assert line["plugin"] == "mischief"
    assert line["hook"] == ("extensions.order.mood" if hook == "field" else f"commerce_{hook}")
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert "a secret of the plugin" in str(line["exc_info"])


@each_hook("nonsense", "authenticate", "hold_duration", "validate_cart")
def test_a_hook_that_returns_nonsense_has_failed(hook: str, ask: Ask, rows: Rows, logged: Log) -> None:
    before = rows()
    assert_problem(ask(hook), 500, "plugin-failed")
    assert rows() == before
    assert [line["plugin"] for line in logged if line["event"] == "plugin failed"] == ["mischief"]


def over_budget(logged: Log, hook: str) -> dict[str, Any]:
    """The first warning of the hook; on a busy machine, others may have been slow, too."""
    return next(
        line for line in logged if line["event"] == "plugin is over its budget" and line["hook"] == f"commerce_{hook}"
    )


@each_hook("slow")
def test_a_slow_hook_is_named_in_a_warning(hook: str, ask: Ask, logged: Log) -> None:
    assert ask(hook).status_code < 300
    warning = over_budget(logged, hook)
    assert (warning["log_level"], warning["plugin"]) == ("warning", "mischief")
    assert warning["milliseconds"] > warning["budget_milliseconds"]


@each_hook("chatty", "authenticate", "validate_cart", "order_placing", "order_transition")
def test_a_hook_that_talks_much_to_the_database_is_named_in_a_warning(
    hook: str, ask: Ask, application: Any, logged: Log
) -> None:
    assert ask(hook).status_code < 300
    warning = over_budget(logged, hook)
    assert warning["plugin"] == "mischief"
    assert warning["statements"] >= 4 > warning["budget_statements"]
    usage = application.registry.plugins.usage()["mischief", f"commerce_{hook}"]
    assert usage.statements >= 4
    assert usage.calls == usage.over_budget >= 1


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other things puts no hook over its budget."""
    for name, budget in BUDGETS.items():
        monkeypatch.setitem(BUDGETS, name, budget._replace(milliseconds=60_000))


@misbehaves("none")
@pytest.mark.usefixtures("patience")
def test_a_hook_within_its_budget_is_not_warned_of(ask: Ask, application: Any, logged: Log) -> None:
    assert ask("order_placing").status_code == 201
    assert [line for line in logged if line["log_level"] in ("warning", "error")] == []
    assert application.registry.plugins.usage()["mischief", "commerce_order_placing"].calls == 1


@each_hook("swallow", "order_placing", "validate_cart")
def test_a_hook_that_swallows_an_error_of_the_database_is_blamed_for_what_follows(
    hook: str,
    ask: Ask,
    engine: Engine,
    logged: Log,
) -> None:
    assert_problem(ask(hook), 500, "plugin-failed")
    [line] = [line for line in logged if line["event"] == "plugin failed"]
    assert "use ctx.savepoint()" in str(line["exc_info"])
    assert_stock_adds_up(engine)


@misbehaves("order_placing", "savepoint")
def test_a_hook_may_try_something_in_a_savepoint(ask: Ask, engine: Engine) -> None:
    assert ask("order_placing").status_code == 201
    assert_stock_adds_up(engine)


@misbehaves("hold_duration")
def test_a_hold_is_not_extended_by_a_hook_that_raises(
    client: TestApp, make_variant: Callable[..., UUID], engine: Engine, clock: StoppedClock
) -> None:
    with transaction(engine) as session:
        hold_id = place_hold(session, make_variant(), 1, ttl=timedelta(minutes=1), now=clock.now())
    before = client.get(f"{API}/holds/{hold_id}").json
    assert_problem(client.post(f"{API}/holds/{hold_id}/extend", expect_errors=True), 500, "plugin-failed")
    assert client.get(f"{API}/holds/{hold_id}").json == before


@misbehaves("order_transition")
def test_a_worker_that_meets_a_hook_that_raises_leaves_things_as_they_were_and_tries_again(
    engine: Engine,
    client: TestApp,
    make_variant: Callable[..., UUID],
    clock: StoppedClock,
    run_jobs: Callable[[], int],
    rows: Rows,
    logged: Log,
) -> None:
    hold = client.post_json(f"{API}/holds", {"variant_id": str(make_variant(stock=5)), "quantity": 2}).json
    order = client.post_json(f"{API}/orders", {"hold_id": hold["id"]}).json
    clock.tick(hours=1)
    run_jobs()
    assert {line["plugin"] for line in logged if line["event"] == "plugin failed"} == {"mischief"}
    assert client.get(f"{API}/orders/{order['id']}").json["status"] == "pending"
    assert_stock_adds_up(engine)


@misbehaves("order_fulfilling")
def test_a_hook_may_keep_an_order_from_being_shipped(
    till: Till, make_variant: Callable[..., UUID], logged: Log
) -> None:
    bought = till.buy({make_variant(stock=2): 2})
    till.fulfil(bought, 1, status=500)
    shown = till.show(bought)
    assert (shown["status"], shown["fulfillment_status"], shown["fulfillments"]) == ("processing", "unfulfilled", [])
    assert [line["hook"] for line in logged if line["event"] == "plugin failed"] == ["commerce_order_fulfilling"]


@pytest.mark.commerce(plugins=["loyalty", "mischief"], settings={"mischief.hook": "principals"})
def test_nothing_is_granted_by_a_hook_that_raises(sign_in: Callable[..., SignedIn], logged: Log) -> None:
    customer = sign_in().client
    response = customer.get(f"{API}/loyalty/rate", headers={"X-Vip": "1"}, expect_errors=True)
    assert_problem(response, 500, "plugin-failed")
    assert [line["hook"] for line in logged if line["event"] == "plugin failed"] == ["commerce_principals"]


@misbehaves("health")
def test_a_critical_check_takes_the_shop_out_of_service_and_any_other_does_not(client: TestApp) -> None:
    answer = client.get("/readyz", expect_errors=True)
    assert assert_problem(answer, 503, "not-ready")["checks"]["mischief.mood"] == "failing"
