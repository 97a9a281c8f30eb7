"""Imports and exports over REST."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import IO, Any

from pyramid.response import Response
from sqlalchemy import Engine

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.imports.exports import export_products, export_stock, pieces_of
from commerce_core.imports.products import import_products
from commerce_core.imports.reports import ImportRefused, ImportUnderWay, Report
from commerce_core.imports.schemas import ImportQuery, ImportReport, present_report
from commerce_core.imports.stock import import_stock

CSV = "text/csv"


@api_view(
    route_name="admin_products_import",
    request_method="POST",
    permission=Permission.CATALOG_WRITE,
    upload=CSV,
    query=ImportQuery,
    returns=ImportReport,
    problems=(ImportRefused, ImportUnderWay),
)
def import_products_file(request: Any, query: ImportQuery) -> Any:
    """Create and change products and variants out of a CSV file: all of it or nothing. `gzip` is welcome."""
    report = import_products(
        request.db,
        request.upload,
        now=request.now,
        dry_run=query.dry_run,
        most_errors=request.settings.imports.max_reported,
    )
    return _answer(request, "products", query, report)


@api_view(
    route_name="admin_stock_import",
    request_method="POST",
    permission=Permission.STOCK_WRITE,
    upload=CSV,
    query=ImportQuery,
    returns=ImportReport,
    problems=(ImportRefused, ImportUnderWay),
)
def import_stock_file(request: Any, query: ImportQuery) -> Any:
    """Set or move stock out of a CSV file: all of it or nothing. `gzip` is welcome."""
    report = import_stock(
        request.db,
        request.upload,
        now=request.now,
        actor=request.actor.name,
        dry_run=query.dry_run,
        most_errors=request.settings.imports.max_reported,
    )
    return _answer(request, "stock", query, report)


@api_view(
    route_name="admin_products_export",
    request_method="GET",
    permission=Permission.CATALOG_READ_ALL,
    produces=CSV,
)
def export_products_file(request: Any) -> Response:
    """All products with their variants, as a CSV file that can be imported again."""
    return _file(request, "products", export_products)


@api_view(
    route_name="admin_stock_export",
    request_method="GET",
    permission=Permission.STOCK_READ,
    produces=CSV,
)
def export_stock_file(request: Any) -> Response:
    """What is on hand of every variant, as a CSV file that can be imported again."""
    return _file(request, "stock", export_stock)


def _answer(request: Any, kind: str, query: ImportQuery, report: Report) -> Any:
    if report.error_count and not query.dry_run:
        raise ImportRefused(report)
    shown = present_report(report, dry_run=query.dry_run)
    request.audit(f"{kind}.import", f"import:{request.id}", after={**shown, "errors": None})
    return shown


def _file(request: Any, name: str, export: Callable[[Engine, IO[bytes]], int]) -> Response:
    file = tempfile.TemporaryFile(prefix="commerce-export-")  # noqa: SIM115 (closed when it has been sent)
    try:
        export(request.registry.engine, file)
        length = file.tell()
    except BaseException:
        file.close()
        raise
    response = Response(content_type=CSV, charset="UTF-8", app_iter=pieces_of(file))
    response.content_length = length
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response
