"""Dividing and spreading minor units, exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_core.pricing.rounding import Half, divide, percent_of, spread, spread_within

amounts = st.integers(0, 2**63)
weights = st.lists(st.integers(0, 10**15), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("numerator", "denominator", "up", "even"),
    [(1, 2, 1, 0), (3, 2, 2, 2), (5, 2, 3, 2), (5, 4, 1, 1), (7, 4, 2, 2), (0, 7, 0, 0), (10**30 + 1, 2, None, None)],
)
def test_halves_go_up_or_to_the_even_one(numerator: int, denominator: int, up: int | None, even: int | None) -> None:
    if up is None:
        up, even = numerator // 2 + 1, numerator // 2
    assert (divide(numerator, denominator, "up"), divide(numerator, denominator, "even")) == (up, even)


@given(amounts, st.integers(1, 10**9))
def test_division_is_what_fractions_say(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert divide(numerator, denominator, "even") == round(exact)
    assert divide(numerator, denominator, "up") == (exact + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize(
    ("amount", "percent", "half", "result"),
    [(1_000, Decimal("7.25"), "up", 73), (1_000, Decimal("7.25"), "even", 72), (999, 33, "up", 330)],
)
def test_a_percentage_is_exact(amount: int, percent: int | Decimal, half: Half, result: int) -> None:
    assert percent_of(amount, percent, half) == result


def test_a_float_is_no_percentage() -> None:
    with pytest.raises(TypeError, match="not a float"):
        percent_of(1_000, 7.25)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "weights", "shares"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (1, [1, 5, 5], [0, 1, 0]),
        (10, [0, 3, 7], [0, 3, 7]),
        (0, [0, 0], [0, 0]),
        (5, [2, 3, 5, 10], [1, 1, 1, 2]),
    ],
)
def test_the_last_units_go_to_the_largest_remainders(amount: int, weights: list[int], shares: list[int]) -> None:
    assert spread(amount, weights) == shares


@given(amounts, weights)
def test_shares_add_up_and_are_near_their_exact_values(amount: int, weights: list[int]) -> None:
    if not any(weights):
        return
    shares = spread(amount, weights)
    assert sum(shares) == amount
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(amount * weight, sum(weights))) < 1


def test_nothing_can_be_spread_over_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to spread"):
        spread(1, [0, 0])


@given(amounts, st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_no_share_is_larger_than_its_room(amount: int, pairs: list[tuple[int, int]]) -> None:
    weights, room = [weight for weight, _ in pairs], [space for _, space in pairs]
    shares = spread_within(amount, weights, room)
    assert all(0 <= share <= space for share, space in zip(shares, room, strict=True))
    assert sum(shares) == min(amount, sum(room))


def test_what_does_not_fit_goes_where_there_is_room() -> None:
    assert spread_within(10, [1, 1], [2, 100]) == [2, 8]
    assert spread_within(10, [5, 0], [2, 100]) == [2, 8]
