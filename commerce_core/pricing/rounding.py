"""Exact arithmetic on minor units: division with a rule for halves, and shares that add up. No float, ever."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal

Half = Literal["even", "up"]


def divide(numerator: int, denominator: int, half: Half = "up") -> int:
    """`numerator / denominator`, neither below zero, as a whole number. Exactly half goes up, or to the even one."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and (half == "up" or quotient % 2)):
        return quotient + 1
    return quotient


def percent_of(amount: int, percent: int | Decimal | Fraction, half: Half = "up") -> int:
    """So many per cent of `amount` minor units. Raises TypeError for a float, which 7.25 might not survive."""
    if isinstance(percent, float):
        raise TypeError("a percentage must be an int, a Decimal or a Fraction, not a float")
    numerator, denominator = percent.as_integer_ratio()
    return divide(amount * numerator, 100 * denominator, half)


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` in shares proportional to `weights`, to the last unit, by largest remainder; of equals the first.

    No share is off its exact value by a whole unit. Weights may not be below zero; nothing goes to a weight of zero.
    Raises ValueError when there is something to spread and all weights are zero.
    """
    whole = sum(weights)
    if whole == 0:
        if amount:
            raise ValueError("there is nothing to spread the amount over")
        return [0] * len(weights)
    shares, rests = [], []
    for weight in weights:
        share, rest = divmod(amount * weight, whole)
        shares.append(share)
        rests.append(rest)
    left = amount - sum(shares)
    for position in sorted(range(len(rests)), key=lambda position: -rests[position])[:left]:
        shares[position] += 1
    return shares


def spread_within(amount: int, weights: Sequence[int], room: Sequence[int]) -> list[int]:
    """Like `spread`, with no share larger than its `room`: what does not fit goes where there is room.

    At most all the room is used, so the shares may add up to less than `amount`.
    """
    shares = [0] * len(weights)
    left = min(amount, sum(room))
    weights = [weight if space else 0 for weight, space in zip(weights, room, strict=True)]
    while left:
        spaces = [space - share for space, share in zip(room, shares, strict=True)]
        open_weights = [weight if space else 0 for weight, space in zip(weights, spaces, strict=True)]
        for position, share in enumerate(spread(left, open_weights if any(open_weights) else spaces)):
            taken = min(share, spaces[position])
            shares[position] += taken
            left -= taken
    return shares
