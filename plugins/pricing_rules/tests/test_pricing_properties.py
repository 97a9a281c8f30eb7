"""What holds whatever rules and baskets there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from commerce_pricing_rules.conditions import bucket_of
from commerce_pricing_rules.ruleset import Rule, RuleSet
from commerce_pricing_rules.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from pricing_cases import ARTICLES, CUSTOMER, WEDNESDAY, item, pricing_of, quote_of, rule_of

from commerce_core.pricing.basket import Basket, Buyer
from commerce_core.pricing.quote import Quote, Stage
from commerce_core.pricing.rounding import percent_of
from commerce_core.pricing.rules import PriceRule
from commerce_core.testing.contract import assert_adds_up

CURRENCIES = ("USD", "JPY", "KWD")
SHOP = pricing_of(shipping_flat="USD 499, JPY 500, KWD 1500", tax_rates="* 19")
quick = settings(max_examples=120, deadline=None)


@st.composite
def amounts(draw: st.DrawFn) -> dict[str, int]:
    return {currency: draw(st.integers(0, 3_000)) for currency in CURRENCIES}


percents = st.integers(1, 10_000).map(lambda hundredths: f"{hundredths // 100}.{hundredths % 100:02}")
tiers = st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).flatmap(
    lambda starts: st.tuples(*(percents.map(lambda p, s=start: {"from": s, "percent": p}) for start in sorted(starts)))
)
modifiers = st.one_of(
    st.tuples(st.just("percentage"), st.fixed_dictionaries({"percent": percents})),
    st.tuples(
        st.just("fixed_amount"),
        st.fixed_dictionaries({"amounts": amounts(), "per": st.sampled_from(["unit", "line"])}),
    ),
    st.tuples(st.just("fixed_price"), st.fixed_dictionaries({"prices": amounts()})),
    st.tuples(st.just("tiered"), st.fixed_dictionaries({"tiers": tiers, "count": st.sampled_from(["line", "scope"])})),
    st.tuples(
        st.just("buy_x_get_y"),
        st.fixed_dictionaries(
            {
                "buy": st.integers(1, 3),
                "get": st.integers(1, 2),
                "free": st.sampled_from(["same", "cheapest"]),
                "percent": percents,
            }
        ),
    ),
    st.tuples(
        st.just("bundle"),
        st.fixed_dictionaries(
            {
                "parts": st.just([{"variants": ["a"], "quantity": 1}, {"variants": ["b", "c"], "quantity": 2}]),
                "prices": amounts(),
            }
        ),
    ),
    st.tuples(st.just("cart_percentage"), st.fixed_dictionaries({"percent": percents})),
    st.tuples(st.just("cart_amount"), st.fixed_dictionaries({"amounts": amounts(), "minimum": amounts()})),
    st.tuples(st.just("free_shipping"), st.just({})),
)
conditions = st.recursive(
    st.one_of(
        st.builds(lambda n: {"type": "quantity", "min": n}, st.integers(1, 4)),
        st.builds(lambda n: {"type": "quantity", "of": "cart", "max": n}, st.integers(1, 20)),
        st.just({"type": "customer_tier", "tiers": ["vip"]}),
        st.just({"type": "brand", "ids": ["otter"]}),
        st.just({"type": "day_of_week", "days": ["wed", "sat"]}),
        st.builds(lambda share: {"type": "ab_bucket", "experiment": "x", "share": share}, st.integers(1, 100)),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda kind, of: {"type": kind, "of": of},
            st.sampled_from(["all", "any"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda of: {"type": "not", "of": of}, inner),
    ),
    max_leaves=4,
)
scopes = st.one_of(
    st.just({}),
    st.builds(lambda name: {"variants": [name]}, st.sampled_from(sorted(ARTICLES))),
    st.just({"categories": ["clothing"]}),
    st.just({"attributes": {"color": ["red"]}}),
)


@st.composite
def rules(draw: st.DrawFn, most: int = 6) -> list[Rule]:
    made = []
    for number in range(draw(st.integers(0, most))):
        type_, modifier = draw(modifiers)
        made.append(
            rule_of(
                f"rule {number}",
                {
                    "type": type_,
                    "modifiers": modifier,
                    "priority": draw(st.integers(0, 3)),
                    "stackable": draw(st.booleans()),
                    "exclusive_group": draw(st.sampled_from([None, None, "one", "two"])),
                    "scope": draw(scopes),
                    "conditions": draw(st.none() | conditions),
                },
            )
        )
    return made


@st.composite
def baskets(draw: st.DrawFn, currency: str | None = None) -> Basket:
    lines = draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(ARTICLES)),
                st.integers(0, 20_000),
                st.integers(1, 12),
                st.none() | st.integers(0, 20_000),
            ),
            min_size=1,
            max_size=5,
        )
    )
    buyer = draw(
        st.sampled_from(
            [Buyer(), Buyer(owner="guest:1"), Buyer(owner=f"user:{CUSTOMER}", user_id=CUSTOMER, tier="vip")]
        )
    )
    return Basket(
        currency=currency or draw(st.sampled_from(CURRENCIES)),
        items=tuple(item(number, *line) for number, line in enumerate(lines, 1)),
        now=WEDNESDAY,
        buyer=buyer,
    )


floors = st.builds(
    lambda margin, most: Settings(minimum_margin=margin, maximum_discount=most),
    st.none() | st.integers(0, 99),
    st.integers(0, 100),
)


def figures(quote: Quote) -> Any:
    """Everything of a quote but its trace, whatever rules there are that took nothing off."""
    return (quote.total, quote.lines, sorted(quote.adjustments, key=repr))


@quick
@given(basket=baskets(), rules=rules(), floors=floors)
def test_the_total_is_the_sum_of_its_parts_and_nothing_is_below_its_floor(
    basket: Basket, rules: list[Rule], floors: Settings
) -> None:
    quote = quote_of(basket, rules, pricing=SHOP, settings=floors)
    assert_adds_up(quote)
    for line in quote.lines:
        at_most = line.subtotal * floors.maximum_discount / 100
        assert line.discount_total <= at_most
        cost = line.item.cost_amount
        if floors.minimum_margin is not None and cost is not None and line.discount_total:
            assert (line.net - cost * line.quantity) * 100 >= line.net * floors.minimum_margin


@quick
@given(basket=baskets(), rules=rules(), data=st.data())
def test_the_order_in_which_rules_come_does_not_matter(basket: Basket, rules: list[Rule], data: st.DataObject) -> None:
    turned = data.draw(st.permutations(rules))
    one, other = (quote_of(basket, each, pricing=SHOP) for each in (rules, turned))
    assert (figures(one), one.trace) == (figures(other), other.trace)


@quick
@given(basket=baskets(), rules=rules())
def test_which_plugin_comes_first_does_not_matter(basket: Basket, rules: list[Rule]) -> None:
    def five_off(quote: Quote) -> None:
        for line in quote.lines:
            quote.discount_line(line.key, percent_of(line.net, 5))

    theirs = PriceRule(code="theirs", source="other", stage=Stage.LINE, apply=five_off, order=50)
    before, after = replace(SHOP, rules=()).with_rule(theirs), SHOP
    for rule in SHOP.rules:
        before = before.with_rule(rule)
    one, other = (quote_of(basket, rules, pricing=pricing) for pricing in (before, after.with_rule(theirs)))
    assert (figures(one), one.trace) == (figures(other), other.trace)
    assert_adds_up(one)


@quick
@given(basket=baskets(), rules=rules(), modifier=modifiers, stackable=st.booleans(), why=st.integers(0, 3))
def test_a_rule_that_does_not_match_changes_nothing_but_the_trace(
    basket: Basket, rules: list[Rule], modifier: Any, stackable: bool, why: int
) -> None:
    type_, given_ = modifier
    excuses: list[dict[str, Any]] = [
        {"conditions": {"type": "day_of_week", "days": ["sun"]}},
        {"scope": {"variants": ["nobody has this"]}},
        {"ends_at": WEDNESDAY.isoformat()},
        {"conditions": {"type": "coupon", "code": "NOT-THERE"}},
    ]
    more = {"type": type_, "modifiers": given_, "priority": 99, "stackable": stackable, **excuses[why]}
    quote = quote_of(basket, rules, pricing=SHOP)
    bystander = rule_of("bystander", more)
    told = quote_of(replace(basket, explain=True), [*rules, bystander], pricing=SHOP)
    assert figures(told) == figures(quote)
    assert [entry["outcome"] for entry in told.trace if entry["code"] == bystander.code] == ["rejected"]


@quick
@given(basket=baskets(), rules=rules(), floors=floors)
def test_the_trace_replays_to_the_price(basket: Basket, rules: list[Rule], floors: Settings) -> None:
    """Nothing but the trace and the quantities is needed to come to the total."""
    quote = quote_of(basket, rules, pricing=SHOP, settings=floors)
    quantities = {str(each.key): each.quantity for each in basket.items}
    paid: dict[str, int] = {}
    rest = 0
    for entry in quote.trace:
        if entry["outcome"] == "rejected":
            continue
        if entry["kind"] == "price":
            paid[entry["key"]] = entry["amount"] * quantities[entry["key"]]
        elif entry["kind"] == "discount" and "key" in entry:
            paid[entry["key"]] += entry["amount"]
        elif entry["kind"] == "discount":
            for line in entry["lines"]:
                paid[line["key"]] += line["amount"]
            assert sum(line["amount"] for line in entry["lines"]) == entry["amount"]
        else:
            rest += entry["amount"]
    assert [paid[str(line.key)] for line in quote.lines] == [line.net for line in quote.lines]
    assert sum(paid.values()) + rest == quote.total


@quick
@given(basket=baskets("USD"), rules=rules())
def test_rules_of_lines_price_each_line_as_if_it_were_alone(basket: Basket, rules: list[Rule]) -> None:
    """So that many items priced at once cost what each of them costs by itself."""
    alone = [
        rule
        for rule in rules
        if rule.level == "line"
        and not any(getattr(part, "of", None) == "cart" for part in _parts(rule))
        and getattr(rule.modifiers, "count", "line") == "line"
    ]
    together = quote_of(basket, alone)
    for line in together.lines:
        [single] = quote_of(replace(basket, items=(line.item,)), alone).lines
        assert single.net == line.net


clocks = st.builds(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}", st.integers(0, 95))
days = st.none() | st.lists(st.sampled_from(["sat", "sun", "mon"]), min_size=1, max_size=3)
timed = st.one_of(
    st.builds(
        lambda start, end, days: {
            "conditions": {"type": "time_range", "from": start, "to": end, **({"days": days} if days else {})}
        },
        clocks,
        clocks,
        days,
    ).filter(lambda given: given["conditions"]["from"] != given["conditions"]["to"]),
    st.builds(
        lambda day, length: {
            "conditions": {"type": "date_range", "from": f"2026-10-{day}", "to": f"2026-10-{day + length}"}
        },
        st.integers(22, 26),
        st.integers(0, 3),
    ),
    st.just({"conditions": {"type": "day_of_week", "days": ["sun"]}}),
    st.just({"starts_at": "2026-10-24T22:30:00Z", "ends_at": "2026-10-25T03:00:00Z"}),
)


@quick
@given(
    timed=st.lists(timed, min_size=1, max_size=3),
    month=st.sampled_from([3, 10]),
    minutes=st.integers(0, 60 * 24 * 2),
    parts=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_between_two_changes_nothing_changes(
    timed: list[dict[str, Any]], month: int, minutes: int, parts: list[float]
) -> None:
    """What lists show is kept until `next_change`: that may come too early, and never too late."""
    rules = [
        rule_of(f"rule {number}", {"type": "percentage", "modifiers": {"percent": 10}, "stackable": True, **each})
        for number, each in enumerate(timed)
    ]
    ruleset = RuleSet(rules, zone=ZoneInfo("Europe/Berlin"))
    # The day before the clock is put forward, or back, and the two days after.
    now = datetime(2026, month, {3: 28, 10: 24}[month], 6, tzinfo=UTC) + timedelta(minutes=minutes)
    until = ruleset.next_change(now)
    length = timedelta(days=7) if until is None else until - now - timedelta(seconds=1)
    assert length >= timedelta(0)
    basket = Basket(currency="USD", items=(item(1, "a", 1_000, 3),), now=now)
    prices = {
        quote_of(replace(basket, now=now + length * part), rules, zone="Europe/Berlin").total for part in (0, *parts, 1)
    }
    assert len(prices) == 1


def _parts(rule: Rule) -> Any:
    return rule.condition.within() if rule.condition is not None else ()


def test_buckets_are_stable_and_as_large_as_they_say() -> None:
    owners = [f"guest:{UUID(int=number)}" for number in range(20_000)]
    buckets = [bucket_of("checkout", owner) for owner in owners]
    assert buckets == [bucket_of("checkout", owner) for owner in owners]
    share = sum(bucket is not None and bucket < 2_500 for bucket in buckets) / len(buckets)
    assert 0.235 < share < 0.265
    other = sum(a == b for a, b in zip(buckets, (bucket_of("banner", owner) for owner in owners), strict=True))
    assert other < 20
    assert bucket_of("checkout", None) is None
