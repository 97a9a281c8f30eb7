"""The import of stock: what was counted, or what has come and gone, by SKU."""

# ruff: noqa: S608 (every word of the SQL is ours)
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from commerce_core.api.schemas import INT32_MAX
from commerce_core.events import StockChanged, emit
from commerce_core.imports.cells import CellError, read_text, read_whole
from commerce_core.imports.reading import CsvFile
from commerce_core.imports.reports import Progress, Report
from commerce_core.imports.staging import (
    SELLABLE,
    Check,
    begin_import,
    count_changes,
    count_sellable,
    run_checks,
    stage,
)
from commerce_core.stock.service import serve_backorders

COLUMNS = ("sku", "on_hand", "quantity", "reason")
MOST_TOLD = 100
DEFAULT_REASON = "import"

_STAGED = {"row": "integer", "sku": "text", "on_hand": "integer", "quantity": "integer", "reason": "text"}

_MATCH = """
CREATE TEMP TABLE import_stock ON COMMIT DROP AS
SELECT staged.*, variant.id, variant.deleted_at IS NOT NULL AS is_deleted
FROM import_row AS staged LEFT JOIN variant ON variant.sku = staged.sku"""

_UNMATCHED = (
    Check(
        "sku",
        "duplicate_sku",
        "is in an earlier row, too",
        "SELECT row FROM (SELECT row, min(row) OVER (PARTITION BY sku) AS first FROM import_row) AS placed"
        " WHERE row > first",
    ),
    Check("sku", "unknown_sku", "no variant has this SKU", "SELECT row FROM import_stock WHERE id IS NULL"),
    Check("sku", "deleted", "belongs to a deleted variant", "SELECT row FROM import_stock WHERE is_deleted"),
)

_TARGET = "coalesce(staged.on_hand::bigint, level.on_hand::bigint + staged.quantity)"
_STAGED_LEVELS = "import_stock AS staged JOIN stock_level AS level ON level.variant_id = staged.id"
_IMPOSSIBLE = (
    Check(
        None,
        "stock_conflict",
        "more is reserved than would be on hand",
        f"SELECT row FROM {_STAGED_LEVELS}"
        f" WHERE {_TARGET} < 0 OR (NOT level.allow_backorder AND {_TARGET} < level.reserved)",
    ),
    Check(
        "quantity",
        "too_large",
        f"more than {INT32_MAX} cannot be counted",
        f"SELECT row FROM {_STAGED_LEVELS} WHERE {_TARGET} > {INT32_MAX}",
    ),
)
_SORT = f"""
SELECT CASE WHEN {_TARGET} = level.on_hand THEN 'unchanged' ELSE 'updated' END AS change FROM {_STAGED_LEVELS}"""

_LOCK = f"""
CREATE TEMP TABLE import_level ON COMMIT DROP AS
SELECT level.variant_id, {SELLABLE} AS was_sellable FROM stock_level AS level
WHERE level.variant_id IN (SELECT id FROM import_stock)
ORDER BY level.variant_id FOR UPDATE"""

# Counter and ledger in one statement, as everywhere: what was counted is an `adjust`, what has come is a `receive`.
_MOVE = f"""
WITH wanted AS (
    SELECT level.variant_id, ({_TARGET} - level.on_hand)::integer AS delta, coalesce(staged.reason, :reason) AS reason,
        CASE WHEN staged.on_hand IS NULL AND staged.quantity > 0 THEN 'receive' ELSE 'adjust' END AS kind
    FROM {_STAGED_LEVELS} WHERE {_TARGET} <> level.on_hand
), moved AS (
    UPDATE stock_level AS level SET on_hand = level.on_hand + delta, version = level.version + 1
    FROM wanted WHERE wanted.variant_id = level.variant_id
    RETURNING level.variant_id, level.on_hand, level.reserved, level.version, delta, kind, reason
), recorded AS (
    INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                                actor, reason, created_at)
    SELECT variant_id, version, kind, delta, 0, on_hand, reserved, :actor, reason, :now FROM moved
)
SELECT count(*) FROM moved"""

_WAITED_FOR = """
SELECT DISTINCT variant_id FROM hold
WHERE awaiting_stock AND sold_at IS NULL AND state = 'converted' AND variant_id IN (SELECT variant_id FROM import_level)
ORDER BY variant_id"""

_TOLD = """
SELECT level.variant_id, level.on_hand, level.reserved, level.version
FROM stock_level AS level JOIN import_level USING (variant_id) ORDER BY level.variant_id"""


def import_stock(
    session: Session,
    file: IO[bytes],
    *,
    now: datetime,
    actor: str,
    dry_run: bool,
    most_errors: int = 100,
    progress: Progress = lambda read, rows: None,
) -> Report:
    """Bring stock to what a file says; all of it or, where a row is broken, nothing.

    Once the file is checked, its levels are locked by ascending variant id, until the transaction ends, and checked
    again. Paid backorders are served. The caller rolls back when the report has errors. Raises ImportUnderWay.
    """
    begin_import(session)
    report = Report(most_errors, counts={"levels": Counter()})
    source = CsvFile(file, report, progress)
    if not source.read_header(COLUMNS, (), required=("sku",)):
        return report
    if not {"on_hand", "quantity"} & set(source.header):
        report.add(1, "on_hand", "missing_column", "the file needs this column, or quantity")
        return report
    rows = (_read(dict(zip(source.header, record, strict=True)), row, report) for row, record in source.records())
    stage(session, _STAGED, (row for row in rows if row is not None))
    session.execute(text(_MATCH))
    session.execute(text("ANALYZE import_stock"))
    run_checks(session, _UNMATCHED, report)
    run_checks(session, _IMPOSSIBLE, report)
    count_changes(session, f"({_SORT}) AS sorted", report, "levels")
    if not dry_run and not report.error_count:
        session.execute(text(_LOCK))
        session.execute(text("ANALYZE import_level"))
        run_checks(session, _IMPOSSIBLE, report)  # what has been held meanwhile counts
        if not report.error_count:
            _apply(session, report, now, actor)
    report.finish()
    return report


def _apply(session: Session, report: Report, now: datetime, actor: str) -> None:
    moved = session.scalar(text(_MOVE), {"now": now, "actor": actor, "reason": DEFAULT_REASON}) or 0
    report.counts["levels"] = Counter(updated=moved, unchanged=report.rows - moved)
    for variant_id in session.scalars(text(_WAITED_FOR)).all():
        serve_backorders(session, variant_id, now=now, actor=actor)
    count_sellable(session)
    if moved <= MOST_TOLD:
        for variant_id, on_hand, reserved, version in session.execute(text(_TOLD)).all():
            emit(
                session,
                StockChanged(
                    variant_id=UUID(str(variant_id)), kind="import", on_hand=on_hand, reserved=reserved, version=version
                ),
            )


def _read(record: dict[str, str], row: int, report: Report) -> Sequence[Any] | None:
    """The staged row, or None when something is wrong with it."""
    errors_before = report.error_count

    def cell(name: str, reader: Callable[[str], Any]) -> Any:
        value = record.get(name, "").strip()
        try:
            return reader(value) if value else None
        except CellError as error:
            report.add(row, name, error.code, error.message)
            return None

    sku = cell("sku", read_text)
    on_hand = cell("on_hand", lambda value: read_whole(value, 0, INT32_MAX))
    quantity = cell("quantity", lambda value: read_whole(value, -INT32_MAX, INT32_MAX))
    reason = cell("reason", read_text)
    if report.error_count == errors_before:
        if not sku:
            report.add(row, "sku", "missing", "is needed in every row")
        if (on_hand is None) == (quantity is None):
            report.add(row, None, "one_of_two", "needs either on_hand or quantity")
        if reason and len(reason) > 2_000:
            report.add(row, "reason", "too_long", "must be at most 2000 characters")
    return None if report.error_count > errors_before else (row, sku, on_hand, quantity, reason)
