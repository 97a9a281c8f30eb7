"""What staff decide: synonyms, and what is pinned or hidden for a query."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, InvalidInput
from commerce_core.catalog.models import Product
from commerce_search.models import SearchRule, SearchSynonym
from commerce_search.service import plain


class RuleExists(Conflict):
    """There is a rule for this query and product already; delete it first."""

    slug = "search/rule-exists"
    title = "There is such a rule"


def list_synonyms(session: Session) -> Sequence[SearchSynonym]:
    """All of them, oldest first."""
    return session.scalars(select(SearchSynonym).order_by(SearchSynonym.id)).all()


def add_synonym(session: Session, words: Sequence[str], source: str | None) -> SearchSynonym:
    """They count within a second, on every process. Flushes."""
    synonym = SearchSynonym(words=list(words), source=source)
    session.add(synonym)
    session.flush()
    return synonym


def list_rules(session: Session, query: str | None) -> Sequence[SearchRule]:
    """All of them, or those of one query, by query and position."""
    rules = select(SearchRule).order_by(SearchRule.query, SearchRule.position, SearchRule.id)
    if query is not None:
        rules = rules.where(SearchRule.query == plain(query))
    return session.scalars(rules).all()


def add_rule(session: Session, query: str, product_id: UUID, kind: str, position: int | None) -> SearchRule:
    """It counts at once. Flushes. Raises RuleExists, InvalidInput."""
    if session.get(Product, product_id) is None:
        raise InvalidInput.field("product_id", "unknown", "there is no product with this id")
    place = (position or 1) if kind == "pinned" else None
    rule: SearchRule | None = session.scalar(
        insert(SearchRule)
        .values(query=plain(query), product_id=product_id, kind=kind, position=place)
        .on_conflict_do_nothing(index_elements=["query", "product_id"])
        .returning(SearchRule)
    )
    if rule is None:
        raise RuleExists("This product is pinned or hidden for this query already.")
    return rule
