"""Products and stock as CSV files that can be imported again, and change nothing then.

Read by a server-side cursor, row by row. A file is written before it is sent: the database is not kept waiting by a
slow client, and what fails is an error, not half a file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import orjson
from sqlalchemy import Connection, Engine, text

from commerce_core.imports.cells import write_amount, write_attribute, write_text, write_truth
from commerce_core.imports.columns import ATTRIBUTE, COLUMNS, VARIANT_ATTRIBUTE
from commerce_core.imports.reports import Progress

_EVERY = 1_000
_PIECE = 256 * 1024

_ATTRIBUTE_NAMES = """
SELECT DISTINCT jsonb_object_keys(attributes) COLLATE "C" AS name FROM {table} WHERE deleted_at IS NULL ORDER BY name"""

_PRODUCTS = """
WITH RECURSIVE tree AS (
    SELECT id, slug AS path FROM category WHERE parent_id IS NULL
    UNION ALL
    SELECT category.id, tree.path || '/' || category.slug FROM category JOIN tree ON tree.id = category.parent_id
)
SELECT product.slug, product.name, product.description, product.status, tree.path, brand.slug, product.is_featured,
    product.popularity, product.tax_class, product.images, variant.sku, variant.name, variant.is_default,
    variant.currency, variant.price_amount, variant.compare_at_amount, variant.cost_amount, variant.weight_grams,
    level.policy = 'track', level.allow_backorder, level.low_stock_threshold,
    product.attributes, coalesce(variant.attributes, '{}')
FROM product
LEFT JOIN tree ON tree.id = product.category_id
LEFT JOIN brand ON brand.id = product.brand_id
LEFT JOIN variant ON variant.product_id = product.id AND variant.deleted_at IS NULL
LEFT JOIN stock_level AS level ON level.variant_id = variant.id
WHERE product.deleted_at IS NULL
ORDER BY product.slug, variant.position, variant.id"""

_STOCK = """
SELECT variant.sku, level.on_hand FROM variant
JOIN stock_level AS level ON level.variant_id = variant.id
JOIN product ON product.id = variant.product_id
WHERE variant.deleted_at IS NULL AND product.deleted_at IS NULL
ORDER BY variant.sku"""


def export_products(engine: Engine, file: IO[bytes], progress: Progress = lambda written, rows: None) -> int:
    """Write all products that are not deleted, with their variants; how many rows. Holds one snapshot meanwhile."""
    with _snapshot(engine) as connection:
        of_product, of_variant = (
            connection.scalars(text(_ATTRIBUTE_NAMES.format(table=table))).all() for table in ("product", "variant")
        )
        header = [
            *COLUMNS,
            *(ATTRIBUTE + name for name in of_product),
            *(VARIANT_ATTRIBUTE + name for name in of_variant),
        ]

        def cells(row: Any) -> list[str]:
            *known, own, of_the_variant = row
            return [
                *_known(known),
                *(write_attribute(own[name]) if name in own else "" for name in of_product),
                *(write_attribute(of_the_variant[name]) if name in of_the_variant else "" for name in of_variant),
            ]

        return _write(file, header, (cells(row) for row in _rows(connection, _PRODUCTS)), progress)


def export_stock(engine: Engine, file: IO[bytes], progress: Progress = lambda written, rows: None) -> int:
    """Write what is on hand of every variant that is not deleted; how many rows."""
    with _snapshot(engine) as connection:
        rows = ([write_text(sku), str(on_hand)] for sku, on_hand in _rows(connection, _STOCK))
        return _write(file, ["sku", "on_hand"], rows, progress)


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its beginning, piece by piece; closed at the end."""
    try:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece
    finally:
        file.close()


def _known(row: list[Any]) -> list[str]:
    """The cells of COLUMNS, in that order."""
    slug, name, description, status, path, brand, is_featured, popularity, tax_class, images, *variant = row
    shown = [
        slug,
        write_text(name),
        write_text(description),
        status,
        path or "",
        brand or "",
        write_truth(is_featured),
        str(popularity),
        tax_class,
        orjson.dumps(images).decode() if images else "",
    ]
    sku, variant_name, is_default, currency, price, compare_at, cost, weight, tracked, backorder, threshold = variant
    if sku is None:
        return shown + [""] * len(variant)
    return [
        *shown,
        write_text(sku),
        write_text(variant_name),
        write_truth(is_default),
        currency,
        *("" if amount is None else write_amount(amount, currency) for amount in (price, compare_at, cost)),
        "" if weight is None else str(weight),
        write_truth(tracked),
        write_truth(backorder),
        str(threshold),
    ]


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction that sees one moment, without time-outs."""
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


def _rows(connection: Connection, query: str) -> Iterator[Any]:
    yield from connection.execution_options(stream_results=True, max_row_buffer=_EVERY).execute(text(query))


def _write(file: IO[bytes], header: list[str], rows: Iterator[list[str]], progress: Progress) -> int:
    written = 0
    target = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    try:
        writer = csv.writer(target)
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            written += 1
            if written % _EVERY == 0:
                progress(0, written)
        target.flush()
    finally:
        target.detach()
    progress(0, written)
    return written
