"""What may be in a cart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from commerce_core.api.problems import Conflict
from commerce_core.plugin import CartFacts

from commerce_${name}.settings import Settings


class TooMany(Conflict):
    """More units of one variant than a cart may have: `most`."""

    slug = "${name}/too-many"
    title = "Too many of one thing"
    example: ClassVar[dict[str, Any]] = {"most": 100}


def check(cart: CartFacts, settings: Settings) -> Iterator[TooMany]:
    """A problem for each line with too many units."""
    for line in cart.lines:
        if line.quantity > settings.most_units:
            yield TooMany(f"At most {settings.most_units} of one thing.", most=settings.most_units)
