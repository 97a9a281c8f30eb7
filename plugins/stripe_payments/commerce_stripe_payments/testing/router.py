"""The endpoints: which function answers which request, and how lists are cut into pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from commerce_stripe_payments.testing.failures import Failure, Thing, wrong
from commerce_stripe_payments.testing.forms import Parameters, integer
from commerce_stripe_payments.testing.world import World


@dataclass
class Call:
    """One request to the API, as its endpoint sees it."""

    world: World
    params: Thing
    version: str
    path: str


Handler = Callable[..., Thing]


class Route(NamedTuple):
    method: str
    pattern: re.Pattern[str]
    params: Parameters
    handler: Handler
    is_public: bool


ROUTES: list[Route] = []


def route(
    method: str, path: str, params: type, *, also: Iterable[str] = (), is_public: bool = False
) -> Callable[[Handler], Handler]:
    """Let a function answer `method path`: it is called with the call and the ids in the path.

    `params` is the SDK's class of the endpoint's parameters: others are refused. `is_public` ones may be called with
    the publishable key and the object's `client_secret`.
    """
    pattern = re.compile(re.sub(r"\{\w+\}", r"([^/]+)", path))

    def add(handler: Handler) -> Handler:
        ROUTES.append(Route(method, pattern, Parameters(params, {*also, "expand"}), handler, is_public))
        return handler

    return add


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """Raises Failure where there is nothing."""
    for candidate in ROUTES:
        match = candidate.pattern.fullmatch(path)
        if match and candidate.method == method:
            return candidate, match.groups()
    raise Failure(f"Unrecognized request URL ({method}: {path}).", status=404, is_kept=False)


def page(call: Call, things: Iterable[Thing], *, newest_first: bool = True) -> Thing:
    """The part of a list that is asked for. `things` come oldest first.

    Takes `limit`, `starting_after`, `ending_before` and `created`.
    """
    params = call.params
    rows = [thing for thing in things if _is_in(thing, params.get("created"))]
    if newest_first:
        rows.reverse()
    limit = integer(params.get("limit", 10), "limit")
    if not 1 <= limit <= 100:
        raise wrong("limit", "Invalid limit: between 1 and 100", "parameter_invalid_integer")
    before = params.get("ending_before")
    if before is not None:
        rows = rows[: _index(rows, before, "ending_before")]
        return _listed(call, rows[-limit:], has_more=len(rows) > limit)
    after = params.get("starting_after")
    if after is not None:
        rows = rows[_index(rows, after, "starting_after") + 1 :]
    return _listed(call, rows[:limit], has_more=len(rows) > limit)


def whole(things: Iterable[Thing], url: str) -> Thing:
    """A list within another object: all of it."""
    rows = list(things)
    return {"object": "list", "data": rows, "has_more": False, "total_count": len(rows), "url": url}


def _listed(call: Call, rows: list[Thing], *, has_more: bool) -> Thing:
    return {"object": "list", "data": rows, "has_more": has_more, "url": call.path}


def _index(rows: list[Thing], id: str, param: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == id:
            return index
    raise Failure(f"No such object: '{id}'", code="resource_missing", param=param, is_kept=False)


def _is_in(thing: Thing, bounds: Any) -> bool:
    if bounds is None:
        return True
    if not isinstance(bounds, dict):
        return bool(thing["created"] == integer(bounds, "created"))
    tests: dict[str, Callable[[int, int], bool]] = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    return all(tests[name](thing["created"], integer(value, "created")) for name, value in bounds.items())
