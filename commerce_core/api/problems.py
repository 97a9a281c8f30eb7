"""Problems: what can go wrong with a request, as RFC 9457 describes it.

A service raises one; the exception view renders it. Each kind is a class, so that a reader finds its status, its
title and its explanation in one place, and so does the page at its `type` address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

_MEMBERS = {"type", "title", "status", "detail", "instance"}


class Problem(Exception):
    """It is our fault, and in our log. Tell us the `instance`, which names the request there."""

    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"
    status: ClassVar[int] = 500
    # The members of its own that a kind adds, each with an example: for the reference.
    example: ClassVar[dict[str, Any]] = {}

    def __init__(self, detail: str | None = None, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        """`extra` members are added to the body as they are."""
        assert not extra.keys() & _MEMBERS, f"{extra} would replace members that every problem has"
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = headers or {}
        self.extra = extra

    @property
    def type(self) -> str:
        return f"/problems/{self.slug}"

    def body(self, instance: str) -> dict[str, Any]:
        """The problem document; `instance` is the request that met it."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.extra,
        }

    def members(self) -> dict[str, Any]:
        """What it says within another problem."""
        return {"type": self.type, "title": self.title, "status": self.status, "detail": self.detail, **self.extra}


# More are of no use to anybody, and an answer should not be larger than its question.
MOST_ERRORS = 100


class InvalidInput(Problem):
    """The request was understood, but fields in it are wrong. `errors` lists them all (the first hundred)."""

    slug = "invalid-input"
    title = "The input is not valid"
    status = 422
    example: ClassVar[dict[str, Any]] = {
        "detail": "Please correct: quantity.",
        "errors": [
            {
                "field": "quantity",
                "code": "greater_than_equal",
                "message": "Input should be greater than or equal to 1",
            }
        ],
    }

    def __init__(self, errors: list[dict[str, str]]) -> None:
        named = list(dict.fromkeys(error["field"][:100] for error in errors))
        more = ", ..." if len(named) > 20 else ""
        super().__init__(f"Please correct: {', '.join(named[:20])}{more}.", errors=errors[:MOST_ERRORS])

    @classmethod
    def field(cls, field: str, code: str, message: str) -> InvalidInput:
        """One field at fault."""
        return cls([{"field": field, "code": code, "message": message}])


class MalformedRequest(Problem):
    """The request cannot be read at all: broken JSON, wrong encoding, a body that ends too early."""

    slug = "malformed-request"
    title = "The request cannot be read"
    status = 400


class Unauthorized(Problem):
    """A token is needed, or the one sent is unknown, expired or revoked."""

    slug = "unauthorized"
    title = "You need to sign in"
    status = 401

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The token is good, but does not allow this."""

    slug = "forbidden"
    title = "You may not do this"
    status = 403


class NotFound(Problem):
    """There is nothing at this address, or nothing that you may see."""

    slug = "not-found"
    title = "Not found"
    status = 404


class MethodNotAllowed(Problem):
    """The address exists, but not for this method; the Allow header lists those it has."""

    slug = "method-not-allowed"
    title = "This address does not take that method"
    status = 405


class Conflict(Problem):
    """The request is fine, but the thing it is about is in a state that does not allow it."""

    slug = "conflict"
    title = "The current state does not allow this"
    status = 409


class BodyTooLarge(Problem):
    """The body is larger than this shop takes."""

    slug = "body-too-large"
    title = "The body is too large"
    status = 413


class UnsupportedMediaType(Problem):
    """The body must be what `detail` names, mostly JSON, and say so: `Content-Type: application/json`."""

    slug = "unsupported-media-type"
    title = "The body is of another kind than asked for"
    status = 415


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used before with another request."""

    slug = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"
    status = 422


class IdempotencyKeyInUse(Problem):
    """A request with the same Idempotency-Key is being worked on right now. Try again in a moment."""

    slug = "idempotency-key-in-use"
    title = "A request with this idempotency key is under way"
    status = 409


class TooManyRequests(Problem):
    """Too many requests of this kind have come from you, or about this account. Try again after Retry-After seconds."""

    slug = "too-many-requests"
    title = "Too many requests"
    status = 429

    def __init__(self, retry_after: int) -> None:
        """`retry_after` in seconds."""
        seconds = "1 second" if retry_after == 1 else f"{retry_after} seconds"
        super().__init__(f"Try again in {seconds}.", headers={"Retry-After": str(retry_after)})


class Unavailable(Problem):
    """The shop cannot answer just now, because its database is away or too busy. Nothing was done; try again."""

    slug = "unavailable"
    title = "Temporarily unavailable"
    status = 503

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


def all_problems(base: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every kind of problem that has been imported, the base included."""
    yield base
    for kind in base.__subclasses__():
        yield from all_problems(kind)
