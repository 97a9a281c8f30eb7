"""Bases of what comes in and goes out, and the two shapes of a list."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
T = TypeVar("T")
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}[Tt ]")


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "must not contain the NUL character")
    return value


# Text is stripped, and holds no NUL, which PostgreSQL cannot store. Give it a length: Field(max_length=...).
Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_no_nul)]
ShortText = Annotated[Text, Field(min_length=1, max_length=200)]
LongText = Annotated[Text, Field(min_length=1, max_length=2_000)]


def hint(message: str) -> WrapValidator:
    """Say `message` of a text that has not the field's pattern: few people read patterns."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if error.errors()[0]["type"] != "string_pattern_mismatch":
                raise
            raise PydanticCustomError("string_pattern_mismatch", message) from None

    return WrapValidator(validate)


NO_COUNTRY = "must be two capital letters (ISO 3166-1), such as DE"
NO_EMAIL = "must be an e-mail address, such as ada@example.com"
NO_PHONE = "may hold digits, blanks and + ( ) . / - only"


def _is_written_out(value: Any) -> Any:
    if isinstance(value, str) and not _DATE.match(value):  # pydantic would take a number for seconds since 1970
        raise PydanticCustomError("datetime_parsing", "must be a time such as 2026-11-21T12:30:00Z")
    return value


def _has_a_year(value: datetime) -> datetime:
    if not 1 < value.year < 9999:  # in UTC it might be in none that there is
        raise PydanticCustomError("datetime_out_of_range", "must be a year between 2 and 9998")
    return value


# A time with its offset from UTC, as ISO 8601 writes it.
Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_out), AfterValidator(_has_a_year)]


class Input(BaseModel):
    """A JSON body. Strict: `"1"`, `1.0` and `true` are not the number 1; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters. They arrive as text, so numbers are read from it; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    @property
    def is_kept(self) -> bool:
        """Whether the answer, where an endpoint's answers are kept at all, is kept for others who ask the same."""
        return True


class Output(BaseModel):
    """What an endpoint answers."""


class PageQuery(Query):
    page: int = Field(default=1, ge=1, le=1_000_000, description="Which page, counted from 1.")
    per_page: int = Field(default=24, ge=1, le=100, description="How many on a page.")


class PageMeta(Output):
    page: int
    per_page: int
    total: int = Field(description="How many there are on all pages.")
    last_page: int


class PageLinks(Output):
    first: str = Field(examples=["/api/v1/products?page=1"])
    prev: str | None = Field(examples=[None])
    next: str | None = Field(examples=["/api/v1/products?page=2"])
    last: str = Field(examples=["/api/v1/products?page=3"])


class Page(Output, Generic[T]):
    """A list by page, for people: with a total."""

    data: list[T]
    meta: PageMeta
    links: PageLinks


class CursorQuery(Query):
    limit: int = Field(default=50, ge=1, le=100, description="How many at a time.")
    cursor: Text | None = Field(default=None, max_length=64, description="`meta.next_cursor` of the page before.")

    @field_validator("cursor")
    @classmethod
    def _is_ours(cls, cursor: str | None) -> str | None:
        if cursor is not None:
            decode_cursor(cursor)
        return cursor

    @property
    def after(self) -> UUID | None:
        """The id of the last row of the page before."""
        return None if self.cursor is None else decode_cursor(self.cursor)


class CursorMeta(Output):
    limit: int = Field(examples=[50])
    next_cursor: str | None = Field(description="For the rest of the list; null at its end.", examples=[None])


class CursorLinks(Output):
    next: str | None = Field(description="Where the list goes on; null at its end.", examples=[None])


class CursorList(Output, Generic[T]):
    """A list that grows, by cursor: stable while rows are added."""

    data: list[T]
    meta: CursorMeta
    links: CursorLinks


def page_of(path: str, query: PageQuery, data: Sequence[Any], total: int) -> dict[str, Any]:
    """The members of a Page: `data` is the page itself, `total` counts every match."""
    last = max(1, -(-total // query.per_page))
    given = query.model_dump(exclude_unset=True, exclude={"page"})
    attributes = given.pop("attributes", None) or {}
    fixed = [*given.items(), *((f"attributes[{name}]", value) for name, value in attributes.items())]

    def link(number: int) -> str:
        return f"{path}?{urlencode([*fixed, ('page', number)], doseq=True)}"

    return {
        "data": data,
        "meta": {"page": query.page, "per_page": query.per_page, "total": total, "last_page": last},
        "links": {
            "first": link(1),
            "prev": link(min(query.page - 1, last)) if query.page > 1 else None,
            "next": link(query.page + 1) if query.page < last else None,
            "last": link(last),
        },
    }


def encode_cursor(last_id: UUID) -> str:
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> UUID:
    """The id in a cursor. Raises PydanticCustomError for one that we did not make."""
    try:
        return UUID(bytes=base64.b64decode(cursor.encode("ascii") + b"==", altchars=b"-_", validate=True))
    except ValueError:
        raise PydanticCustomError("invalid_cursor", "is not a cursor of this list") from None


def cursor_list_of(path: str, query: CursorQuery, rows: Sequence[Any], next_id: UUID | None) -> dict[str, Any]:
    """The members of a CursorList: `rows` are shown; `next_id` is the last one's id if more follow."""
    cursor = None if next_id is None else encode_cursor(next_id)
    given = query.model_dump(mode="json", exclude_unset=True, exclude={"cursor"})
    return {
        "data": rows,
        "meta": {"limit": query.limit, "next_cursor": cursor},
        "links": {"next": cursor and f"{path}?{urlencode({**given, 'cursor': cursor})}"},
    }
