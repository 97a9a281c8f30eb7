"""The index follows the database: by events, by comparison, by being built anew beside the live one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commerce_search import indexing
from commerce_search.indexing import BuildUnderWay
from commerce_search.models import SearchBuild, SearchChange
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.catalog.models import Category, Product
from commerce_core.catalog.service import create_category
from commerce_core.database import transaction
from commerce_core.events import ProductChanged, emit
from commerce_core.testing import StoppedClock

EVERY_BACKEND = pytest.mark.parametrize("search_settings", ["whoosh", "tantivy", "postgresql"], indirect=True)
Search = Callable[..., Any]
API = "/api/v1"


def found(page: Any) -> list[str]:
    return [product["name"] for product in page["data"]]


@pytest.fixture
def make_named(
    engine: Engine, make_variant: Callable[..., UUID], product_of: Callable[[UUID], UUID]
) -> Callable[..., tuple[UUID, UUID]]:
    """`make_named("Red Boot")`: the ids of a product and of its variant."""

    def make(name: str, **options: Any) -> tuple[UUID, UUID]:
        variant_id = make_variant(**options)
        product_id = product_of(variant_id)
        with transaction(engine) as session:
            session.execute(update(Product).where(Product.id == product_id).values(name=name))
            emit(session, ProductChanged(what="product.update", product_ids=(product_id,)))
        return product_id, variant_id

    return make


@EVERY_BACKEND
def test_what_staff_change_and_what_is_sold_is_right_in_search(
    search: Search,
    client: TestApp,
    staff: TestApp,
    make_named: Callable[..., tuple[UUID, UUID]],
    run_jobs: Callable[[], int],
    reindexed: Callable[[], int],
) -> None:
    reindexed()
    product_id, variant_id = make_named("Red Boot", stock=2, price_amount=9_900)
    make_named("Red Shoe", stock=5, price_amount=5_000)
    run_jobs()
    assert found(search("red", sort="price_asc")) == ["Red Shoe", "Red Boot"]

    address = f"{API}/admin/products/{product_id}/variants/{variant_id}"
    variant = staff.get(address)
    staff.patch_json(address, {"price_amount": 4_000}, headers={"If-Match": variant.headers["ETag"]})
    run_jobs()
    assert found(search("red", sort="price_asc")) == ["Red Boot", "Red Shoe"]
    assert found(search("red", max_price=4_500)) == ["Red Boot"]

    hold = client.post_json(f"{API}/holds", {"variant_id": str(variant_id), "quantity": 2}).json
    run_jobs()
    assert found(search("red", in_stock="true")) == ["Red Shoe"]
    assert search("boot")["data"][0]["available"] == 0
    client.delete(f"{API}/holds/{hold['id']}")
    run_jobs()
    assert len(found(search("red", in_stock="true"))) == 2

    product = staff.get(f"{API}/admin/products/{product_id}")
    staff.delete(f"{API}/admin/products/{product_id}", headers={"If-Match": product.headers["ETag"]})
    assert found(search("red")) == ["Red Shoe"]  # at once, whatever the index says
    run_jobs()
    assert search("red")["meta"]["total"] == 1


def test_a_category_that_changes_its_name_changes_all_that_is_below_it(
    search: Search,
    engine: Engine,
    make_named: Callable[..., tuple[UUID, UUID]],
    run_jobs: Callable[[], int],
    reindexed: Callable[[], int],
    staff: TestApp,
) -> None:
    product_id, _ = make_named("Red Boot")
    with transaction(engine) as session:
        shoes = create_category(session, slug="shoes", name="Shoes")
        boots = create_category(session, slug="boots", name="Boots", parent=shoes)
        session.execute(update(Product).where(Product.id == product_id).values(category_id=boots.id))
    reindexed()
    assert search("footwear")["meta"]["total"] == 0
    with Session(engine) as session:
        category_id = session.scalar(select(Category.id).where(Category.slug == "shoes"))
    address = f"{API}/admin/categories/{category_id}"
    etag = staff.get(address).headers["ETag"]
    staff.patch_json(address, {"name": "Footwear"}, headers={"If-Match": etag})
    run_jobs()
    assert found(search("footwear")) == ["Red Boot"]
    with Session(engine) as session:
        assert session.scalars(select(SearchChange.id)).all() == []


def test_a_change_that_rolls_back_leaves_nothing_to_index(engine: Engine, application: Any) -> None:
    with Session(engine) as session:
        session.info["bus"] = application.registry.bus
        emit(session, ProductChanged(what="product.update", product_ids=(UUID(int=7),)))
        assert session.scalars(select(SearchChange.product_id)).all() == [UUID(int=7)]
        session.rollback()
        assert session.scalars(select(SearchChange.id)).all() == []


@EVERY_BACKEND
def test_after_an_import_of_everything_the_index_is_compared_and_mended(
    application: Any,
    search: Search,
    engine: Engine,
    make_named: Callable[..., tuple[UUID, UUID]],
    run_jobs: Callable[[], int],
    reindexed: Callable[[], int],
) -> None:
    ids = [make_named(f"Red Boot {number}")[0] for number in range(4)]
    reindexed()
    with transaction(engine) as session:
        # Past the services, as a bulk load does.
        session.execute(update(Product).where(Product.id == ids[0]).values(name="Blue Boot"))
        session.execute(update(Product).where(Product.id == ids[1]).values(status="draft"))
    make_named("Red Sandal")
    with transaction(engine) as session:
        session.execute(text("DELETE FROM search_change"))
        session.execute(text("DELETE FROM job"))
        different = indexing.check(application.registry.search, engine, mend=False)
        assert (len(different.missing), different.outdated, different.surplus) == (1, [ids[0]], [ids[1]])
        emit(session, ProductChanged(what="products.import"))
    run_jobs()
    assert sorted(found(search("red"))) == ["Red Boot 2", "Red Boot 3", "Red Sandal"]
    assert found(search("blue")) == ["Blue Boot"]
    assert len(indexing.check(application.registry.search, engine)) == 0


class Killed(BaseException):
    """The process is gone."""


@EVERY_BACKEND
def test_a_build_that_is_killed_goes_on_where_it_was_and_misses_no_change(
    application: Any,
    search: Search,
    engine: Engine,
    make_named: Callable[..., tuple[UUID, UUID]],
    monkeypatch: pytest.MonkeyPatch,
    run_jobs: Callable[[], int],
    reindexed: Callable[[], int],
) -> None:
    products = [make_named(f"Red Boot {number}") for number in range(12)]
    reindexed()
    run_jobs()
    monkeypatch.setattr(indexing, "PORTION", 2)
    monkeypatch.setattr(indexing, "COMMIT_EVERY", dict.fromkeys(["whoosh", "tantivy", "postgresql"], 4))
    searching = application.registry.search

    def die_at(number: int) -> Callable[[int, int], None]:
        def progress(done: int, _total: int) -> None:
            if done == number:
                raise Killed

        return progress

    with pytest.raises(Killed):
        indexing.rebuild(searching, engine, progress=die_at(6))
    # Searches go on, and what changes meanwhile gets into both.
    with transaction(engine) as session:
        session.execute(update(Product).where(Product.id == products[0][0]).values(name="Green Boot"))
        emit(session, ProductChanged(what="product.update", product_ids=(products[0][0],)))
    run_jobs()
    assert found(search("green")) == ["Green Boot"]
    asked: list[int] = []
    assert indexing.rebuild(searching, engine, progress=lambda done, total: asked.append(done)) == 12
    assert asked[0] == 6  # four were safe
    assert found(search("green")) == ["Green Boot"]
    assert search("boot")["meta"]["total"] == 12
    assert len(indexing.check(searching, engine)) == 0
    with Session(engine) as session:
        assert set(session.scalars(select(SearchBuild.state))) == {"published"}


@EVERY_BACKEND
def test_a_build_that_is_killed_after_it_was_put_in_place_is_not_taken_up_again(
    application: Any,
    engine: Engine,
    search: Search,
    make_named: Callable[..., tuple[UUID, UUID]],
    reindexed: Callable[[], int],
) -> None:
    make_named("Red Boot")
    reindexed()
    with transaction(engine) as session:
        session.execute(update(SearchBuild).values(state="building", done=1))
    reindexed()
    assert search("boot")["meta"]["total"] == 1
    with Session(engine) as session:
        assert session.scalars(select(SearchBuild.state)).all() == ["published", "published"]


def test_begun_afresh_nothing_of_an_interrupted_build_is_used(
    application: Any, engine: Engine, make_named: Callable[..., tuple[UUID, UUID]], search: Search
) -> None:
    make_named("Red Boot")
    searching = application.registry.search

    def die(_done: int, _total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        indexing.rebuild(searching, engine, progress=die)
    assert indexing.rebuild(searching, engine, fresh=True) == 1
    with Session(engine) as session:
        assert sorted(session.scalars(select(SearchBuild.state))) == ["abandoned", "published"]


def test_one_process_builds_at_a_time(application: Any, engine: Engine) -> None:
    searching = application.registry.search
    with indexing._only_builder(engine), pytest.raises(BuildUnderWay):
        indexing.rebuild(searching, engine)
    assert indexing.rebuild(searching, engine) == 0


@EVERY_BACKEND
def test_without_an_index_search_is_refused_and_one_is_built(
    search: Search,
    client: TestApp,
    make_named: Callable[..., tuple[UUID, UUID]],
    run_jobs: Callable[[], int],
    clock: StoppedClock,
) -> None:
    make_named("Red Boot")
    problem = client.get(f"{API}/search?q=boot", status=503)
    assert (problem.json["type"], problem.headers["Retry-After"]) == ("/problems/search/unavailable", "5")
    client.get(f"{API}/search/suggest?q=boot", status=503)
    client.get(f"{API}/products?q=boot", status=503)
    assert client.get(f"{API}/products").json["meta"]["total"] == 1
    assert client.get("/readyz").json["checks"]["search.index"] == "failing"
    run_jobs()
    clock.tick(minutes=1)
    assert found(search("boot")) == ["Red Boot"]
    assert client.get("/readyz").json["checks"]["search.index"] == "ok"


@pytest.mark.commerce(settings={"search.on_failure": "database"})
def test_the_database_can_stand_in_for_an_index(
    search: Search, client: TestApp, staff: TestApp, make_named: Callable[..., tuple[UUID, UUID]]
) -> None:
    boot_id, _ = make_named("Red Boot", stock=0)
    make_named("Red 100% Shoe", price_amount=500)
    page = search("BOOT red")
    assert (found(page), page["facets"]) == (["Red Boot"], None)
    assert found(search("red", in_stock="true")) == ["Red 100% Shoe"]
    assert found(search("red", max_price=600, sort="price_asc", featured="false")) == ["Red 100% Shoe"]
    assert found(search("red", category="none")) == found(search("red", brand="none")) == found(search("%_"))[:0] == []
    assert client.get(f"{API}/products?q=shoe").json["meta"]["total"] == 1
    rule = {"query": "red", "product_id": str(boot_id), "kind": "hidden"}
    staff.post_json(f"{API}/admin/search/rules", rule, status=201)
    assert found(search("Red ")) == ["Red 100% Shoe"]


# Whoosh leaves the file open that it finds to be broken.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("search_settings", ["whoosh", "tantivy"], indirect=True)
def test_a_corrupt_index_is_noticed_and_built_again_from_the_database(
    application: Any,
    search: Search,
    client: TestApp,
    make_named: Callable[..., tuple[UUID, UUID]],
    run_jobs: Callable[[], int],
    reindexed: Callable[[], int],
    tmp_path: Path,
) -> None:
    make_named("Red Boot")
    reindexed()
    application.registry.search.close()
    for file in (tmp_path / "search").glob("*/*/*"):
        file.write_bytes(b"\x00" * 50)
    client.get(f"{API}/search?q=boot", status=503)
    run_jobs()
    assert found(search("boot")) == ["Red Boot"]


@pytest.mark.commerce(settings={"search.in_stock_only": "true"})
def test_what_is_sold_out_is_never_found_if_the_shop_wants_it_so(
    search: Search, make_named: Callable[..., tuple[UUID, UUID]], reindexed: Callable[[], int]
) -> None:
    make_named("Red Boot", stock=0)
    make_named("Red Shoe", stock=1)
    reindexed()
    assert found(search("red")) == found(search("red boot")) == ["Red Shoe"]


def test_former_indexes_and_applied_changes_are_tidied_away(
    application: Any,
    engine: Engine,
    make_named: Callable[..., tuple[UUID, UUID]],
    reindexed: Callable[[], int],
    run_jobs: Callable[[], int],
    clock: StoppedClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_named("Red Boot")
    reindexed()
    reindexed()
    folder = tmp_path / "search" / "whoosh"
    assert len([each for each in folder.iterdir() if each.is_dir()]) == 2
    monkeypatch.setattr("commerce_search.backends.folders._KEPT_SECONDS", -1.0)
    clock.tick(hours=1)
    run_jobs()
    clock.tick(hours=1)
    run_jobs()
    assert len([each for each in folder.iterdir() if each.is_dir()]) == 1
    with Session(engine) as session:
        assert session.scalars(select(SearchChange.id)).all() == []
