"""Answers that are the same for everybody: kept in the cache, and by browsers and CDNs for as long as settings say.

An answer that is found in the cache costs no SQL, nor a connection. Who sends a token is checked all the same before
this is called. Staff are always answered afresh, and what they are answered is kept by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel
from pyramid.response import Response

from commerce_core.settings import CacheSettings

# Who says who he is gets an answer that is for him alone, as far as shared caches know.
VARY = "Accept-Language, Authorization"
_LISTS = "lists"


def kept_answer(
    request: Any, function: Callable[..., Any], arguments: list[Any], tags_of: Callable[..., Iterable[str]]
) -> Response:
    """What `function` answers, from the cache if it is there."""

    def build() -> tuple[bytes, Iterable[str], datetime | None]:
        result = function(request, *arguments)
        return render(result), tags_of(result, *arguments), request.right_until

    actor = request.actor
    if actor is not None and actor.role != "customer":
        response = json_response(build()[0], 200)
        response.headers.update({"Cache-Control": "no-store", "Vary": VARY})
        return response
    # A visitor may be told what was right a moment ago. Who has a cart may have changed something himself.
    request.may_be_late = actor is None and "X-Cart-Token" not in request.headers
    entry = request.registry.cache.get_or_build(_key(request, arguments), build)
    response = json_response(entry.body, 200)
    headers = response.headers
    headers["Vary"] = VARY
    headers["ETag"] = f'"{entry.etag}"'
    if actor is None:
        headers["Cache-Control"] = _cache_control(request.settings.cache, entry.seconds_left(request.now))
        tags = sorted(tag for tag in entry.tags if _LISTS not in entry.tags or not tag.startswith("product:"))
        headers["Cache-Tag"] = ",".join(tags)
        headers["Surrogate-Key"] = " ".join(tags)
    else:
        headers["Cache-Control"] = "private, no-cache"
    response.conditional_response = True
    return response


def _key(request: Any, arguments: list[Any]) -> str:
    """What the answer depends on: the address, the query however it is written, and the language."""
    query = [argument.model_dump(mode="json", exclude_unset=True) for argument in arguments]
    return f"{request.locale} {request.path} {orjson.dumps(query, option=orjson.OPT_SORT_KEYS).decode()}"


def _cache_control(settings: CacheSettings, seconds_left: float) -> str:
    """What browsers and CDNs may do with an answer that is right for so many seconds more."""
    if settings.max_age == 0 or seconds_left < 1:
        return "public, max-age=0, must-revalidate"
    max_age, s_maxage = (int(min(age, seconds_left)) for age in (settings.max_age, settings.s_maxage))
    stale = int(min(settings.stale_while_revalidate, seconds_left - max(max_age, s_maxage)))
    return f"public, max-age={max_age}, s-maxage={s_maxage}, stale-while-revalidate={stale}"


def render(result: BaseModel | dict[str, Any]) -> bytes:
    """JSON. What is answered was built by us from trusted data, so it is written without being validated again."""
    if isinstance(result, BaseModel):
        return result.__pydantic_serializer__.to_json(result)
    return orjson.dumps(result, default=_jsonable, option=orjson.OPT_UTC_Z)


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value)} is not JSON")


def json_response(body: bytes, status: int) -> Response:
    return Response(body=body, status=status, content_type="application/json", charset=None)
