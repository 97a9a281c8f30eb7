"""Objects of the SDK as plain data, and what it means when there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import stripe


def plain(found: stripe.StripeObject) -> dict[str, Any]:
    """An object of the SDK's as plain data: it is no dict, and some of its numbers are decimals."""
    data: dict[str, Any] = orjson.loads(orjson.dumps(found.to_dict(for_json=True), default=str))
    return data


def gone_as_none(ask: Callable[[], stripe.StripeObject]) -> dict[str, Any] | None:
    """What Stripe answers, as plain data; None if it says that there is no such object. Other errors are raised."""
    try:
        return plain(ask())
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return None
        raise
