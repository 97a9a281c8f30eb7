"""`search.*`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from commerce_core.plugin import Section
from commerce_search.analysis import LANGUAGES


def _numbers(value: object) -> object:
    return [int(part) for part in value.replace(",", " ").split()] if isinstance(value, str) else value


class Settings(Section):
    """How a shop is searched."""

    backend: str = Field(
        default="whoosh", description="`whoosh`, `tantivy`, `postgresql`, `opensearch`, or what another plugin brings."
    )
    path: Path = Field(default=Path("var/search"), description="Folder of the indexes of embedded backends.")
    language: str = Field(default="en", description=f"Of the catalogue: {', '.join(LANGUAGES)}.")
    in_stock_only: bool = Field(default=False, description="Never find what is sold out.")
    on_failure: Literal["refuse", "database"] = Field(
        default="refuse",
        description="When the index does not work: answer 503, or look for names in the database (slow, no facets).",
    )
    deepest: int = Field(default=10_000, ge=100, le=1_000_000, description="No page goes beyond this hit.")
    price_bounds: Annotated[tuple[int, ...], BeforeValidator(_numbers)] = Field(
        default=(2_500, 5_000, 10_000, 20_000, 50_000),
        description="Where the price ranges of the facets begin, in minor units.",
    )
    delay_ms: int = Field(default=100, ge=0, description="How long changes wait for others before they are indexed.")
    remember_days: int = Field(default=90, ge=1, description="How long it is known what was searched for.")
    opensearch_url: str = Field(default="http://127.0.0.1:9200", description="One address, or several with commas.")
    opensearch_index: str = Field(default="commerce-products", pattern=r"^[a-z][a-z0-9_-]{0,60}$")
    opensearch_user: str | None = None
    opensearch_password: SecretStr | None = None
    opensearch_timeout: float = Field(default=2.0, gt=0, description="Seconds; building may take thirty times as long.")

    @field_validator("language")
    @classmethod
    def _is_known(cls, language: str) -> str:
        if language not in LANGUAGES:
            raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
        return language

    @field_validator("price_bounds")
    @classmethod
    def _rises(cls, bounds: tuple[int, ...]) -> tuple[int, ...]:
        if list(bounds) != sorted(set(bounds)) or any(bound <= 0 for bound in bounds) or len(bounds) > 20:
            raise ValueError("must be at most twenty amounts above 0, each higher than the one before")
        return bounds
