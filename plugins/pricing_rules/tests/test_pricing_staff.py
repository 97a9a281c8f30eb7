"""What staff can do: rules that are checked, changed, tried out and looked back at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from commerce_pricing_rules import conflicts, quoting
from pricing_shop import ADMIN, API, MakeRule, Shopper, amounts
from webtest import TestApp

from commerce_core.cli.main import main
from commerce_core.testing import StoppedClock

pytestmark = pytest.mark.commerce(plugins=["pricing"])
MakeVariant = Callable[..., UUID]
TEN = {"percent": 10}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"conditions": {"type": "full_moon"}}, "conditions"),
        ({"conditions": {"type": "quantity", "min": "3"}}, "conditions.min"),
        ({"conditions": {"type": "quantity", "min": 3.0}}, "conditions.min"),
        ({"conditions": {"type": "quantity"}}, "conditions"),
        ({"conditions": {"type": "quantity", "min": 3, "sometimes": True}}, "conditions.sometimes"),
        ({"conditions": {"type": "all", "of": []}}, "conditions.of"),
        ({"conditions": {"type": "not", "of": {"type": "day_of_week", "days": ["friday"]}}}, "conditions.of"),
        ({"conditions": {"type": "time_range", "from": "14:00", "to": "25:00"}}, "conditions.to"),
        ({"conditions": {"type": "coupon"}}, "conditions"),
        ({"modifiers": {"percent": 10.5}}, "modifiers.percent"),
        ({"modifiers": {"percent": 101}}, "modifiers.percent"),
        ({"modifiers": {"percentage": 10}}, "modifiers.percentage"),
        ({"type": "fixed_amount"}, "modifiers.amounts"),
        ({"type": "fixed_amount", "modifiers": {"amounts": {"USD": 5.0}}}, "modifiers.amounts.USD"),
        ({"type": "fixed_amount", "modifiers": {"amounts": {"DOLLARS": 5}}}, "modifiers.amounts.DOLLARS"),
        ({"type": "magic"}, "modifiers"),
        ({"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}, "body"),
        ({"scope": {"products": [str(uuid4())]}}, "products"),
        ({"priority": "high"}, "priority"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_not_understood_is_refused_when_it_is_saved(
    make_rule: MakeRule, wrong: dict[str, Any], field: str
) -> None:
    given = {"modifiers": TEN, **wrong}
    problem = make_rule(given.pop("type", "percentage"), given.pop("modifiers"), status=422, **given)
    assert problem["type"] == "/problems/invalid-input"
    assert any(error["field"].startswith(field) for error in problem["errors"]), problem["errors"]


def test_how_many_a_list_may_have_is_documented_as_of_a_list(client: TestApp) -> None:
    schemas = client.get("/api/v1/openapi.json").json["components"]["schemas"]
    days = schemas["DayOfWeek"]["properties"]["days"]
    assert (days["type"], days["minItems"], days["maxItems"]) == ("array", 1, 7)
    lists = [each for each in _within(schemas) if each.get("type") == "array"]
    assert [each for each in lists if {"minLength", "maxLength"} & each.keys()] == []


def _within(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in it."""
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _within(each)


def test_too_many_active_rules_are_refused_when_added_and_when_switched_on(
    staff: TestApp, make_rule: MakeRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commerce_pricing_rules.service.MOST_RULES", 1)
    active = make_rule("percentage", TEN)
    waiting = make_rule("percentage", TEN, active=False)
    assert make_rule("percentage", TEN, status=409)["type"] == "/problems/pricing/too-many-rules"
    match = {"If-Match": '"1"'}
    problem = staff.patch_json(f"{ADMIN}/rules/{waiting['id']}", {"active": True}, headers=match, status=409).json
    assert problem["type"] == "/problems/pricing/too-many-rules"
    staff.patch_json(f"{ADMIN}/rules/{active['id']}", {"name": "Ten"}, headers=match)


def test_a_history_of_what_cannot_be_is_refused(staff: TestApp) -> None:
    problem = staff.get(f"{ADMIN}/history?subject=rule%00", status=422).json
    assert [error["field"] for error in problem["errors"]] == ["subject"]


def test_conditions_that_are_too_deep_are_refused(make_rule: MakeRule) -> None:
    deep: dict[str, Any] = {"type": "first_order"}
    for _ in range(300):
        deep = {"type": "not", "of": deep}
    [error] = make_rule("percentage", TEN, status=422, conditions=deep)["errors"]
    assert error["code"] == "too_deep"


def test_a_rule_is_changed_by_who_has_seen_it_and_every_version_is_kept(staff: TestApp, make_rule: MakeRule) -> None:
    rule = make_rule("percentage", TEN, name="Ten")
    path = f"{ADMIN}/rules/{rule['id']}"
    assert staff.get(path).json == rule
    changed = staff.patch_json(path, {"modifiers": {"percent": "12.5"}}, headers={"If-Match": '"1"'}).json
    assert (changed["modifiers"]["percent"], changed["version"], changed["name"]) == ("12.5", 2, "Ten")
    staff.patch_json(path, {"priority": 1}, headers={"If-Match": '"1"'}, status=412)
    staff.patch_json(path, {"conditions": {"type": "full_moon"}}, headers={"If-Match": '"2"'}, status=422)
    staff.delete(path, headers={"If-Match": '"2"'})
    staff.get(path, status=404)
    assert staff.get(f"{ADMIN}/rules").json["data"] == []
    history = staff.get(f"{ADMIN}/history?subject=rule:{rule['id']}").json["data"]
    told = [
        (change["action"], change["version"], change["after"] and change["after"]["modifiers"]["percent"])
        for change in history
    ]
    assert told == [("delete", 3, None), ("update", 2, "12.5"), ("create", 1, "10")]
    assert history[0]["actor"].startswith("user:")


def test_many_prices_at_once_are_what_each_is_alone(
    client: TestApp, make_rule: MakeRule, make_variant: MakeVariant, product_of: Callable[[UUID], UUID]
) -> None:
    make_rule("percentage", {"percent": "33.3"}, priority=2, stackable=True, conditions={"type": "quantity", "min": 2})
    make_rule("fixed_amount", {"amounts": {"USD": 7}}, priority=1, stackable=True)
    make_rule("cart_percentage", {"percent": 5, "minimum": {"USD": 3_000}}, stackable=True)
    variants = [make_variant(price_amount=price) for price in (999, 1_250, 33)]
    items: list[dict[str, Any]] = [
        {"variant_id": str(variants[number % 3]), "quantity": 1 + number % 5} for number in range(99)
    ]
    items.append({"product_id": str(product_of(variants[0])), "quantity": 2})
    batch = client.post_json(f"{API}/pricing/calculate-batch", {"items": items}).json
    seen: dict[tuple[str, int], Any] = {}
    for item, found in zip(items, batch["items"], strict=True):
        [(name, id_), (_, quantity)] = item.items()
        if (id_, quantity) not in seen:
            single = client.get(f"{API}/pricing/calculate?{name}={id_}&quantity={quantity}").json
            seen[id_, quantity] = single
        assert found == seen[id_, quantity]
    [totals] = batch["totals"]
    assert totals["subtotal"]["amount"] == sum(found["total_base"]["amount"] for found in batch["items"])
    assert totals["total"]["amount"] == sum(found["total_final"]["amount"] for found in batch["items"])
    assert totals["savings"]["amount"] == totals["subtotal"]["amount"] - totals["total"]["amount"] > 0
    client.post_json(f"{API}/pricing/calculate-batch", {"items": items * 2}, status=422)


def test_a_draft_is_tried_on_a_cart_and_on_the_orders_of_the_past(
    application: Any, staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    cheap, dear = make_variant(price_amount=1_000), make_variant(price_amount=10_000)
    for number, variant_id in enumerate((cheap, dear, dear)):
        shopper = Shopper(application, token=f"a-guest-with-number-{number}")
        shopper.put(variant_id, 2)
        shopper.order()
    ten = make_rule("percentage", TEN, name="Ten", stackable=True)
    rule = {
        "name": "Draft",
        "type": "percentage",
        "modifiers": {"percent": 50},
        "active": False,
        "stackable": True,
        "conditions": {"type": "cart_subtotal", "min": {"USD": 15_000}},
    }
    cart = {"items": [{"variant_id": str(dear), "quantity": 2}]}
    found = staff.post_json(f"{ADMIN}/preview", {"rule": rule, "cart": cart, "orders": 10}).json
    before, after = found["cart"]["before"], found["cart"]["after"]
    assert (amounts(before, "total"), amounts(after, "total")) == ([18_000], [9_000])
    assert {each["name"] for each in after["applied_rules"]} == {"Ten", "Draft"}
    orders = found["orders"]
    assert (orders["orders"], orders["changed"]) == (3, 2)
    [totals] = orders["totals"]
    assert amounts(totals, "before", "after") == [1_800 + 2 * 18_000, 1_800 + 2 * 9_000]
    assert amounts(orders["most_changed"][0], "before", "after") == [18_000, 9_000]
    # In place of a rule that there is; and for somebody else, at another time.
    replaced = staff.post_json(f"{ADMIN}/preview", {"rule": rule, "replaces": ten["id"], "cart": cart}).json
    assert amounts(replaced["cart"]["after"], "total") == [10_000]
    vip = {**rule, "conditions": {"type": "all", "of": [{"type": "customer_tier", "tiers": ["vip"]}]}}
    for_vip = {**cart, "tier": "vip"}
    assert amounts(staff.post_json(f"{ADMIN}/preview", {"rule": vip, "cart": for_vip}).json["cart"]["after"], "total")
    assert staff.get(f"{ADMIN}/rules").json["data"] == [ten]
    staff.post_json(f"{ADMIN}/preview", {"rule": {**rule, "type": "magic"}, "cart": cart}, status=422)


def test_the_report_of_conflicts_shows_what_comes_together_and_how_low_it_goes(
    staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant
) -> None:
    variant_id = make_variant(price_amount=10_000)
    forty = make_rule("percentage", {"percent": 40}, name="Forty", stackable=True)
    seventy = make_rule("percentage", {"percent": 70}, name="Seventy", stackable=True)
    make_rule("percentage", {"percent": 80}, name="Alone")
    tier = {"type": "customer_tier", "tiers": ["gold"]}
    gold = make_rule("percentage", {"percent": 1}, name="Gold", stackable=True, conditions=tier)
    vip = {"type": "customer_tier", "tiers": ["vip"]}
    vips = make_rule("percentage", {"percent": 2}, name="VIP", stackable=True, conditions=vip)
    report = staff.get(f"{ADMIN}/conflicts").json
    met = {frozenset(each["name"] for each in pair) for pair in report["pairs"]}
    assert frozenset({"Forty", "Seventy"}) in met
    assert frozenset({"Gold", "VIP"}) not in met
    assert not any("Alone" in pair for pair in met)
    [lowest] = report["lowest_prices"]
    # 100.00 by 0.6, 0.3 and 0.98: nobody is both VIP and gold.
    assert (lowest["variant_id"], lowest["lowest_price"]["amount"]) == (str(variant_id), 1_764)
    assert {each["rule_id"] for each in lowest["rules"]} == {forty["id"], seventy["id"], vips["id"]}
    assert gold["id"]


@pytest.mark.parametrize("limit", ["MOST_VARIANTS", "MOST_STEPS"])
def test_the_report_of_conflicts_comes_to_every_variant_page_by_page(
    staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(conflicts, limit, 2)
    variants = {str(make_variant(price_amount=1_000)) for _ in range(5)}
    make_rule("percentage", TEN)
    seen: list[str] = []
    looked_at, query = [], ""
    while True:
        report = staff.get(f"{ADMIN}/conflicts{query}").json
        assert report["all_pairs"]
        seen += [each["variant_id"] for each in report["lowest_prices"]]
        looked_at.append(report["variants"])
        if report["next"] is None:
            break
        query = f"?after={report['next']}"
    assert (set(seen), len(seen), looked_at) == (variants, 5, [2, 2, 1])


def test_of_too_many_rules_that_stack_the_first_are_compared(
    staff: TestApp, make_rule: MakeRule, make_variant: MakeVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "MOST_STACKABLE", 2)
    make_variant(price_amount=1_000)
    for name in "ABC":
        make_rule("percentage", TEN, name=name, stackable=True)
    report = staff.get(f"{ADMIN}/conflicts").json
    assert [len(report["pairs"]), report["all_pairs"]] == [1, False]
    # The third with each of the two that were compared.
    assert [each["lowest_price"]["amount"] for each in report["lowest_prices"]] == [729]


def test_the_trace_names_so_many_rules_that_do_not_apply_and_counts_the_rest(
    application: Any, make_rule: MakeRule, make_variant: MakeVariant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quoting, "MOST_TOLD", 3)
    for priority in range(5):
        make_rule("percentage", TEN, priority=priority, conditions={"type": "quantity", "min": 9})
    applied = make_rule("percentage", TEN, priority=0)
    shopper = Shopper(application)
    shopper.put(make_variant(price_amount=1_000))

    def told(trace: Any) -> list[int]:
        return [entry["details"]["priority"] for entry in trace if entry.get("reason") == "min-quantity"]

    quote = shopper.quote()
    assert told(quote["trace"]) == [4, 3, 2]
    [rest] = [entry for entry in quote["trace"] if entry.get("reason") == "more-rules"]
    assert rest["details"] == {"rules": 2}
    assert [entry["amount"] for entry in quote["trace"] if entry["code"] == applied["id"]] == [-100]
    assert told(shopper.quote("?explain=true")["trace"]) == [4, 3, 2, 1, 0]


def test_the_demo_and_explain_commands(
    database_url: str, tmp_path: Path, staff: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    make_variant(price_amount=2_000)
    config = tmp_path / "shop.ini"
    config.write_text(
        "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\ncommerce.plugins = pricing\n"
        f"sqlalchemy.url = {database_url}\nlog.level = warning\npricing.timezone = Europe/Berlin\n"
    )

    def run(*arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(main, ["pricing", *arguments], env={"COLUMNS": "200"})
        assert result.exit_code == exit_code, result.output
        return result.output

    added = run("demo", str(config))
    assert added.splitlines() == [
        "Bulk discount",
        "Flash Friday",
        "VIP discount",
        "Happy hour",
        "Buy 2 get 1 (not active)",
    ]
    assert run("demo", str(config)) == "They are there already.\n"
    rules = {rule["name"]: rule for rule in staff.get(f"{ADMIN}/rules").json["data"]}
    assert {name: (rule["priority"], rule["stackable"], rule["active"]) for name, rule in rules.items()} == {
        "Bulk discount": (10, False, True),
        "Flash Friday": (20, False, True),
        "VIP discount": (5, True, True),
        "Happy hour": (15, True, True),
        "Buy 2 get 1": (25, False, False),
    }
    told = run("explain", str(config), "--sku", "SKU-1:3", "--tier", "vip", "--at", "2026-11-25T15:00")
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "LINE Happy hour SKU-1 applied -$15.00" in lines
    assert "LINE Flash Friday no: day-of-week (wanted ['fri'], found wed)" in lines
    assert "total: $40.50" in lines
    assert any(line.startswith("LINE Bulk discount SKU-1 no: not-stackable") for line in lines)
    run("explain", str(config), "--sku", "NONE", exit_code=1)
    run("explain", str(config), "--sku", "SKU-1", "--at", "tomorrow", exit_code=2)
