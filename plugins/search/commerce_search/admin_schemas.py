"""What staff see and say of search."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from commerce_core.api.schemas import Input, Output, Query, ShortText
from commerce_search.analysis import words_of

Days = Annotated[int, Field(ge=1, le=3_650, description="Of the last so many days.")]


class StatisticsQuery(Query):
    days: Days = 30
    limit: int = Field(default=50, ge=1, le=500, description="How many.")


class QueriesQuery(StatisticsQuery):
    empty: bool = Field(default=False, description="`true`: only those that have found nothing, most often first.")


class ClicksQuery(StatisticsQuery):
    query: ShortText = Field(description="Of which query.", examples=["red sneaker"])


class QueryStatistics(Output):
    query: str = Field(examples=["red sneaker"])
    searches: int
    empty: int = Field(description="How often nothing was found.")
    clicks: int
    click_through: float = Field(description="Clicks for each search.", examples=[0.4])


class QueryList(Output):
    """What was searched for, most often first; by whom is not known."""

    data: list[QueryStatistics]


class ClickStatistics(Output):
    product_id: UUID
    name: str
    slug: str
    clicks: int
    mean_position: float = Field(description="Its mean place when it was chosen, counted from 1.")


class ClickList(Output):
    """What was chosen of what a query had found, most often first."""

    data: list[ClickStatistics]


class SynonymIn(Input):
    """Words that mean the same: each of them finds what any of them does."""

    words: list[ShortText] = Field(min_length=1, max_length=30, examples=[["sneaker", "trainer"]])
    source: ShortText | None = Field(
        default=None, description="Only this one finds the others, and not the other way round.", examples=[None]
    )

    @model_validator(mode="after")
    def _has_words(self) -> Self:
        given = [*self.words, *([self.source] if self.source else [])]
        if not all(map(words_of, given)):
            raise ValueError("each needs a letter or a digit")
        if self.source is None and len(self.words) < 2:
            raise ValueError("two words at the least, or one and a source")
        return self


class SynonymOut(Output):
    id: UUID
    words: list[str]
    source: str | None
    created_at: datetime


class SynonymList(Output):
    data: list[SynonymOut]


class RuleIn(Input):
    """For one query: a product that comes at its beginning, or never."""

    query: ShortText = Field(description="However it is written: what counts are its words.", examples=["red sneaker"])
    product_id: UUID = Field(strict=False)
    kind: Literal["pinned", "hidden"]
    position: int | None = Field(
        default=None, ge=1, le=1_000, description="Of pinned ones the lowest comes first; 1 if it is left out."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not words_of(self.query):
            raise ValueError("the query needs a letter or a digit")
        if self.kind == "hidden" and self.position is not None:
            raise ValueError("what is hidden has no position")
        return self


class RuleOut(Output):
    id: UUID
    query: str
    product_id: UUID
    kind: Literal["pinned", "hidden"]
    position: int | None
    created_at: datetime


class RuleList(Output):
    """By query and position."""

    data: list[RuleOut]


class BuildOut(Output):
    name: str
    state: Literal["building", "published", "abandoned"]
    done: int
    total: int
    started_at: datetime
    finished_at: datetime | None


class StatusOut(Output):
    """How the index is."""

    backend: str = Field(examples=["whoosh"])
    working: bool
    error: str | None = Field(description="Why it does not work.")
    documents: int | None
    products: int = Field(description="How many it should have.")
    size: int | None = Field(description="Bytes.")
    waiting: int = Field(description="Changes that are not in it yet.")
    oldest_waiting_at: datetime | None
    build: BuildOut | None = Field(description="The latest one.")


class ReindexIn(Input):
    """Build the index anew, beside the live one."""

    fresh: bool = Field(default=False, description="Begin anew even if a build was interrupted.")
