"""Files that are sent, and what is answered."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from webtest import TestApp

ADMIN = "/api/v1/admin"
Send = Callable[..., Any]


def as_csv(*rows: Mapping[str, Any], delimiter: str = ",") -> bytes:
    """Rows of the same columns as a file."""
    target = io.StringIO()
    writer = csv.DictWriter(target, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def read_csv(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


def codes(answer: Any) -> Sequence[tuple[int, str | None, str]]:
    """Row, column and code of each error that is named."""
    return [(error["row"], error["column"], error["code"]) for error in answer.json["errors"]]


@pytest.fixture
def send(staff: TestApp) -> Send:
    """`send("products", body, dry_run=True, status=422)`."""

    def post(kind: str, body: bytes, *, dry_run: bool = False, status: Any = 200, **headers: str) -> Any:
        path = f"{ADMIN}/{kind}/import{'?dry_run=true' if dry_run else ''}"
        return staff.post(path, body, content_type="text/csv", headers=headers, status=status)

    return post


@pytest.fixture
def tee() -> Mapping[str, Any]:
    """A row that is enough for a new product with a variant."""
    return {"slug": "tee", "name": "Tee", "status": "active", "sku": "TEE-1", "currency": "USD", "price": "15.00"}
