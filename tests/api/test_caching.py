"""The catalogue may be kept for a while, the reference must be asked about; nothing else may be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from webtest import TestApp

CATALOGUE = ["/api/v1/products", "/api/v1/products/product-1", "/api/v1/categories", "/api/v1/brands"]
REFERENCE = ["/api/v1/openapi.json", "/api/v1/docs", "/problems", "/problems/out-of-stock"]


@pytest.mark.parametrize("path", CATALOGUE + REFERENCE)
def test_an_answer_that_has_not_changed_is_304(client: TestApp, make_variant: Callable[..., UUID], path: str) -> None:
    make_variant()
    first = client.get(path)
    lasts = "max-age=30, s-maxage=30, stale-while-revalidate=30" if path in CATALOGUE else "max-age=0, must-revalidate"
    assert first.headers["Cache-Control"] == f"public, {lasts}"
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]}, status=304)
    assert again.body == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    assert client.get(path, headers={"If-None-Match": '"another"'}).body == first.body
    assert client.head(path).headers["ETag"] == first.headers["ETag"]


def test_an_answer_that_has_changed_is_sent(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    make_variant()
    tag = client.get("/api/v1/products").headers["ETag"]
    make_variant()
    response = client.get("/api/v1/products", headers={"If-None-Match": tag}, status=200)
    assert response.json["meta"]["total"] == 2


def test_an_answer_in_another_language_is_another(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    make_variant()
    english, german = (
        client.get("/api/v1/products/product-1", headers={"Accept-Language": language}) for language in ("en", "de")
    )
    assert english.headers["ETag"] != german.headers["ETag"]
    assert english.headers["Vary"] == german.headers["Vary"] == "Accept-Language, Authorization"


def test_what_belongs_to_somebody_is_not_kept(client: TestApp, make_variant: Callable[..., UUID]) -> None:
    body = {"variant_id": str(make_variant()), "quantity": 1}
    hold: Any = client.post_json("/api/v1/holds", body)
    for response in (hold, client.get(f"/api/v1/holds/{hold.json['id']}"), client.get("/nothing", status=404)):
        assert response.headers["Cache-Control"] == "no-store"
