"""What imports are asked and answer."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from commerce_core.api.schemas import Output, Query
from commerce_core.imports.reports import Report


class ImportQuery(Query):
    dry_run: bool = Field(
        default=False, description="`true`: check the file and say what would change; change nothing."
    )


class RowErrorOut(Output):
    row: int = Field(description="As a spreadsheet counts: the header is row 1.", examples=[17])
    column: str | None = Field(description="Null where it is about the whole row.", examples=["price"])
    code: str = Field(examples=["not_an_amount"])
    message: str = Field(examples=["must be a number such as 29.99"])


class Changes(Output):
    created: int
    updated: int
    unchanged: int


class ImportReport(Output):
    """What a file has changed or, in a dry run, would change."""

    dry_run: bool
    rows: int = Field(description="Without the header.")
    changes: dict[str, Changes] = Field(
        description="By kind: `products` and `variants`, or `levels` of stock.",
        examples=[{"products": {"created": 3, "updated": 1, "unchanged": 40}}],
    )
    error_count: int = Field(description="All there are. A file with errors is refused unless this is a dry run.")
    errors: list[RowErrorOut] = Field(description="The first of them.")


def present_report(report: Report, *, dry_run: bool) -> dict[str, Any]:
    """An ImportReport."""
    return {
        "dry_run": dry_run,
        "rows": report.rows,
        "changes": {
            kind: {change: counts[change] for change in ("created", "updated", "unchanged")}
            for kind, counts in report.counts.items()
        },
        "error_count": report.error_count,
        "errors": [error.as_json() for error in report.errors],
    }
