"""The import of products and variants: upsert by slug and SKU, by a handful of statements."""

# ruff: noqa: S608 (every word of the SQL is ours)
from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import IO
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict
from commerce_core.catalog.models import Brand, Category
from commerce_core.catalog.service import refresh_summaries
from commerce_core.events import ProductChanged, emit
from commerce_core.imports.columns import (
    AMOUNTS,
    ATTRIBUTE,
    COLUMNS,
    STAGED,
    VARIANT_ATTRIBUTE,
    ProductRows,
)
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

# More are not named one by one to those who are told of changes.
MOST_TOLD = 100
_BATCH = 1_000

# Which column of which table a staged column becomes.
_OF_PRODUCT = {
    "name": "name",
    "description": "description",
    "status": "status",
    "category": "category_id",
    "brand": "brand_id",
    "is_featured": "is_featured",
    "popularity": "popularity",
    "tax_class": "tax_class",
    "images": "images",
    "attributes": "attributes",
}
_OF_VARIANT = {
    "variant_name": "name",
    "currency": "currency",
    "price": "price_amount",
    "compare_at": "compare_at_amount",
    "cost": "cost_amount",
    "weight_grams": "weight_grams",
    "variant_attributes": "attributes",
}
_OF_LEVEL = {
    "track_stock": "policy",
    "allow_backorder": "allow_backorder",
    "low_stock_threshold": "low_stock_threshold",
}
# An empty cell empties these; elsewhere it leaves things as they are.
_MAY_BE_EMPTY = {"category", "brand", "compare_at", "cost", "weight_grams"}

CHECKS = (
    Check(
        "sku",
        "duplicate_sku",
        "is in an earlier row, too",
        "SELECT row FROM (SELECT row, min(row) OVER (PARTITION BY sku) AS first FROM import_row WHERE sku IS NOT NULL)"
        " AS placed WHERE row > first",
    ),
    Check(
        None,
        "contradicts_earlier_row",
        "says something else of its product than an earlier row",
        f"""
        SELECT later.row FROM import_row AS later JOIN import_product AS first USING (slug)
        WHERE later.row > first.row AND ({", ".join(f"later.{name}" for name in _OF_PRODUCT)})
            IS DISTINCT FROM ({", ".join(f"first.{name}" for name in _OF_PRODUCT)})""",
    ),
    Check("slug", "deleted", "belongs to a deleted product", "SELECT row FROM import_product WHERE is_deleted"),
    Check(
        "name", "missing", "a new product needs a name", "SELECT row FROM import_product WHERE is_new AND name IS NULL"
    ),
    Check("sku", "deleted", "belongs to a deleted variant", "SELECT row FROM import_variant WHERE is_deleted"),
    Check(
        "sku",
        "sku_taken",
        "belongs to a variant of another product",
        "SELECT row FROM import_variant WHERE NOT is_deleted AND owner_id <> product_id",
    ),
    Check(
        "price",
        "missing",
        "a new variant needs a price and a currency",
        "SELECT row FROM import_variant WHERE is_new AND (price IS NULL OR currency IS NULL)",
    ),
    Check(
        "currency",
        "currency_without_price",
        "a new currency needs a new price",
        "SELECT row FROM import_variant WHERE NOT is_new AND price IS NULL AND currency <> old_currency",
    ),
    Check(
        "is_default",
        "two_defaults",
        "another row is the default of the same product",
        "SELECT row FROM (SELECT row, min(row) OVER (PARTITION BY slug) AS first FROM import_row WHERE is_default)"
        " AS placed WHERE row > first",
    ),
    Check(
        "allow_backorder",
        "stock_conflict",
        "backorders cannot end while more is promised than is on hand",
        "SELECT row FROM import_variant JOIN stock_level AS level ON level.variant_id = import_variant.id"
        " WHERE import_variant.allow_backorder IS FALSE AND level.reserved > level.on_hand",
    ),
)


def import_products(
    session: Session,
    file: IO[bytes],
    *,
    now: datetime,
    dry_run: bool,
    most_errors: int = 100,
    progress: Progress = lambda read, rows: None,
) -> Report:
    """Bring products and variants to what a file says; all of it or, where a row is broken, nothing.

    What is not in the file stays as it is. Once all is checked, the levels whose policy changes are locked by ascending
    variant id, then the products by ascending id, until the transaction ends. The caller rolls back when the report has
    errors. Raises ImportUnderWay, and Conflict when others have changed the same things meanwhile.
    """
    begin_import(session)
    report = Report(most_errors, counts={"products": Counter(), "variants": Counter()})
    source = CsvFile(file, report, progress)
    if not source.read_header(COLUMNS, (ATTRIBUTE, VARIANT_ATTRIBUTE), required=("slug",)):
        return report
    given = set(source.header)
    if given & set(AMOUNTS) and "currency" not in given:
        report.add(1, "currency", "missing_column", "amounts need this column")
        return report
    rows = ProductRows(source.header, _categories(session), _brands(session), report)
    staged = (rows.read(row, record) for row, record in source.records())
    stage(session, STAGED, (row for row in staged if row is not None))
    given |= {"attributes"} if any(name.startswith(ATTRIBUTE) for name in source.header) else set()
    given |= {"variant_attributes"} if any(name.startswith(VARIANT_ATTRIBUTE) for name in source.header) else set()
    _compare(session, given)
    run_checks(session, CHECKS, report)
    report.finish()
    for table, kind in (("import_product", "products"), ("import_variant", "variants")):
        count_changes(session, table, report, kind)
    if not dry_run and not report.error_count:
        try:
            _apply(session, given, now)
        except IntegrityError as error:
            raise Conflict("Somebody else has changed the same things meanwhile. Import again.") from error
    return report


def _new_value(name: str, column: str, table: str) -> str:
    """SQL for what a column becomes, given a staged row `staged` and the row of `table`."""
    if name in ("attributes", "variant_attributes"):
        return f"jsonb_strip_nulls(coalesce({table}.attributes, '{{}}') || staged.{name})"
    if name == "track_stock":
        return f"CASE staged.track_stock WHEN true THEN 'track' WHEN false THEN 'ignore' ELSE {table}.policy END"
    return f"staged.{name}" if name in _MAY_BE_EMPTY else f"coalesce(staged.{name}, {table}.{column})"


def _differs(fields: dict[str, str], given: set[str], table: str) -> str:
    """SQL for whether a row of `table` is to change."""
    found = [
        f"{_new_value(name, column, table)} IS DISTINCT FROM {table}.{column}"
        for name, column in fields.items()
        if name in given
    ]
    return f"({' OR '.join(found)})" if found else "false"


def _assignments(fields: dict[str, str], given: set[str], table: str) -> str:
    return ", ".join(
        f"{column} = {_new_value(name, column, table)}" for name, column in fields.items() if name in given
    )


def _compare(session: Session, given: set[str]) -> None:
    """Make `import_product` and `import_variant`: what the file says of each, and what that changes."""
    session.execute(
        text(f"""
CREATE TEMP TABLE import_product ON COMMIT DROP AS
SELECT staged.*, coalesce(product.id, staged.new_product_id) AS id, product.id IS NULL AS is_new,
    product.deleted_at IS NOT NULL AS is_deleted,
    CASE WHEN product.id IS NULL THEN 'created' WHEN {_differs(_OF_PRODUCT, given, "product")} THEN 'updated'
        ELSE 'unchanged' END AS change
FROM (SELECT DISTINCT ON (slug) * FROM import_row ORDER BY slug, row) AS staged
LEFT JOIN product ON product.slug = staged.slug""")
    )
    session.execute(text("CREATE UNIQUE INDEX ON import_product (slug)"))
    session.execute(
        text(f"""
CREATE TEMP TABLE import_variant ON COMMIT DROP AS
SELECT staged.*, coalesce(variant.id, staged.new_variant_id) AS id, owner.id AS product_id,
    variant.id IS NULL AS is_new, variant.product_id AS owner_id, variant.currency AS old_currency,
    variant.deleted_at IS NOT NULL AS is_deleted,
    staged.is_default IS TRUE AND variant.is_default IS NOT TRUE AS becomes_default,
    variant.id IS NOT NULL AND {_differs(_OF_LEVEL, given, "level")} AS changes_level,
    CASE WHEN variant.id IS NULL THEN 'created'
        WHEN {_differs(_OF_VARIANT, given, "variant")} OR {_differs(_OF_LEVEL, given, "level")}
            OR (staged.is_default IS TRUE AND variant.is_default IS NOT TRUE) THEN 'updated'
        ELSE 'unchanged' END AS change
FROM import_row AS staged JOIN import_product AS owner ON owner.slug = staged.slug
LEFT JOIN variant ON variant.sku = staged.sku
LEFT JOIN stock_level AS level ON level.variant_id = variant.id
WHERE staged.sku IS NOT NULL""")
    )
    session.execute(text("CREATE INDEX ON import_variant (product_id)"))
    session.execute(text("ANALYZE import_product, import_variant"))


def _apply(session: Session, given: set[str], now: datetime) -> None:
    for statement in _statements(given):
        session.execute(text(statement), {"now": now} if ":now" in statement else {})
    count_sellable(session)
    changed = _refresh(session)
    emit(session, ProductChanged(what="products.import", product_ids=tuple(changed)))


_CHANGED_PRODUCTS = """
    SELECT id FROM import_product WHERE change <> 'unchanged'
    UNION SELECT product_id FROM import_variant WHERE change <> 'unchanged'"""


def _statements(given: set[str]) -> list[str]:
    """All that is written, in the order of the locks."""
    level_values = {
        "policy": "CASE staged.track_stock WHEN false THEN 'ignore' ELSE 'track' END",
        "allow_backorder": "coalesce(staged.allow_backorder, false)",
        "low_stock_threshold": "coalesce(staged.low_stock_threshold, 5)",
    }
    variant_changes = _assignments(_OF_VARIANT, given, "variant")
    product_changes = _assignments(_OF_PRODUCT, given, "product")
    level_changes = _assignments(_OF_LEVEL, given, "level")
    statements = [
        f"""
CREATE TEMP TABLE import_level ON COMMIT DROP AS
SELECT level.variant_id, {SELLABLE} AS was_sellable FROM stock_level AS level
WHERE level.variant_id IN (SELECT id FROM import_variant WHERE changes_level)
ORDER BY level.variant_id FOR UPDATE""",
        f"""
SELECT count(*) FROM (
    SELECT FROM product WHERE id IN ({_CHANGED_PRODUCTS}) ORDER BY id FOR NO KEY UPDATE
) AS locked""",
        """
INSERT INTO product (id, slug, name, description, status, category_id, brand_id, is_featured, popularity, tax_class,
                     images, attributes, published_at, created_at, updated_at)
SELECT id, slug, name, coalesce(description, ''), coalesce(status, 'draft'), category, brand,
    coalesce(is_featured, false), coalesce(popularity, 0), coalesce(tax_class, 'standard'), coalesce(images, '[]'),
    jsonb_strip_nulls(coalesce(attributes, '{}')), CASE WHEN status = 'active' THEN CAST(:now AS timestamptz) END,
    :now, :now
FROM import_product WHERE is_new ORDER BY row""",
        """
UPDATE variant SET is_default = false, version = version + 1, updated_at = :now
WHERE is_default AND deleted_at IS NULL
    AND product_id IN (SELECT product_id FROM import_variant WHERE becomes_default)""",
        """
INSERT INTO variant (id, product_id, sku, name, currency, price_amount, compare_at_amount, cost_amount, attributes,
                     weight_grams, position, is_default, created_at, updated_at)
SELECT staged.id, staged.product_id, staged.sku, coalesce(staged.variant_name, product.name), staged.currency,
    staged.price, staged.compare_at, staged.cost, jsonb_strip_nulls(coalesce(staged.variant_attributes, '{}')),
    staged.weight_grams, coalesce((SELECT max(position) FROM variant WHERE product_id = staged.product_id), -1)
        + row_number() OVER (PARTITION BY staged.product_id ORDER BY staged.row),
    staged.becomes_default, :now, :now
FROM import_variant AS staged JOIN product ON product.id = staged.product_id WHERE staged.is_new ORDER BY staged.row""",
        f"""
INSERT INTO stock_level (variant_id, {", ".join(level_values)})
SELECT staged.id, {", ".join(level_values.values())} FROM import_variant AS staged WHERE staged.is_new""",
        "INSERT INTO import_level SELECT id, false FROM import_variant WHERE is_new",
        f"""
UPDATE variant SET {f"{variant_changes}, " if variant_changes else ""}
    is_default = variant.is_default OR staged.becomes_default, version = variant.version + 1, updated_at = :now
FROM import_variant AS staged WHERE staged.id = variant.id AND staged.change = 'updated'""",
        """
UPDATE variant SET is_default = true WHERE id IN (
    SELECT DISTINCT ON (product_id) id FROM variant
    WHERE deleted_at IS NULL AND product_id IN (SELECT product_id FROM import_variant WHERE is_new)
    ORDER BY product_id, is_default DESC, position, id
) AND NOT is_default""",
        "ANALYZE import_level",
    ]
    if level_changes:
        statements.append(f"""
UPDATE stock_level AS level SET {level_changes}
FROM import_variant AS staged WHERE staged.id = level.variant_id AND staged.changes_level""")
    if product_changes:
        published = ", published_at = CASE staged.status WHEN 'active' THEN coalesce(product.published_at, :now) "
        published += "WHEN 'draft' THEN NULL ELSE product.published_at END"
        statements.append(f"""
UPDATE product SET {product_changes}{published if "status" in given else ""},
    version = product.version + 1, updated_at = :now
FROM import_product AS staged WHERE staged.id = product.id AND staged.change = 'updated'""")
    return statements


def _refresh(session: Session) -> list[UUID]:
    """Refresh the summaries of all products that changed; their ids, or none where they are too many to be named."""
    last: UUID | None = None
    named: list[UUID] = []
    number = 0
    query = text(f"""
SELECT id FROM ({_CHANGED_PRODUCTS}) AS changed
WHERE CAST(:last AS uuid) IS NULL OR id > CAST(:last AS uuid) ORDER BY id LIMIT {_BATCH}""")
    while ids := list(session.scalars(query, {"last": last})):
        refresh_summaries(session, ids)
        number += len(ids)
        named = ids if number <= MOST_TOLD else []
        last = ids[-1]
    return named


def _categories(session: Session) -> dict[str, UUID]:
    """The id of every category by its slug, and by its path."""
    found = {
        id_: (slug, parent)
        for id_, slug, parent in session.execute(select(Category.id, Category.slug, Category.parent_id)).all()
    }

    def path(id_: UUID) -> str:
        slug, parent = found[id_]
        return slug if parent is None else f"{path(parent)}/{slug}"

    return {name: id_ for id_, (slug, _) in found.items() for name in (slug, path(id_))}


def _brands(session: Session) -> dict[str, UUID]:
    return {row.slug: row.id for row in session.execute(select(Brand.slug, Brand.id)).all()}
