"""The catalogue out of the cache: for whom, for how long, and when it is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, update
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.cache.news import CURRENT_SECONDS
from commerce_core.catalog.models import Product
from commerce_core.catalog.service import create_brand, create_category
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, emit
from commerce_core.testing import SignedIn, StoppedClock, concurrently, count_sql
from tests.cache.conftest import wait_until

PRODUCT = "/api/v1/products/product-1"
LIST = "/api/v1/products"
EVERY_ADDRESS = [
    LIST,
    PRODUCT,
    "/api/v1/categories",
    "/api/v1/categories/coats",
    "/api/v1/categories/coats/products",
    "/api/v1/brands",
]


@pytest.fixture
def listening(application: Any) -> Any:
    """The application, once it hears of other processes: until then, the connection may still cause a drop."""
    application.registry.cache.news.start()
    wait_until(lambda: application.registry.cache.news.is_current)
    return application


@pytest.mark.parametrize("path", EVERY_ADDRESS)
def test_an_answer_out_of_the_cache_costs_no_sql_and_no_connection(
    listening: Any, engine: Engine, client: TestApp, make_variant: Callable[..., UUID], path: str
) -> None:
    make_variant()
    with transaction(engine) as session:
        create_category(session, slug="coats", name="Coats")
    first = client.get(path)
    taken: list[Any] = []
    event.listen(listening.registry.engine, "checkout", lambda *_: taken.append(1))
    with count_sql(listening.registry.engine) as statements:
        assert client.get(path).body == first.body
        client.get(path, headers={"If-None-Match": first.headers["ETag"]}, status=304)
        assert client.head(path).headers["ETag"] == first.headers["ETag"]
    assert (statements, taken) == ([], [])


# What takes long to build is built again before it lapses, and on a busy machine it does take long.
@pytest.mark.commerce(settings={"cache.local_seconds": "3600", "cache.redis_seconds": "86400"})
def test_for_200_at_once_the_database_is_asked_once(
    listening: Any, application: Any, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    with count_sql(listening.registry.engine) as statements:
        answers = concurrently([lambda: TestApp(application).get(PRODUCT).status_code] * 200)
    assert answers == [200] * 200
    assert len(statements) == 2  # the product, and its variants


def test_the_same_question_in_other_words_has_the_same_answer(
    listening: Any, client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    client.get(f"{LIST}?sort=name&page=1&attributes[a]=1&attributes[b]=2")
    with count_sql(listening.registry.engine) as statements:
        client.get(f"{LIST}?attributes[b]=2&attributes[a]=1&page=01&sort=name")
        client.get(f"{LIST}?attributes%5Bb%5D=2&attributes%5Ba%5D=1&page=1&sort=name")
    assert statements == []


def test_customers_are_answered_from_the_cache_once_their_token_is_checked(
    listening: Any, client: TestApp, sign_in: Callable[..., SignedIn], make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    public = client.get(PRODUCT)
    customer = sign_in("customer").client
    with count_sql(listening.registry.engine) as statements:
        response = customer.get(PRODUCT)
    assert not any("product" in statement for statement in statements)
    assert response.body == public.body
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert "Authorization" in response.headers["Vary"]
    client.get(PRODUCT, headers={"Authorization": "Bearer cmt_made-up"}, status=401)


def test_staff_are_answered_afresh_and_leave_nothing_behind(
    listening: Any, client: TestApp, staff: TestApp, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    for _ in range(2):
        with count_sql(listening.registry.engine) as statements:
            response = staff.get(PRODUCT)
        assert any("product" in statement for statement in statements)
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cache-Tag" not in response.headers
    assert listening.registry.cache.statistics()["local_entries"] == 0


def test_a_product_that_is_not_there_is_not_remembered_as_missing(
    client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    client.get(PRODUCT, status=404)
    make_variant()
    client.get(PRODUCT, status=200)


def test_a_hold_changes_what_is_shown_and_lists_of_what_is_in_stock(
    client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    variant_id = make_variant(stock=1)
    paths = (PRODUCT, LIST, f"{LIST}?in_stock=true", f"{LIST}?in_stock=false")
    for path in paths:
        client.get(path)
    client.post_json("/api/v1/holds", {"variant_id": str(variant_id), "quantity": 1})
    product, everything, sellable, sold_out = (client.get(path).json for path in paths)
    assert product["available"] == everything["data"][0]["available"] == 0
    assert (sellable["meta"]["total"], sold_out["meta"]["total"]) == (0, 1)


def test_a_hold_of_one_product_leaves_the_others_alone(
    listening: Any, client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    held, _ = make_variant(), make_variant()
    client.get("/api/v1/products/product-2")
    client.post_json("/api/v1/holds", {"variant_id": str(held), "quantity": 1})
    with count_sql(listening.registry.engine) as statements:
        client.get("/api/v1/products/product-2")
    assert statements == []


@pytest.mark.parametrize("subject", ["product", "category", "brand", "import"])
def test_a_change_of_the_catalogue_is_shown_at_once(
    engine: Engine, clock: StoppedClock, client: TestApp, make_variant: Callable[..., UUID], subject: str
) -> None:
    make_variant()
    with transaction(engine) as session:
        product = session.query(Product).one()
        product.category = create_category(session, slug="coats", name="Coats")
        product.brand = create_brand(session, slug="kestrel", name="Kestrel")
        session.flush()
        emit(session, ProductChanged(what="product.update", product_ids=(product.id,)))
        ids = {"product": product.id, "category": product.category.id, "brand": product.brand.id}
    for path in EVERY_ADDRESS:
        client.get(path)
    with transaction(engine) as session:
        product = session.query(Product).one()
        named = {"product": product, "import": product, "category": product.category, "brand": product.brand}[subject]
        assert named is not None
        named.name = "Renamed"
        field: dict[str, Any] = {
            "product": {"product_ids": (ids["product"],)},
            "category": {"category_id": ids["category"]},
            "brand": {"brand_id": ids["brand"]},
            "import": {},
        }[subject]
        emit(session, ProductChanged(what=f"{subject}.update", **field))
    assert "Renamed" in client.get(PRODUCT).text
    assert "Renamed" in client.get(LIST).text
    if subject in ("category", "brand"):
        assert "Renamed" in client.get(f"/api/v1/{'categories' if subject == 'category' else 'brands'}").text


def test_a_change_that_is_rolled_back_drops_nothing(
    listening: Any, engine: Engine, client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    client.get(PRODUCT)
    with Session(engine) as session:
        session.execute(update(Product).values(name="Never"))
        emit(session, ProductChanged(what="product.update"))
        session.rollback()
    with count_sql(listening.registry.engine) as statements:
        client.get(PRODUCT)
    assert statements == []


def test_cdns_are_told_the_tags(client: TestApp, make_variant: Callable[..., UUID], product_of: Any) -> None:
    product_id = product_of(make_variant())
    detail, listed = client.get(PRODUCT), client.get(LIST)
    assert detail.headers["Cache-Tag"] == f"catalogue,product:{product_id}"
    assert detail.headers["Surrogate-Key"] == f"catalogue product:{product_id}"
    # Any change of a product is one of the lists, which need not name a hundred products.
    assert listed.headers["Cache-Tag"] == "catalogue,lists"


@pytest.mark.commerce(settings={"cache.max_age": "0"})
def test_a_shop_may_have_everybody_ask_every_time(client: TestApp) -> None:
    assert client.get(LIST).headers["Cache-Control"] == "public, max-age=0, must-revalidate"


@pytest.mark.commerce(settings={"cache.enabled": "false"})
def test_a_shop_may_do_without(application: Any, client: TestApp) -> None:
    client.get(LIST)
    with count_sql(application.registry.engine) as statements:
        assert "ETag" in client.get(LIST).headers
    assert statements != []


def test_a_shop_that_hears_nothing_of_others_asks_the_database_again(
    listening: Any, client: TestApp, clock: StoppedClock
) -> None:
    client.get(LIST)
    listening.registry.cache.news.close()
    clock.tick(seconds=CURRENT_SECONDS)
    with count_sql(listening.registry.engine) as statements:
        client.get(LIST)
    assert statements != []


@pytest.mark.commerce(
    settings={
        "cdn.base_url": "https://img.example",
        "cdn.image_template": "{base}/cdn-cgi/image/width={width},format={format},quality={quality}/{path}",
        "cdn.image_widths": "400, 1230",
    }
)
def test_images_come_from_the_cdn_in_the_sizes_of_the_settings(
    application: Any, engine: Engine, client: TestApp, make_variant: Callable[..., UUID]
) -> None:
    make_variant()
    with transaction(engine) as session:
        session.execute(
            update(Product).values(
                images=[{"url": "/static/a tote.jpg", "alt": "A"}, {"url": "https://other.example/b.jpg", "alt": "B"}]
            )
        )
    ours, theirs = client.get(PRODUCT).json["images"]
    assert ours["url"] == "https://img.example/static/a%20tote.jpg"
    assert ours["sizes"] == {
        "400": "https://img.example/cdn-cgi/image/width=400,format=auto,quality=85/static/a%20tote.jpg",
        "1230": "https://img.example/cdn-cgi/image/width=1250,format=auto,quality=85/static/a%20tote.jpg",
    }
    assert theirs == {"url": "https://other.example/b.jpg", "alt": "B"}
    addresses = application.registry.image_addresses
    assert "width=4000" in addresses.of("/x.jpg", width=9_999)
    for wrong in ({"width": 0}, {"width": 1, "quality": 0}, {"width": 1, "format": "../"}):
        with pytest.raises(ValueError, match=r"sizes|quality|format"):
            addresses.of("/x.jpg", **wrong)
