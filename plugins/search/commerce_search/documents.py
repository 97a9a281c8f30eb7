"""From rows of the catalogue to documents of an index."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from commerce_core.catalog.models import VISIBLE, Category
from commerce_search.analysis import Analyzer, beginnings_of, fold, words_of
from commerce_search.interface import Document

FIRST_ID = UUID(int=0)
_SIGNS = re.compile(r"[\W_]+")
_SEPARATOR = "\x1f"
# More words of a description say nothing new.
_LONGEST_DESCRIPTION = 10_000

_ROWS = text(f"""
SELECT product.id, product.name, product.description, product.category_id, brand.slug, brand.name, product.facets,
       product.price_amount, product.sellable_variants > 0, product.published_at, product.popularity,
       product.is_featured,
       ARRAY(SELECT sku FROM variant WHERE product_id = product.id AND deleted_at IS NULL ORDER BY position, id)
FROM product LEFT JOIN brand ON brand.id = product.brand_id
WHERE product.id = ANY(:ids) AND {VISIBLE}
""")  # noqa: S608 (our own words)
_NEXT_IDS = text(f"SELECT id FROM product WHERE id > :after AND {VISIBLE} ORDER BY id LIMIT :limit")  # noqa: S608
_COUNT = text(f"SELECT count(*) FROM product WHERE {VISIBLE}")  # noqa: S608
_VISIBLE_OF = text(f"SELECT id FROM product WHERE id = ANY(:ids) AND {VISIBLE}")  # noqa: S608
_IN_GROUPS = text("""
WITH RECURSIVE tree AS (
    SELECT id FROM category WHERE id = ANY(:category_ids)
    UNION
    SELECT category.id FROM category JOIN tree ON category.parent_id = tree.id
)
SELECT id FROM product WHERE category_id IN (SELECT id FROM tree) OR brand_id = ANY(:brand_ids)
""")


def category_tag(slug: str) -> str:
    return f"c:{slug}"


def brand_tag(slug: str) -> str:
    return f"b:{slug}"


def attribute_tag(name: str, value: str) -> str:
    return f"a:{name}{_SEPARATOR}{value}"


def attribute_of(tag: str) -> tuple[str, str]:
    """The name and the value of an attribute's tag."""
    name, _, value = tag[2:].partition(_SEPARATOR)
    return name, value


FEATURED, NOT_FEATURED = "f:1", "f:0"


def id_key(product_id: UUID | str) -> str:
    return f"id:{product_id}"


def sku_key(sku: str) -> str:
    """The same for `TEE-WHT-S`, `tee wht s` and `TEEWHTS`."""
    return f"sku:{_SIGNS.sub('', fold(sku))}"


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The slugs and names of a category and of those above it."""

    slugs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Categories:
    """The category tree, read once for many documents."""

    def __init__(self, session: Session) -> None:
        self._rows = {row.id: row for row in session.execute(_CATEGORIES)}
        self._known: dict[UUID | None, Ancestry] = {None: Ancestry()}

    def of(self, category_id: UUID | None) -> Ancestry:
        """A category with all above it, itself first."""
        known = self._known.get(category_id)
        if known is None:
            row = self._rows.get(category_id)
            above = self.of(row.parent_id) if row is not None else Ancestry()
            known = Ancestry((row.slug, *above.slugs), (row.name, *above.names)) if row is not None else above
            self._known[category_id] = known
        return known


_CATEGORIES = select(Category.id, Category.parent_id, Category.slug, Category.name)


class Facts(NamedTuple):
    """What there is to know of a product. Amounts in minor units."""

    id: UUID
    name: str
    description: str
    category_id: UUID | None
    brand_slug: str | None
    brand_name: str | None
    attributes: Mapping[str, Sequence[str]]
    price: int
    in_stock: bool
    published_at: datetime
    popularity: int
    is_featured: bool
    skus: Sequence[str]


class DocumentMaker:
    """Makes documents in the language of a shop."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer

    def read(self, session: Session, ids: Iterable[UUID], categories: Categories | None = None) -> list[Document]:
        """The documents of those of these products that shoppers may see, in any order. One statement, or two."""
        wanted = list(ids)
        if not wanted:
            return []
        categories = categories or Categories(session)
        rows = session.execute(_ROWS, {"ids": wanted})
        return [self.make(Facts(*row), categories.of(row[3])) for row in rows]

    def make(self, facts: Facts, category: Ancestry) -> Document:
        """The document of one product."""
        published = int(facts.published_at.timestamp() * 1000)
        told = [*facts[1:3], *facts[4:9], published, *facts[10:], category.slugs, category.names]
        fingerprint = hashlib.blake2b(orjson.dumps(told, option=orjson.OPT_SORT_KEYS), digest_size=9).hexdigest()
        stems = self._analyzer.stems
        brand = facts.brand_name or ""
        values = [value for found in facts.attributes.values() for value in found]
        short = [word for text in (facts.name, brand, *category.names) for word in words_of(text)]
        spoken = {word for word in (*short, *(word for each in values for word in words_of(each))) if word.isalpha()}
        tags = [attribute_tag(name, value) for name, found in facts.attributes.items() for value in found]
        tags += [category_tag(slug) for slug in category.slugs]
        tags += [brand_tag(facts.brand_slug)] if facts.brand_slug else []
        tags.append(FEATURED if facts.is_featured else NOT_FEATURED)
        return Document(
            id=facts.id,
            fingerprint=fingerprint,
            words={
                "name": stems(facts.name),
                "sku": list(dict.fromkeys(word for sku in facts.skus for word in words_of(sku))),
                "brand": stems(brand),
                "category": [stem for name in category.names for stem in stems(name)],
                "attributes": [stem for each in (*facts.attributes, *values) for stem in stems(each)],
                "description": self._analyzer.prose(facts.description[:_LONGEST_DESCRIPTION]),
            },
            spoken=sorted(spoken),
            beginnings=sorted(beginnings_of(short)),
            tags=tags,
            keys=[id_key(facts.id), *dict.fromkeys(map(sku_key, facts.skus))],
            title=" ".join(words_of(facts.name)),
            price=facts.price,
            in_stock=facts.in_stock,
            published=published,
            popularity=facts.popularity,
        )


def next_ids(session: Session, after: UUID, limit: int) -> list[UUID]:
    """The ids of visible products that follow, in order."""
    return list(session.scalars(_NEXT_IDS, {"after": after, "limit": limit}))


def count_products(session: Session) -> int:
    """How many products shoppers may see."""
    count: int = session.scalar(_COUNT)
    return count


def visible_among(session: Session, ids: Sequence[UUID]) -> set[UUID]:
    """Those of these products that shoppers may see."""
    return set(session.scalars(_VISIBLE_OF, {"ids": list(ids)}))


def ids_in_groups(session: Session, category_ids: Sequence[UUID], brand_ids: Sequence[UUID]) -> list[UUID]:
    """The products in these categories, or in one below them, and of these brands."""
    return list(session.scalars(_IN_GROUPS, {"category_ids": list(category_ids), "brand_ids": list(brand_ids)}))
