"""Files of products over REST: what they change, what is wrong with them, and all or nothing."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.problems import assert_problem
from webob import Request
from webtest import TestApp

from commerce_core.events import ProductChanged
from commerce_core.testing import assert_stock_adds_up

from .conftest import ADMIN, Send, as_csv, codes, read_csv

Row = Mapping[str, Any]


def snapshot(engine: Engine) -> Any:
    """Every row that an import may touch."""
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all()  # noqa: S608
            for table in ("product", "variant", "stock_level", "stock_movement")
        ]


def test_a_file_makes_products_and_variants(
    send: Send, staff: TestApp, client: TestApp, engine: Engine, tee: Row
) -> None:
    staff.post_json(f"{ADMIN}/brands", {"slug": "acme", "name": "Acme"})
    top = staff.post_json(f"{ADMIN}/categories", {"slug": "clothing", "name": "Clothing"}).json
    staff.post_json(f"{ADMIN}/categories", {"slug": "tees", "name": "Tees", "parent_id": top["id"]})
    common = {
        **tee,
        "description": 'Soft,\r\n"organic"',
        "category": "clothing/tees",
        "brand": "acme",
        "is_featured": "yes",
        "popularity": "7",
        "tax_class": "reduced",
        "images": '[{"url": "/a.png", "alt": "A"}]',
        "attribute:material": "cotton",
        "attribute:care": 'json:["cold", "dark"]',
    }
    answer = send(
        "products",
        as_csv(
            {**common, "variant_attribute:size": "M", "compare_at": "20", "cost": "3.5", "weight_grams": "150"},
            {
                **common,
                "sku": "TEE-2",
                "variant_name": "L",
                "price": "17",
                "track_stock": "false",
                "is_default": "true",
            },
            {"slug": "hose", "name": "Hose"},
        ),
    )
    assert answer.json["changes"] == {
        "products": {"created": 2, "updated": 0, "unchanged": 0},
        "variants": {"created": 2, "updated": 0, "unchanged": 0},
    }
    shown = client.get("/api/v1/products/tee").json
    assert shown["description"] == 'Soft,\r\n"organic"'
    assert shown["category"]["slug"] == "tees"
    assert shown["attributes"] == {"material": "cotton", "care": ["cold", "dark"]}
    assert [(v["sku"], v["name"], v["price"]["amount"], v["is_default"]) for v in shown["variants"]] == [
        ("TEE-1", "Tee", 1_500, False),
        ("TEE-2", "L", 1_700, True),
    ]
    assert (shown["price"]["amount"], shown["variant_count"], shown["is_featured"]) == (1_700, 2, True)
    assert [p["slug"] for p in client.get("/api/v1/products?attributes[size]=M&in_stock=true").json["data"]] == ["tee"]
    kept = staff.get(f"{ADMIN}/products?q=tee").json["data"][0]
    assert (kept["tax_class"], kept["popularity"], kept["images"]) == ("reduced", 7, [{"url": "/a.png", "alt": "A"}])
    assert staff.get(f"{ADMIN}/products?q=hose").json["data"][0]["status"] == "draft"
    assert_stock_adds_up(engine)


def test_only_what_is_in_the_file_changes(send: Send, staff: TestApp, engine: Engine, tee: Row) -> None:
    send(
        "products",
        as_csv({**tee, "cost": "3", "attribute:a": "1", "attribute:b": "2"}, {**tee, "slug": "other", "sku": "O"}),
    )
    before = {product["slug"]: product for product in staff.get(f"{ADMIN}/products").json["data"]}
    answer = send("products", as_csv({"slug": "tee", "attribute:a": "", "attribute:c": "json:3"})).json
    assert answer["changes"]["products"] == {"created": 0, "updated": 1, "unchanged": 0}
    after = {product["slug"]: product for product in staff.get(f"{ADMIN}/products").json["data"]}
    assert after["other"] == before["other"]
    assert after["tee"]["attributes"] == {"b": "2", "c": 3}
    assert after["tee"]["version"] == 2
    send("products", as_csv({"slug": "tee", "sku": "TEE-1", "currency": "USD", "price": "", "cost": ""}))
    variant = staff.get(f"{ADMIN}/products/{after['tee']['id']}/variants").json["data"][0]
    assert (variant["price_amount"], variant["cost_amount"], variant["version"]) == (1_500, None, 2)


def test_the_same_file_again_changes_nothing(send: Send, engine: Engine, tee: Row) -> None:
    body = as_csv({**tee, "attribute:color": "red", "is_default": "true", "allow_backorder": "true"})
    send("products", body)
    before = snapshot(engine)
    again = send("products", body).json["changes"]
    assert again["products"]["unchanged"] == again["variants"]["unchanged"] == 1
    assert snapshot(engine) == before


def test_a_dry_run_says_the_same_and_changes_nothing(send: Send, engine: Engine, tee: Row) -> None:
    send("products", as_csv(tee))
    before = snapshot(engine)
    body = as_csv({**tee, "name": "T-shirt"}, {**tee, "slug": "new", "sku": "NEW-1"})
    foretold = send("products", body, dry_run=True).json
    assert foretold["dry_run"] is True
    assert snapshot(engine) == before
    done = send("products", body).json
    assert foretold["changes"] == done["changes"]
    broken = as_csv({**tee, "price": "cheap"})
    assert send("products", broken, dry_run=True).json["error_count"] == 1
    assert_problem(send("products", broken, status=422), 422, "import-refused")


@pytest.mark.parametrize(
    ("change", "column", "code"),
    [
        ({"slug": ""}, "slug", "missing"),
        ({"slug": "Not A Slug"}, "slug", "not_a_slug"),
        ({"slug": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}, "slug", "not_a_slug"),
        ({"name": ""}, "name", "missing"),
        ({"name": "x" * 201}, "name", "too_long"),
        ({"name": "a\x00b"}, None, "nul_character"),
        ({"status": "sold"}, "status", "not_a_status"),
        ({"category": "nowhere"}, "category", "unknown_category"),
        ({"brand": "nobody"}, "brand", "unknown_brand"),
        ({"tax_class": "A B"}, "tax_class", "not_a_tax_class"),
        ({"images": "nonsense"}, "images", "not_images"),
        ({"images": '[{"url": "javascript:x"}]'}, "images", "not_images"),
        ({"sku": "a\tb"}, "sku", "not_printable"),
        ({"currency": "US$"}, "currency", "unknown_currency"),
        ({"currency": ""}, "price", "currency_missing"),
        ({"price": ""}, "price", "missing"),
        ({"price": "15,00"}, "price", "not_an_amount"),
        ({"price": "1e3"}, "price", "not_an_amount"),
        ({"price": "-1"}, "price", "not_an_amount"),
        ({"price": "٣"}, "price", "not_an_amount"),
        ({"price": "1.005"}, "price", "too_many_decimals"),
        ({"currency": "JPY", "price": "1.5"}, "price", "too_many_decimals"),
        ({"price": "9999999999999"}, "price", "too_large"),
        ({"weight_grams": "1.5"}, "weight_grams", "not_a_whole_number"),
        ({"weight_grams": "-1"}, "weight_grams", "out_of_range"),
        ({"is_default": "maybe"}, "is_default", "not_a_truth"),
        ({"attribute:color": "json:{}"}, "attribute:color", "not_an_attribute"),
        ({"attribute:color": "json:null"}, "attribute:color", "not_an_attribute"),
        ({"attribute:color": "json:[1]"}, "attribute:color", "not_an_attribute"),
        ({"attribute:color": "json:[[[["}, "attribute:color", "not_json"),
        ({"attribute:color": r'json:"a\u0000b"'}, "attribute:color", "nul_character"),
        ({"variant_attribute:size": r'json:["\u0000"]'}, "variant_attribute:size", "nul_character"),
        ({"variant_attribute:size": "x" * 501}, "variant_attribute:size", "too_long"),
    ],
)
def test_a_broken_row_in_the_middle_is_named_and_nothing_is_done(
    send: Send, engine: Engine, tee: Row, change: Row, column: str | None, code: str
) -> None:
    row = {**tee, **dict.fromkeys(change, ""), **tee}
    rows = [{**row, "slug": f"tee-{n}", "sku": f"TEE-{n}"} for n in range(5)]
    rows[2] = {**rows[2], **change}
    before = snapshot(engine)
    refused = send("products", as_csv(*rows), status=422)
    assert_problem(refused, 422, "import-refused")
    assert (4, column, code) in codes(refused)
    assert refused.json["rows"] == 5
    assert snapshot(engine) == before


def test_rows_are_held_against_each_other_and_the_shop(
    send: Send, staff: TestApp, engine: Engine, tee: Row, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    send("products", as_csv(tee, {**tee, "slug": "gone", "sku": "GONE"}))
    gone = staff.get(f"{ADMIN}/products?q=gone").json["data"][0]
    staff.delete(f"{ADMIN}/products/{gone['id']}", headers={"If-Match": "*"})
    refused = send(
        "products",
        as_csv(
            {**tee, "slug": "a", "sku": "A", "is_default": "true"},
            {**tee, "slug": "a", "sku": "A", "is_default": ""},
            {**tee, "slug": "a", "sku": "B", "name": "Other", "is_default": ""},
            {**tee, "slug": "a", "sku": "C", "is_default": "true"},
            {**tee, "slug": "gone", "sku": "D", "is_default": ""},
            {**tee, "slug": "e", "sku": "SKU-1", "is_default": ""},
            {**tee, "currency": "EUR", "price": "", "is_default": ""},
        ),
        status=422,
    )
    assert codes(refused) == [
        (3, "sku", "duplicate_sku"),
        (4, None, "contradicts_earlier_row"),
        (5, "is_default", "two_defaults"),
        (6, "slug", "deleted"),
        (7, "sku", "sku_taken"),
        (8, "currency", "currency_without_price"),
    ]


def test_columns_that_are_wrong_are_named_with_what_was_meant(send: Send, tee: Row) -> None:
    refused = send("products", as_csv({"slug": "a", "Nmae": "A", "prize": "1"}), status=422)
    assert [error["message"] for error in refused.json["errors"]] == [
        "is not a column; did you mean name?",
        "is not a column; did you mean price?",
    ]
    assert codes(send("products", b"name\r\nTee\r\n", status=422)) == [(1, "slug", "missing_column")]
    assert codes(send("products", b"slug,slug\r\na,b\r\n", status=422)) == [(1, "slug", "duplicate_column")]
    assert codes(send("products", b"slug,price\r\na,1\r\n", status=422)) == [(1, "currency", "missing_column")]
    assert codes(send("products", b"slug,attribute:\r\na,1\r\n", status=422)) == [(1, "attribute:", "invalid_column")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_files_of_spreadsheets_are_understood(send: Send, tee: Row, delimiter: str, mark: bytes) -> None:
    body = mark + as_csv({**tee, "description": 'a,b;c\td\n"e"'}, delimiter=delimiter)
    assert send("products", body).json["changes"]["variants"]["created"] == 1


def test_what_cannot_be_read_is_an_error_of_its_row(send: Send) -> None:
    rows = [b"slug,name", b"a,A", b"b,\xff", b"c,C,C", b'd,"D"D', b"e,E", b""]
    refused = send("products", b"\r\n".join(rows), status=422)
    assert codes(refused) == [(3, None, "not_utf8"), (4, None, "wrong_length"), (5, None, "not_csv")]
    assert codes(send("products", "slug,name\na,A".encode("utf-16"), status=422))[0] == (1, None, "not_utf8")
    assert codes(send("products", b"slug,name\na," + b"x" * 300_000, status=422)) == [(2, None, "line_too_long")]
    assert codes(send("products", b'slug,name\na,"' + b"x\n" * 100_000, status=422))[0] == (2, None, "not_csv")
    assert codes(send("products", b"", status=422)) == [(1, "slug", "missing_column")]
    assert send("products", b"slug,name\r\n\r\n,\r\n").json["rows"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_rubbish_is_refused_and_never_an_error_of_ours(send: Send, seed: int, engine: Engine) -> None:
    import random

    chance = random.Random(seed)
    alphabet = b'slug,name,sku;"\r\n\t\x00\xff=-{}[]:json attribute'
    for kind, header in (("products", b"slug,name,attribute:x,images\n"), ("stock", b"sku,on_hand,quantity\n")):
        body = bytes(chance.choice(alphabet) for _ in range(chance.randrange(2_000)))
        for start in (b"", header):
            assert send(kind, start + body, status="*").status_code in (200, 422)


@pytest.mark.commerce(settings={"imports.max_reported": 3})
def test_all_errors_are_counted_and_the_first_are_named(send: Send, tee: Row) -> None:
    rows = [{**tee, "slug": f"t{n}", "sku": f"T{n}", "price": "x"} for n in range(50)]
    refused = send("products", as_csv(*rows), status=422)
    assert (refused.json["error_count"], [error["row"] for error in refused.json["errors"]]) == (50, [2, 3, 4])
    rows = [{**tee, "slug": f"t{n}", "sku": "SAME"} for n in range(50)]
    refused = send("products", as_csv(*rows), status=422)
    assert (refused.json["error_count"], [error["row"] for error in refused.json["errors"]]) == (49, [3, 4, 5])


def test_backorders_do_not_end_while_more_is_promised(
    send: Send, client: TestApp, engine: Engine, tee: Row, staff: TestApp
) -> None:
    send("products", as_csv({**tee, "allow_backorder": "true"}))
    [variant] = client.get("/api/v1/products/tee").json["variants"]
    client.post_json("/api/v1/holds", {"variant_id": variant["id"], "quantity": 2}, status=201)
    refused = send("products", as_csv({**tee, "allow_backorder": "false"}), status=422)
    assert codes(refused) == [(2, "allow_backorder", "stock_conflict")]
    send("products", as_csv({**tee, "low_stock_threshold": "9"}))
    assert_stock_adds_up(engine)


def test_an_export_is_imported_again_without_a_change(
    send: Send, staff: TestApp, engine: Engine, tee: Row, make_variant: Callable[..., UUID]
) -> None:
    make_variant(currency="JPY", price_amount=2_000, compare_at_amount=3_000)
    make_variant(currency="KWD", price_amount=1_005, track_stock=False)
    nasty = ["=1+1", "'=1", "''+2", "-5", "@x", "json:1", "'", "a\r\nb", '"', ";", ",", "ü", "'a"]
    for number, value in enumerate(nasty):
        product = {
            "slug": f"p{number}",
            "name": value,
            "description": value,
            "attributes": {
                "text": value,
                "list": [value, ""],
                "=f": value,
                "n": -1.5,
                "b": True,
                "empty": "",
                "lone": f" {value}",
            },
        }
        made = staff.post_json(f"{ADMIN}/products", product, status=201).json
        variant = {"sku": f"{value.strip()}{number}".replace("\r\n", ""), "currency": "USD", "price_amount": number}
        staff.post_json(f"{ADMIN}/products/{made['id']}/variants", variant, status=201)
    staff.post_json(f"{ADMIN}/products", {"slug": "bare", "name": "Without variants"}, status=201)
    before = snapshot(engine)
    exported = staff.get(f"{ADMIN}/products/export")
    assert exported.content_type == "text/csv"
    assert int(exported.headers["Content-Length"]) == len(exported.body)
    for row in read_csv(exported.body):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    changes = send("products", exported.body).json["changes"]
    assert changes["products"] == {"created": 0, "updated": 0, "unchanged": len(nasty) + 3}
    assert changes["variants"]["unchanged"] == len(nasty) + 2
    assert snapshot(engine) == before
    # And into an empty shop it brings the same things.
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("TRUNCATE product, variant, stock_level, stock_movement CASCADE"))
    send("products", exported.body)
    assert staff.get(f"{ADMIN}/products/export").body == exported.body
    assert_stock_adds_up(engine)


def test_gzip_is_unpacked(send: Send, tee: Row) -> None:
    packed = gzip.compress(as_csv(tee))
    assert send("products", packed, **{"Content-Encoding": "gzip"}).json["rows"] == 1
    two = gzip.compress(b"slug,na") + gzip.compress(b"me\na,A\n")
    assert send("products", two, **{"Content-Encoding": "gzip"}).json["rows"] == 1
    for broken in (b"nonsense", packed[:-9], b""):
        refused = send("products", broken, status="*", **{"Content-Encoding": "gzip"})
        assert_problem(refused, 400, "malformed-request")
    assert_problem(send("products", b"", status="*", **{"Content-Encoding": "br"}), 415, "unsupported-media-type")


@pytest.mark.commerce(settings={"imports.max_bytes": 2_000})
def test_files_are_bounded_also_when_they_are_packed(send: Send, staff: TestApp) -> None:
    large = b"slug,name\n" + b"a,A\n" * 1_000
    assert_problem(send("products", large, status="*"), 413, "body-too-large")
    bomb = gzip.compress(large)
    assert len(bomb) < 2_000
    assert_problem(send("products", bomb, status="*", **{"Content-Encoding": "gzip"}), 413, "body-too-large")
    assert_problem(staff.post_json(f"{ADMIN}/products/import", {}, status="*"), 415, "unsupported-media-type")


def test_a_body_that_ends_too_early_changes_nothing(application: Any, staff: TestApp, engine: Engine, tee: Row) -> None:
    before = snapshot(engine)
    body = as_csv(tee)
    request = Request.blank(f"{ADMIN}/products/import", method="POST", content_type="text/csv")
    request.authorization = staff.authorization
    request.environ.update({"CONTENT_LENGTH": str(len(body) + 10), "wsgi.input": io.BytesIO(body)})
    assert_problem(request.get_response(application), 400, "malformed-request")
    assert snapshot(engine) == before


def test_a_body_in_chunks_is_read_to_its_end(application: Any, staff: TestApp, tee: Row) -> None:
    request = Request.blank(f"{ADMIN}/products/import", method="POST", content_type="text/csv")
    request.authorization = staff.authorization
    request.environ.pop("CONTENT_LENGTH", None)
    request.environ.update({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(as_csv(tee))})
    assert request.get_response(application).json["rows"] == 1


def test_an_idempotency_key_covers_the_file_and_the_dry_run(send: Send, tee: Row) -> None:
    key = {"Idempotency-Key": "one"}
    first = send("products", as_csv(tee), **key)
    again = send("products", as_csv(tee), **key)
    assert (again.json, again.headers["Idempotent-Replayed"]) == (first.json, "true")
    for other in (
        send("products", as_csv({**tee, "name": "Other"}), status="*", **key),
        send("products", as_csv(tee), dry_run=True, status="*", **key),
    ):
        assert_problem(other, 422, "idempotency-key-reused")


def test_one_import_at_a_time(send: Send, engine: Engine, tee: Row) -> None:
    with Session(engine) as other:
        other.execute(text("SELECT pg_advisory_xact_lock(hashtext('commerce.import'))"))
        assert_problem(send("products", as_csv(tee), status="*"), 409, "import-under-way")
        assert_problem(send("stock", b"sku,on_hand\n", status="*"), 409, "import-under-way")
    send("products", as_csv(tee))


def test_an_import_is_told_and_filed(application: Any, send: Send, engine: Engine, tee: Row) -> None:
    told: list[ProductChanged] = []
    application.registry.bus.subscribe(ProductChanged, told.append)
    send("products", as_csv(tee))
    send("products", as_csv({**tee, "price": "x"}), status=422)
    assert [(event.what, len(event.product_ids)) for event in told] == [("products.import", 1)]
    with engine.connect() as connection:
        entries = (
            connection.execute(text("SELECT after FROM audit_log WHERE action = 'products.import'")).scalars().all()
        )
    assert [entry["rows"] for entry in entries] == [1]
