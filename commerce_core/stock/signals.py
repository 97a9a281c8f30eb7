"""Telling what is low, out and back, without a hold's having to say so.

A worker compares all levels with what was announced last: one pass over a narrow table (75 ms at 300,000 variants),
which needs no index on a counter, no order of commits and no clock. What came and went between two looks is not told.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from commerce_core.events import StockBack, StockLow, StockOut, emit

AT_A_TIME = 500

# Those that look at the same time wait for each other at the rows, and the second finds nothing to write. A level that
# has never moved was never in stock: that it is out is no news.
_ANNOUNCE = text("""
WITH seen AS MATERIALIZED (
    SELECT stock_level.variant_id, on_hand - reserved AS available, low_stock_threshold AS threshold, version,
           now.state, coalesce(signal.state, 'in') AS before
    FROM stock_level
    LEFT JOIN stock_signal AS signal USING (variant_id)
    CROSS JOIN LATERAL (SELECT CASE WHEN policy = 'ignore' THEN 'in'
                                    WHEN on_hand <= reserved THEN 'out'
                                    WHEN on_hand - reserved <= low_stock_threshold THEN 'low'
                                    ELSE 'in' END AS state) AS now
    WHERE now.state <> coalesce(signal.state, 'in') AND version > 0
    LIMIT :limit
), written AS (
    INSERT INTO stock_signal (variant_id, state) SELECT variant_id, state FROM seen ORDER BY variant_id
    ON CONFLICT (variant_id) DO UPDATE SET state = excluded.state WHERE stock_signal.state <> excluded.state
    RETURNING variant_id
)
SELECT seen.*, variant.product_id, variant.sku, variant.deleted_at IS NULL AS is_sold
FROM written JOIN seen USING (variant_id) JOIN variant ON variant.id = variant_id
ORDER BY variant_id
""")


def announce_signals(session: Session) -> int:
    """Emit StockLow, StockOut and StockBack for what has changed since the last time; how many. Locks no level."""
    told = 0
    while True:
        rows = session.execute(_ANNOUNCE, {"limit": AT_A_TIME}).all()
        for row in rows:
            kind = _KINDS.get((row.before, row.state))
            if kind is not None and row.is_sold:
                emit(
                    session,
                    kind(
                        variant_id=row.variant_id,
                        product_id=row.product_id,
                        sku=row.sku,
                        available=row.available,
                        threshold=row.threshold,
                        version=row.version,
                    ),
                )
                told += 1
        if len(rows) < AT_A_TIME:
            return told


# What is worth telling: that there is enough again is not.
_KINDS: dict[tuple[str, str], type[StockLow | StockOut | StockBack]] = {
    ("in", "low"): StockLow,
    ("in", "out"): StockOut,
    ("low", "out"): StockOut,
    ("out", "low"): StockBack,
    ("out", "in"): StockBack,
}
