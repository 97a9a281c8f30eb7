"""What Stripe answers when it will not do something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Thing = dict[str, Any]
"""An object of the API. What begins with an underscore in it is the fake's own, and never shown."""


class Failure(Exception):
    """An answer that is an error. `extra` is put beside `code` in it, such as the payment intent.

    `is_kept`: whether an idempotency key remembers it. Stripe remembers what happened once it had begun; not that
    the parameters were wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        is_kept: bool = True,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_kept = is_kept
        self.headers = dict(headers or {})
        named = {"code": code, "param": param, **extra}
        self.error: Thing = {
            "type": type,
            "message": message,
            **{key: value for key, value in named.items() if value is not None},
        }


def wrong(param: str, message: str, code: str | None = "parameter_invalid_empty") -> Failure:
    """A parameter that cannot be used."""
    return Failure(message, param=param, code=code, is_kept=False)


def missing(what: str, id: str, *, param: str = "id") -> Failure:
    """An object that is not there. Named in the address it is 404, named in a parameter 400."""
    return Failure(
        f"No such {what}: '{id}'",
        status=404 if param == "id" else 400,
        code="resource_missing",
        param=param,
        is_kept=False,
    )
