"""What staff do to categories and brands.

Like service.py. Whoever changes a category locks the whole tree first, by an advisory lock until the transaction ends,
so that two moves at once cannot close a circle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.preconditions import save, stale
from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.catalog.models import Brand, Category, Product
from commerce_core.events import ProductChanged, emit
from commerce_core.merchandising.service import explained

DEEPEST = 10

_LOCK_TREE = text("SELECT pg_advisory_xact_lock(hashtext('commerce.category-tree'))")
_ABOVE = text("""
WITH RECURSIVE above AS (
    SELECT id, parent_id, 1 AS depth FROM category WHERE id = :id
    UNION ALL
    SELECT category.id, category.parent_id, depth + 1 FROM category JOIN above ON category.id = above.parent_id
)
SELECT id FROM above
""")
_HEIGHT = text("""
WITH RECURSIVE below AS (
    SELECT id, 1 AS depth FROM category WHERE id = :id
    UNION ALL
    SELECT category.id, depth + 1 FROM category JOIN below ON category.parent_id = below.id
)
SELECT max(depth) FROM below
""")


class CategoryLoop(Conflict):
    """A category cannot be below itself."""

    slug = "category-loop"
    title = "A category cannot be below itself"


class TreeTooDeep(Conflict):
    """Categories can be nested ten deep."""

    slug = "category-tree-too-deep"
    title = "The categories would be nested too deep"


class GroupNotEmpty(Conflict):
    """There is something in it. Say with `reassign_to` where that goes, or move it first."""

    slug = "not-empty"
    title = "It is not empty"
    example: ClassVar[dict[str, Any]] = {
        "detail": "12 products and 1 category are in it.",
        "products": 12,
        "categories": 1,
    }


def get_group(session: Session, kind: type[Any], id_: UUID, *, lock: bool = False) -> Any:
    """A category or a brand, locked if asked: the whole tree, then the row. Raises NotFound."""
    if lock and kind is Category:
        session.execute(_LOCK_TREE)
    found = session.get(kind, id_, with_for_update={"key_share": True} if lock else None, populate_existing=lock)
    if found is None:
        raise NotFound(f"There is no such {kind.__tablename__}.")
    return found


def add_group(session: Session, kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Add a category or a brand. Raises SlugTaken, InvalidInput, TreeTooDeep."""
    if given.get("parent_id") is not None:
        session.execute(_LOCK_TREE)
        _check_place(session, None, given["parent_id"])
    group = kind(**given)
    with explained(given):
        session.add(group)
        session.flush()
    session.refresh(group)
    _tell(session, group, "create")
    return group


def change_group(session: Session, group: Any, changes: Mapping[str, Any]) -> None:
    """Change a category or a brand, which is locked; a new `parent_id` moves a category with all that is below it.

    Raises SlugTaken, InvalidInput, CategoryLoop, TreeTooDeep.
    """
    if changes.get("parent_id") is not None:
        _check_place(session, group, changes["parent_id"])
    with explained(changes):
        save(session, group, changes)
    _tell(session, group, "update")


def delete_group(session: Session, group: Any, *, reassign_to: UUID | None) -> None:
    """Delete a category or a brand that is empty, or whose products and subcategories go to another one. It is locked.

    Deleted products are none; they end up nowhere. Raises GroupNotEmpty, InvalidInput, CategoryLoop.
    """
    kind = type(group)
    reference = Product.category_id if kind is Category else Product.brand_id
    if reassign_to is not None:
        _check_heir(session, kind, group, reassign_to)
        _hand_over(session, reference, group, reassign_to)
        if kind is Category:
            _hand_over(session, Category.parent_id, group, reassign_to)
    else:
        _check_empty(session, reference, group)
        session.execute(
            update(Product).where(reference == group.id, Product.deleted_at.is_not(None)).values({reference: None})
        )
    try:
        done = session.execute(
            delete(kind)
            .where(kind.id == group.id, kind.version == group.version)
            .execution_options(synchronize_session=False)
            .returning(kind.id)
        ).one_or_none()
    except IntegrityError as error:  # something was put into it just now
        raise GroupNotEmpty("Something has just been put into it.", products=0, categories=0) from error
    if done is None:
        raise stale(session, group)
    _tell(session, group, "delete")


def _check_place(session: Session, category: Category | None, parent_id: UUID) -> None:
    """The tree must be locked."""
    above = session.scalars(_ABOVE, {"id": parent_id}).all()
    if not above:
        raise InvalidInput.field("parent_id", "unknown", "there is no category with this id")
    if category is not None and category.id in above:
        raise CategoryLoop("That category is below this one, or is this one.")
    height = 1 if category is None else session.scalar(_HEIGHT, {"id": category.id})
    if len(above) + (height or 1) > DEEPEST:
        raise TreeTooDeep(f"Categories can be nested {DEEPEST} deep.")


def _check_heir(session: Session, kind: type[Any], group: Any, heir_id: UUID) -> None:
    # Locked, so that it is not deleted before it has inherited.
    heir = (
        None if heir_id == group.id else session.get(kind, heir_id, with_for_update={"read": True, "key_share": True})
    )
    if heir is None:
        raise InvalidInput.field("reassign_to", "unknown", f"there is no other {kind.__tablename__} with this id")
    if kind is Category:
        if group.id in session.scalars(_ABOVE, {"id": heir_id}).all():
            raise CategoryLoop("What is in a category cannot go to one below it.")
        height = session.scalar(_HEIGHT, {"id": group.id}) or 1
        if len(session.scalars(_ABOVE, {"id": heir_id}).all()) + height - 1 > DEEPEST:
            raise TreeTooDeep(f"Categories can be nested {DEEPEST} deep.")


def _hand_over(session: Session, reference: Any, group: Any, heir_id: UUID) -> None:
    holder = reference.class_
    session.execute(
        update(holder)
        .where(reference == group.id)
        .values({reference: heir_id, holder.version: holder.version + 1})
        .execution_options(synchronize_session=False)
    )


def _check_empty(session: Session, reference: Any, group: Any) -> None:
    products = session.scalar(select(func.count()).where(reference == group.id, Product.deleted_at.is_(None))) or 0
    categories = 0
    if isinstance(group, Category):
        categories = session.scalar(select(func.count()).where(Category.parent_id == group.id)) or 0
    if products or categories:
        parts = [
            f"{number} {one if number == 1 else several}"
            for number, one, several in ((products, "product", "products"), (categories, "category", "categories"))
            if number
        ]
        verb = "is" if products + categories == 1 else "are"
        raise GroupNotEmpty(f"{' and '.join(parts)} {verb} in it.", products=products, categories=categories)


def _tell(session: Session, group: Any, verb: str) -> None:
    field = "brand_id" if isinstance(group, Brand) else "category_id"
    emit(session, ProductChanged(what=f"{group.__tablename__}.{verb}", **{field: group.id}))
