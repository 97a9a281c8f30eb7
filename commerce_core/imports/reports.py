"""What an import says: how many rows, what would change or has, and what is wrong with which row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from commerce_core.api.problems import Conflict, Problem

# Called while a file is read, with how many bytes and how many rows have been.
Progress = Callable[[int, int], None]


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class ImportUnderWay(Conflict):
    """Another import is running. Wait until it is done; nothing of this one was read."""

    slug = "import-under-way"
    title = "Another import is under way"


class ImportRefused(Problem):
    """Rows of the file are broken, so nothing of it was imported. `errors` names the first of them."""

    slug = "import-refused"
    title = "The file has errors; nothing was imported"
    status = 422
    example: ClassVar[dict[str, Any]] = {
        "detail": "1 error in 2,000 rows; nothing was imported.",
        "rows": 2000,
        "error_count": 1,
        "errors": [
            {"row": 17, "column": "price", "code": "not_an_amount", "message": "must be a number such as 29.99"}
        ],
    }

    def __init__(self, report: Report) -> None:
        errors, rows = counted(report.error_count, "error"), counted(report.rows, "row")
        super().__init__(
            f"{errors} in {rows}; nothing was imported.",
            rows=report.rows,
            error_count=report.error_count,
            errors=[error.as_json() for error in report.errors],
        )
        self.report = report


@dataclass(frozen=True, slots=True)
class RowError:
    """`row` is counted as a spreadsheet counts: the header is row 1. `column` is None where it is about all of it."""

    row: int
    column: str | None
    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row, "column": self.column, "code": self.code, "message": self.message}


@dataclass(slots=True)
class Report:
    """Of one file. `counts` says of each kind of thing how many are created, updated, unchanged."""

    most_errors: int
    rows: int = 0
    error_count: int = 0
    errors: list[RowError] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: int, column: str | None, code: str, message: str) -> None:
        """Note an error; only the first ones are kept, all are counted."""
        self.error_count += 1
        if len(self.errors) < self.most_errors:
            self.errors.append(RowError(row, column, code, message))

    def finish(self) -> None:
        self.errors.sort(key=lambda error: error.row)
