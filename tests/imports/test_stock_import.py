"""Files of stock over REST: counts and movements, each with its line in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.stock.models import StockLevel, StockMovement
from commerce_core.testing import assert_stock_adds_up, concurrently

from .conftest import ADMIN, Send, as_csv, codes, read_csv

Make = Callable[..., UUID]


def on_hand(engine: Engine, variant_id: UUID) -> int:
    with Session(engine) as session:
        return session.get_one(StockLevel, variant_id).on_hand


def test_counts_and_movements_go_into_the_ledger(
    send: Send, engine: Engine, sign_in: Any, make_variant: Make, application: Any
) -> None:
    counted, come, gone, same = (make_variant(stock=10) for _ in range(4))
    member = sign_in("staff")
    body = as_csv(
        {"sku": "SKU-1", "on_hand": 4, "quantity": "", "reason": "stocktaking"},
        {"sku": "SKU-2", "on_hand": "", "quantity": 5, "reason": ""},
        {"sku": "SKU-3", "on_hand": "", "quantity": -3, "reason": "=theft"},
        {"sku": "SKU-4", "on_hand": 10, "quantity": "", "reason": ""},
    )
    report = member.client.post(f"{ADMIN}/stock/import", body, content_type="text/csv").json
    assert report["changes"] == {"levels": {"created": 0, "updated": 3, "unchanged": 1}}
    assert [on_hand(engine, variant) for variant in (counted, come, gone, same)] == [4, 15, 7, 10]
    with Session(engine) as session:
        lines = session.scalars(select(StockMovement).where(StockMovement.version == 2).order_by("variant_id")).all()
    assert [(line.kind, line.on_hand_delta, line.reason) for line in lines] == [
        ("adjust", -6, "stocktaking"),
        ("receive", 5, "import"),
        ("adjust", -3, "=theft"),
    ]
    assert {line.actor for line in lines} == {f"user:{member.user_id}"}
    assert_stock_adds_up(engine)


def test_a_broken_row_is_named_and_nothing_moves(
    send: Send, client: TestApp, engine: Engine, make_variant: Make
) -> None:
    first, held, _ = (make_variant(stock=10) for _ in range(3))
    client.post_json("/api/v1/holds", {"variant_id": str(held), "quantity": 6}, status=201)
    rows = [
        {"sku": "SKU-1", "on_hand": "1", "quantity": ""},
        {"sku": "SKU-2", "on_hand": "5", "quantity": ""},
        {"sku": "NONE", "on_hand": "1", "quantity": ""},
        {"sku": "SKU-3", "on_hand": "1", "quantity": "1"},
        {"sku": "SKU-3", "on_hand": "", "quantity": ""},
        {"sku": "", "on_hand": "1", "quantity": ""},
        {"sku": "SKU-3", "on_hand": "-1", "quantity": ""},
        {"sku": "SKU-3", "on_hand": "1.0", "quantity": ""},
        {"sku": "SKU-3", "on_hand": "", "quantity": "2147483647"},
        {"sku": "SKU-1", "on_hand": "", "quantity": "-11"},
    ]
    refused = send("stock", as_csv(*rows), status=422)
    assert_problem(refused, 422, "import-refused")
    assert codes(refused) == [
        (3, None, "stock_conflict"),
        (4, "sku", "unknown_sku"),
        (5, None, "one_of_two"),
        (6, None, "one_of_two"),
        (7, "sku", "missing"),
        (8, "on_hand", "out_of_range"),
        (9, "on_hand", "not_a_whole_number"),
        (10, "quantity", "too_large"),
        (11, "sku", "duplicate_sku"),
        (11, None, "stock_conflict"),
    ]
    assert on_hand(engine, first) == 10
    assert codes(send("stock", b"sku\nSKU-1\n", status=422)) == [(1, "on_hand", "missing_column")]
    assert_stock_adds_up(engine)


def test_a_product_is_in_stock_again_after_an_import(
    send: Send, client: TestApp, engine: Engine, make_variant: Make
) -> None:
    for _ in range(3):
        make_variant(stock=0)
    send("stock", b"sku,on_hand\nSKU-2,1\nSKU-3,2\n")
    assert len(client.get("/api/v1/products?in_stock=true").json["data"]) == 2
    send("stock", b"sku,on_hand\nSKU-2,0\nSKU-3,1\n", dry_run=True)
    assert len(client.get("/api/v1/products?in_stock=true").json["data"]) == 2
    send("stock", b"sku,on_hand\nSKU-2,0\nSKU-3,1\n")
    assert len(client.get("/api/v1/products?in_stock=true").json["data"]) == 1
    assert_stock_adds_up(engine)


def test_an_import_never_takes_what_is_held_while_it_runs(
    send: Send, client: TestApp, engine: Engine, make_variant: Make
) -> None:
    variants = [make_variant(stock=10) for _ in range(8)]
    body = as_csv(*({"sku": f"SKU-{number + 1}", "on_hand": 2} for number in range(8)))
    holds = [
        lambda variant=variant: client.post_json(
            "/api/v1/holds", {"variant_id": str(variant), "quantity": 3}, status="*"
        )
        for variant in variants
    ]
    answers = concurrently([*holds, lambda: send("stock", body, status="*")])
    assert {answer.status_code for answer in answers[:-1]} <= {201, 409}
    assert answers[-1].status_code in (200, 422)
    assert_stock_adds_up(engine)


def test_paid_backorders_are_served_by_an_import(
    send: Send, staff: TestApp, client: TestApp, engine: Engine, make_variant: Make, pay: Callable[[str], None]
) -> None:
    variant = make_variant(stock=0, allow_backorder=True)
    hold = client.post_json("/api/v1/holds", {"variant_id": str(variant), "quantity": 3}).json
    order = client.post_json("/api/v1/orders", {"hold_id": hold["id"], "payment": {"provider": "manual"}}).json
    pay(order["id"])
    send("stock", b"sku,quantity\nSKU-1,5\n")
    assert on_hand(engine, variant) == 2
    assert_stock_adds_up(engine)


@pytest.fixture
def pay(client: TestApp) -> Callable[[str], None]:
    """The manual provider says that an order is paid."""
    import json

    from commerce_core.payments.provider import ManualProvider
    from commerce_core.testing import WEBHOOK_SECRET

    def pay(order_id: str) -> None:
        body = json.dumps({"event_id": f"paid-{order_id}", "order_id": order_id, "status": "paid"}).encode()
        signature = "sha256=" + ManualProvider.signature(WEBHOOK_SECRET, body)
        headers = {"X-Webhook-Signature": signature}
        client.post("/api/v1/payments/webhook", body, content_type="application/json", headers=headers)

    return pay


def test_an_export_is_imported_again_without_a_change(send: Send, staff: TestApp, make_variant: Make) -> None:
    for units in (0, 3, 7):
        make_variant(stock=units)
    exported = staff.get(f"{ADMIN}/stock/export").body
    assert read_csv(exported) == [{"sku": f"SKU-{n}", "on_hand": str(units)} for n, units in ((1, 0), (2, 3), (3, 7))]
    assert send("stock", exported).json["changes"]["levels"]["unchanged"] == 3


@pytest.mark.parametrize("kind", ["products", "stock"])
def test_only_staff_may_send_and_fetch_files(client: TestApp, sign_in: Any, kind: str) -> None:
    customer = sign_in("customer").client
    for who, status, slug in ((client, 401, "unauthorized"), (customer, 403, "forbidden")):
        answer = who.post(f"{ADMIN}/{kind}/import", b"sku\n", content_type="text/csv", status="*")
        assert_problem(answer, status, slug)
        assert_problem(who.get(f"{ADMIN}/{kind}/export", status="*"), status, slug)
