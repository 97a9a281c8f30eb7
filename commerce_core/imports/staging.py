"""What imports of all kinds have in common: one at a time, a staging table, and errors that the database finds.

An import is one transaction. The file is copied into a temporary table, checked there as a whole, and applied by a
handful of statements at the end, so that rows of the shop are locked late and shortly, and all or none are changed.
"""

# ruff: noqa: S608 (every word of the SQL is ours)
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from commerce_core.imports.reports import ImportUnderWay, Report

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('commerce.import'))")

SELLABLE = "(level.policy = 'ignore' OR level.allow_backorder OR level.on_hand > level.reserved)"

# `import_level` names the levels that the import changes (all of them locked or new), and whether each could be bought
# before. Products are locked by ascending id and come last, as they do for everybody who moves stock.
_COUNT_SELLABLE = (
    f"""
CREATE TEMP TABLE import_sellable ON COMMIT DROP AS
SELECT variant.product_id AS id, sum({SELLABLE}::int - was_sellable::int) AS change
FROM import_level JOIN stock_level AS level USING (variant_id) JOIN variant ON variant.id = level.variant_id
WHERE variant.deleted_at IS NULL AND {SELLABLE} <> was_sellable
GROUP BY variant.product_id""",
    """
SELECT count(*) FROM (
    SELECT FROM product WHERE id IN (SELECT id FROM import_sellable) ORDER BY id FOR NO KEY UPDATE
) AS locked""",
    """
UPDATE product SET sellable_variants = sellable_variants + change
FROM import_sellable WHERE import_sellable.id = product.id""",
)


class Check(NamedTuple):
    """A rule over the whole file: `broken` selects the rows (`row`) that break it."""

    column: str | None
    code: str
    message: str
    broken: str


def begin_import(session: Session) -> None:
    """Keep other imports out until the transaction ends, and lift its time-outs. Raises ImportUnderWay."""
    if not session.scalar(_TRY_LOCK):
        raise ImportUnderWay()
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    # Counting sellable variants level by level would take minutes; `count_sellable` does it once for each product.
    session.execute(text("SET LOCAL commerce.counts_sellable = off"))


def stage(session: Session, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> None:
    """Copy `rows` into a new temporary table `import_row` with these columns (name: type)."""
    defined = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    session.execute(text(f"CREATE TEMP TABLE import_row ({defined}) ON COMMIT DROP"))
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    with connection.cursor() as cursor, cursor.copy("COPY import_row FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    session.execute(text("ANALYZE import_row"))


def run_checks(session: Session, checks: Iterable[Check], report: Report) -> None:
    """Note what breaks the rules: every row is counted, the first ones are named."""
    for check in checks:
        query = text(f"SELECT row, count(*) OVER () FROM ({check.broken}) AS broken ORDER BY row LIMIT :most")
        found = session.execute(query, {"most": report.most_errors}).all()
        for row, _ in found:
            report.add(row, check.column, check.code, check.message)
        if found:
            report.error_count += found[0][1] - len(found)


def count_changes(session: Session, table: str, report: Report, kind: str) -> None:
    """How many of a kind are created, updated and unchanged, by the column `change` of a staging table."""
    counts = session.execute(text(f"SELECT change, count(*) AS number FROM {table} GROUP BY change")).all()
    report.counts[kind].update({row.change: row.number for row in counts})


def count_sellable(session: Session) -> None:
    """Bring the products' `sellable_variants` up to date with the levels in `import_level`. Locks those products."""
    for statement in _COUNT_SELLABLE:
        session.execute(text(statement))
