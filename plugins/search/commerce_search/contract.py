"""What every backend must keep to, as a suite of tests to subclass. It needs `pytest -p commerce_core.testing`.

    from commerce_search.contract import BackendContract

    class TestTypesense(BackendContract):
        factory = TypesenseBackendFactory()

The backend is asked for directly, without the shop around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid5

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import commerce_search.models
from commerce_search.analysis import Analyzer
from commerce_search.documents import (
    Ancestry,
    DocumentMaker,
    Facts,
    attribute_tag,
    brand_tag,
    category_tag,
    id_key,
    sku_key,
)
from commerce_search.interface import (
    Backend,
    BackendFactory,
    Document,
    Filters,
    IndexCorrupt,
    IndexMissing,
    Place,
    Query,
    Reader,
    Slot,
    Word,
)
from commerce_search.settings import Settings

assert commerce_search.models  # the tables that the test kit empties
_NAMESPACE = UUID("2f1c4b1e-93f6-4f0e-8d0b-6a0a3f6f7a11")
ANALYZER = Analyzer("en")


def make_document(name: str, **known: Any) -> Document:
    """A document of a product; its id comes from its name, so that the same name replaces it."""
    categories = known.pop("categories", ())
    facts: dict[str, Any] = {
        "id": uuid5(_NAMESPACE, name),
        "name": name,
        "description": "",
        "category_id": None,
        "brand_slug": None,
        "brand_name": known.get("brand_slug", "").title() or None,
        "attributes": {},
        "price": 1_000,
        "in_stock": True,
        "published_at": datetime(2026, 1, 1, tzinfo=UTC),
        "popularity": 0,
        "is_featured": False,
        "skus": (),
        **known,
    }
    return DocumentMaker(ANALYZER).make(Facts(**facts), Ancestry(categories, tuple(map(str.title, categories))))


def words(text: str, **options: Any) -> tuple[Slot, ...]:
    """A slot for each word of a text."""
    return tuple(Slot(((Word(stem, **options),),)) for stem in ANALYZER.stems(text))


SHOP = (
    make_document("Red Canvas Sneaker", brand_slug="fieldnote", categories=("sneakers", "footwear"), price=6_000,
                  attributes={"color": ["red", "black"]}, popularity=50, skus=("SNK-RED-1",),
                  published_at=datetime(2026, 3, 1, tzinfo=UTC)),
    make_document("Blue Canvas Sneaker", brand_slug="nordwind", categories=("sneakers", "footwear"), price=7_000,
                  attributes={"color": ["blue"]}, popularity=10, in_stock=False, skus=("SNK-BLU-1",),
                  published_at=datetime(2026, 2, 1, tzinfo=UTC)),
    make_document("Leather Boot", brand_slug="nordwind", categories=("boots", "footwear"), price=18_000,
                  attributes={"color": ["brown"]}, popularity=30, description="Goes well with a red canvas bag."),
    make_document("Red Mug", brand_slug="halden", categories=("kitchen",), price=1_200,
                  attributes={"color": ["red"]}, popularity=90, published_at=datetime(2026, 4, 1, tzinfo=UTC)),
    make_document("Crème Brûlée Torch", brand_slug="halden", categories=("kitchen",), price=2_500),
)  # fmt: skip


class BackendContract:
    """`factory` makes the backend under test; `settings` are what the plugin's settings say."""

    factory: ClassVar[BackendFactory]
    settings: ClassVar[dict[str, Any]] = {}
    pytestmark = pytest.mark.commerce(plugins=["search"])

    @pytest.fixture
    def place(self, tmp_path: Path, engine: Engine) -> Place:
        return Place(tmp_path / "index", engine, Settings.model_validate(self.settings))

    @pytest.fixture
    def backend(self, place: Place) -> Iterator[Backend]:
        backend = self.factory.open(place)
        yield backend
        backend.close()

    @pytest.fixture
    def shop(self, backend: Backend) -> Backend:
        """With the documents of SHOP."""
        return self.built(backend, SHOP)

    @pytest.fixture
    def reader(self, shop: Backend, db: Session) -> Iterator[Reader]:
        with shop.reading(db) as reader:
            yield reader

    def built(self, backend: Backend, documents: tuple[Document, ...], name: str = "first") -> Backend:
        build = backend.build(name)
        build.add(documents)
        build.publish()
        build.close()
        return backend

    @staticmethod
    def names(reader: Reader, **query: Any) -> list[str]:
        return [hit.title for hit in reader.search(Query(**query)).hits]

    # --- Finding ---

    def test_without_words_everything_is_found_and_the_popular_first(self, reader: Reader) -> None:
        result = reader.search(Query())
        assert (result.total, reader.stats().documents) == (5, 5)
        assert [hit.popularity for hit in result.hits][:3] == [90, 50, 30]

    def test_all_words_or_as_many_as_are_asked_for_must_be_there(self, reader: Reader) -> None:
        three = words("red canvas sneaker")
        assert self.names(reader, slots=three, least=3) == ["red canvas sneaker"]
        assert set(self.names(reader, slots=three, least=2)) == {
            "red canvas sneaker", "blue canvas sneaker", "leather boot",
        }  # fmt: skip
        assert reader.search(Query(slots=three, least=1)).total == 4
        assert reader.search(Query(slots=words("red submarine"), least=2)).total == 0

    def test_a_word_of_the_name_counts_for_more_than_one_of_the_description(self, reader: Reader) -> None:
        found = self.names(reader, slots=words("red canvas"), least=2)
        assert found == ["red canvas sneaker", "leather boot"]

    def test_an_alternative_is_found_instead_and_one_of_several_words_needs_them_all(self, reader: Reader) -> None:
        either = Slot(((Word("mug"),), (Word("blue"), Word("canva"))))
        assert set(self.names(reader, slots=(either,), least=1)) == {"red mug", "blue canvas sneaker"}

    def test_a_beginning_is_looked_for_among_beginnings(self, reader: Reader) -> None:
        assert set(self.names(reader, slots=words("sne", is_beginning=True), least=1)) == {
            "red canvas sneaker", "blue canvas sneaker",
        }  # fmt: skip
        assert self.names(reader, slots=words("sne"), least=1) == []
        assert self.names(reader, slots=words("creme b", is_beginning=True), least=2) == ["creme brulee torch"]

    def test_keys_come_first_in_their_order_and_others_never(self, reader: Reader) -> None:
        first = (sku_key("snk blu 1"), id_key(SHOP[4].id))
        found = self.names(reader, slots=words("red"), least=1, first=first)
        assert found[:2] == ["blue canvas sneaker", "creme brulee torch"]
        assert set(found[2:]) == {"red canvas sneaker", "red mug", "leather boot"}
        without = self.names(reader, slots=words("red"), least=1, without=(id_key(SHOP[3].id),))
        assert "red mug" not in without
        assert self.names(reader, first=(id_key(SHOP[2].id),))[0] == "leather boot"

    def test_nothing_that_people_type_is_an_operator(self, reader: Reader) -> None:
        for text in ('red" OR', "a:b", "(", "NOT mug", "*", "~2", "red -mug", "' & | !", "🦊", "\\", "сапоги", "أحمر"):
            slots = words(text)
            reader.search(Query(slots=slots, least=len(slots)))

    # --- Filters and counts ---

    def test_filters_narrow_down_and_values_of_one_group_are_alternatives(self, reader: Reader) -> None:
        red_or_blue = frozenset({attribute_tag("color", "red"), attribute_tag("color", "blue")})
        footwear = frozenset({category_tag("footwear")})
        assert reader.search(Query(filters=Filters(any_of=(red_or_blue,)))).total == 3
        assert set(self.names(reader, filters=Filters(any_of=(red_or_blue, footwear)))) == {
            "red canvas sneaker", "blue canvas sneaker",
        }  # fmt: skip
        assert self.names(reader, filters=Filters(any_of=(red_or_blue, footwear), in_stock=True)) == [
            "red canvas sneaker"
        ]
        assert self.names(reader, filters=Filters(in_stock=False)) == ["blue canvas sneaker"]
        assert set(self.names(reader, filters=Filters(min_price=2_500, max_price=6_000))) == {
            "red canvas sneaker", "creme brulee torch",
        }  # fmt: skip
        assert reader.search(Query(filters=Filters(any_of=(frozenset({brand_tag("nobody")}),)))).total == 0

    def test_what_matches_is_counted_by_tag_and_by_price(self, reader: Reader) -> None:
        result = reader.search(Query(limit=0, tags=True, price_bounds=(2_500, 7_000)))
        assert (result.hits, result.total) == ([], 5)
        assert result.tags[category_tag("footwear")] == 3
        assert result.tags[attribute_tag("color", "red")] == 2
        assert result.prices == [1, 2, 2]
        some = reader.search(Query(slots=words("canvas"), least=1, filters=Filters(in_stock=True), tags=True))
        assert some.tags[category_tag("footwear")] == 2
        assert category_tag("kitchen") not in some.tags

    def test_sorts(self, reader: Reader) -> None:
        prices = [6_000, 7_000, 18_000]
        footwear = Filters(any_of=(frozenset({category_tag("footwear")}),))
        by_price = self.names(reader, filters=footwear, sort="price_asc")
        assert by_price == ["red canvas sneaker", "blue canvas sneaker", "leather boot"], prices
        assert self.names(reader, filters=footwear, sort="price_desc") == by_price[::-1]
        assert self.names(reader, sort="newest", limit=3) == ["red mug", "red canvas sneaker", "blue canvas sneaker"]
        assert self.names(reader, slots=words("red"), least=1, sort="popular")[0] == "red mug"

    def test_pages_follow_each_other_and_miss_nothing(self, shop: Backend, db: Session) -> None:
        many = tuple(make_document(f"Red Thing {number}", popularity=number % 3) for number in range(30))
        self.built(shop, many, "second")
        with shop.reading(db) as reader:
            for sort in ("relevance", "price_asc", "popular"):
                pages = [
                    reader.search(Query(slots=words("red"), least=1, sort=sort, offset=offset, limit=7))
                    for offset in range(0, 35, 7)
                ]
                assert {page.total for page in pages} == {30}
                assert sorted(hit.id for page in pages for hit in page.hits) == sorted(each.id for each in many)

    # --- Words ---

    def test_words_are_known_with_their_frequency(self, reader: Reader) -> None:
        assert reader.frequency("canva") >= 2
        assert reader.frequency("submarine") == 0
        terms = dict(reader.terms("", 1_000))
        assert {"sneaker", "creme", "fieldnote", "footwear", "black"} <= terms.keys()
        assert terms["red"] >= 2
        assert {word for word, _ in reader.terms("bl", 10)} == {"black", "blue"}

    # --- Writing ---

    def test_changes_are_seen_at_once_and_twice_is_as_good_as_once(self, shop: Backend, db: Session) -> None:
        with shop.reading(db) as reader:
            before = reader.version
        reduced = make_document("Red Mug", price=900, in_stock=False)
        for _ in range(2):
            shop.apply([reduced, make_document("Green Mug")], [SHOP[2].id, UUID(int=1)], db)
            db.commit()
        with shop.reading(db) as reader:
            assert reader.version != before
            assert reader.stats().documents == 5
            assert set(self.names(reader, slots=words("mug"), least=1)) == {"red mug", "green mug"}
            assert self.names(reader, filters=Filters(max_price=999)) == ["red mug"]
            assert reader.search(Query(slots=words("leather"), least=1)).total == 0
            assert reader.frequency("green") > 0
            entries = reader.entries([reduced.id, SHOP[2].id])
            assert {id_: (entry.fingerprint, entry.in_stock) for id_, entry in entries.items()} == {
                reduced.id: (reduced.fingerprint, False)
            }
            assert SHOP[2].id not in set(reader.scan())
            assert len(set(reader.scan())) == 5

    def test_two_instances_are_one_index(self, shop: Backend, place: Place, db: Session) -> None:
        other = self.factory.open(place)
        with other.reading(db) as reader:
            assert reader.stats().documents == 5
        shop.apply([make_document("Green Mug")], [], db)
        db.commit()
        with other.reading(db) as reader:
            assert self.names(reader, slots=words("green"), least=1) == ["green mug"]
        other.close()

    def test_what_is_being_read_stays_as_it_was(self, shop: Backend, db: Session) -> None:
        """Not even a new index in its place changes the answers to somebody who is in the middle of his questions."""
        with shop.reading(db) as reader:
            assert reader.search(Query()).total == 5
            self.built(shop, (make_document("Green Mug"),), "second")
            assert reader.search(Query()).total == 5
        with shop.reading(db) as reader:
            assert reader.search(Query()).total == 1

    def test_an_index_that_was_never_built_is_missing(self, backend: Backend, db: Session) -> None:
        with pytest.raises(IndexMissing), backend.reading(db) as reader:
            reader.search(Query())
        with pytest.raises(IndexMissing):
            backend.apply([SHOP[0]], [], db)

    def test_a_build_is_seen_when_it_is_published_and_goes_on_from_its_last_commit(
        self, shop: Backend, place: Place, db: Session
    ) -> None:
        build = shop.build("second")
        build.add(SHOP[:2])
        build.commit()
        build.add(SHOP[2:3])
        build.close()  # as good as dead: this one is lost
        with shop.reading(db) as reader:
            assert reader.stats().documents == 5
        other = self.factory.open(place)
        build = other.build("second")
        build.add(SHOP[1:4], again=True)
        build.delete([SHOP[0].id])
        build.publish()
        build.close()
        with shop.reading(db) as reader:
            assert set(reader.scan()) == {each.id for each in SHOP[1:4]}
            assert reader.search(Query()).total == 3
        other.close()

    def test_what_is_added_again_or_deleted_need_not_be_committed_before(self, backend: Backend, db: Session) -> None:
        build = backend.build("first")
        build.add(SHOP[:3])
        build.add([make_document("Red Canvas Sneaker", price=1)], again=True)
        build.delete([SHOP[1].id])
        build.publish()
        build.close()
        assert backend.live() == "first"
        with backend.reading(db) as reader:
            assert sorted(reader.scan()) == sorted([SHOP[0].id, SHOP[2].id])
            assert self.names(reader, sort="price_asc") == ["red canvas sneaker", "leather boot"]
            assert reader.stats().documents == 2

    def test_a_build_can_be_abandoned_and_begun_again(self, shop: Backend, db: Session) -> None:
        build = shop.build("second")
        build.add(SHOP[:1])
        build.commit()
        build.close()
        shop.abandon("second")
        shop.abandon("never-begun")
        self.built(shop, SHOP[1:3], "third")
        with shop.reading(db) as reader:
            assert set(reader.scan()) == {each.id for each in SHOP[1:3]}
        shop.tidy(None)
        with shop.reading(db) as reader:
            assert reader.stats().documents == 2

    def test_what_is_broken_is_noticed_and_can_be_built_again(
        self, shop: Backend, place: Place, engine: Engine, db: Session
    ) -> None:
        if not self.damage(place, engine):
            pytest.skip("nothing of this backend's can be damaged from here")
        fresh = self.factory.open(place)
        with pytest.raises((IndexCorrupt, IndexMissing)), fresh.reading(db) as reader:
            reader.search(Query(slots=words("red"), least=1, tags=True))
        db.rollback()
        self.built(fresh, SHOP, "second")
        with fresh.reading(db) as reader:
            assert reader.search(Query()).total == 5
        fresh.close()

    def damage(self, place: Place, engine: Engine) -> bool:
        """Damage the index as a full disk or a careless hand might; whether there was something to damage."""
        files = [file for file in place.folder.glob("*/*") if file.is_file()] if place.folder.is_dir() else []
        for file in files:
            file.write_bytes(b"\x00" * 64)
        return bool(files)


__all__ = ["SHOP", "BackendContract", "make_document", "words"]
