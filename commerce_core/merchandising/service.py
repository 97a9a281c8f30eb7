"""What staff do to products and variants. (Categories and brands: groups.py.)

Every function works in the caller's transaction and flushes, never commits. What is changed must be at the version that
was read, or PreconditionFailed is raised: see api/preconditions.py. Lock order: a variant's stock level, then its
product; whoever moves stock comes to the product last, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.api.preconditions import save
from commerce_core.api.problems import Conflict, InvalidInput, NotFound
from commerce_core.catalog.models import Brand, Category, Product, Variant
from commerce_core.catalog.service import add_variant, create_product, refresh_summaries
from commerce_core.events import ProductChanged, emit
from commerce_core.stock.models import StockLevel
from commerce_core.stock.policy import lock_level, set_policy

POLICY = frozenset({"track_stock", "allow_backorder", "low_stock_threshold"})


class SlugTaken(Conflict):
    """Another one has this slug. Deleted products keep theirs."""

    slug = "slug-taken"
    title = "The slug is taken"
    example: ClassVar[dict[str, Any]] = {"detail": "Another product has the slug 'canvas-tote'."}


class SkuTaken(Conflict):
    """Another variant has this SKU. Deleted variants keep theirs."""

    slug = "sku-taken"
    title = "The SKU is taken"
    example: ClassVar[dict[str, Any]] = {"detail": "Another variant has the SKU 'TEE-RED-M'."}


# What the database refuses, even where two come at once, and the field that it is about.
_UNIQUE = {
    "uq_product_slug": ("product", "slug"),
    "uq_category_slug": ("category", "slug"),
    "uq_brand_slug": ("brand", "slug"),
    "uq_variant_sku": ("variant", "sku"),
}
_REFERENCES = {
    "fk_product_category_id": "category_id",
    "fk_product_brand_id": "brand_id",
    "fk_category_parent_id": "parent_id",
}


@contextmanager
def explained(given: Mapping[str, Any]) -> Iterator[None]:
    """Tell the client what the database has refused. Raises SlugTaken, SkuTaken, InvalidInput."""
    try:
        yield
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if constraint in _UNIQUE:
            thing, field = _UNIQUE[constraint]
            kind = SkuTaken if field == "sku" else SlugTaken
            word = "SKU" if field == "sku" else "slug"
            raise kind(f"Another {thing} has the {word} {given.get(field)!r}.") from error
        if constraint in _REFERENCES:
            field = _REFERENCES[constraint]
            raise InvalidInput.field(
                field, "unknown", f"there is no {field.removesuffix('_id')} with this id"
            ) from error
        raise


def get_product(session: Session, product_id: UUID, *, lock: bool = False, deleted: bool = False) -> Product:
    """A product, its row locked if asked. Raises NotFound, also for a deleted one unless those are wanted."""
    product = session.get(
        Product, product_id, with_for_update={"key_share": True} if lock else None, populate_existing=lock
    )
    if product is None or (product.deleted_at is not None and not deleted):
        raise NotFound("There is no such product.")
    return product


def get_variant(
    session: Session, product_id: UUID, variant_id: UUID, *, lock: bool = False, deleted: bool = False
) -> Variant:
    """A variant of a product. Raises NotFound, also for a deleted one unless those are wanted.

    With `lock`, its stock level and then its product are locked, and so are its siblings' edits kept out.
    """
    if lock:
        lock_level(session, variant_id)
        get_product(session, product_id, lock=True)
    variant = session.get(Variant, variant_id, populate_existing=lock)
    if variant is None or variant.product_id != product_id or (variant.deleted_at is not None and not deleted):
        raise NotFound("There is no such variant.")
    return variant


def add_product(session: Session, given: Mapping[str, Any], *, now: datetime) -> Product:
    """Add a product out of the fields of ProductIn. Raises SlugTaken, InvalidInput."""
    fields = dict(given)
    category = _referred(session, Category, "category_id", fields.pop("category_id"))
    brand = _referred(session, Brand, "brand_id", fields.pop("brand_id"))
    with explained(given):
        product = create_product(session, **fields, category=category, brand=brand, now=now)
    session.refresh(product)
    emit(session, ProductChanged(what="product.create", product_ids=(product.id,)))
    return product


def change_product(
    session: Session, product: Product, changes: Mapping[str, Any], *, now: datetime, what: str = "product.update"
) -> None:
    """Change fields of a product. One that becomes active is published now, a draft is not published.

    Locks the product. Raises SlugTaken, InvalidInput.
    """
    changes = dict(changes)
    if changes.get("status") == "active":
        changes["published_at"] = product.published_at or now
    elif changes.get("status") == "draft":
        changes["published_at"] = None
    for field, kind in (("category_id", Category), ("brand_id", Brand)):
        _referred(session, kind, field, changes.get(field))
    _save(session, product, changes, now)
    if "attributes" in changes:
        refresh_summaries(session, [product.id])
    emit(session, ProductChanged(what=what, product_ids=(product.id,)))


def delete_product(session: Session, product: Product, *, now: datetime) -> None:
    """Take a product off sale for good. Holds, orders and the ledger keep what they say of it. Locks the product."""
    _save(session, product, {"deleted_at": now, "status": "archived"}, now)
    emit(session, ProductChanged(what="product.delete", product_ids=(product.id,)))


def create_variant(session: Session, product_id: UUID, given: Mapping[str, Any], *, now: datetime) -> Variant:
    """Add a variant out of the fields of VariantIn, with nothing on hand.

    Locks the product. Raises SkuTaken, NotFound.
    """
    product = get_product(session, product_id, lock=True)
    if given["is_default"]:
        _unmark_default(session, product.id, now)
    # Of several variants one is the default, so a first one is, whatever was said.
    fields = dict(given)
    if product.variant_count == 0:
        fields["is_default"] = True
    with explained(given):
        variant = add_variant(session, product, **fields)
    session.refresh(variant)
    emit(session, ProductChanged(what="variant.create", product_ids=(product.id,)))
    return variant


def change_variant(session: Session, variant: Variant, changes: Mapping[str, Any], *, now: datetime) -> None:
    """Change fields of a variant, which is locked, and how its stock is kept. Raises SkuTaken, StockConflict."""
    level = session.get_one(StockLevel, variant.id)
    policy = {name: value for name, value in changes.items() if name in POLICY}
    before = (level.policy, level.allow_backorder, level.low_stock_threshold)
    set_policy(session, level, policy)
    own = {name: value for name, value in changes.items() if name not in POLICY}
    if own.get("is_default") and not variant.is_default:
        _unmark_default(session, variant.product_id, now)
    policy_changed = before != (level.policy, level.allow_backorder, level.low_stock_threshold)
    # The policy is part of what is answered, so its change counts as an edit.
    _save(session, variant, own, now, always=policy_changed)
    refresh_summaries(session, [variant.product_id])
    emit(session, ProductChanged(what="variant.update", product_ids=(variant.product_id,)))


def delete_variant(session: Session, variant: Variant, *, now: datetime) -> None:
    """Take a variant, which is locked, off sale for good; active holds and open orders keep theirs.

    The next one becomes the default.
    """
    was_default = variant.is_default
    _save(session, variant, {"deleted_at": now, "is_default": False}, now)
    if was_default:
        heir = session.scalars(
            select(Variant)
            .where(Variant.product_id == variant.product_id, Variant.deleted_at.is_(None))
            .order_by(Variant.position, Variant.id)
            .limit(1)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if heir is not None:
            _save(session, heir, {"is_default": True}, now)
    refresh_summaries(session, [variant.product_id])
    emit(session, ProductChanged(what="variant.delete", product_ids=(variant.product_id,)))


def _save(session: Session, row: Any, changes: Mapping[str, Any], now: datetime, *, always: bool = False) -> None:
    changed = always or any(getattr(row, name) != value for name, value in changes.items())
    with explained(changes):
        save(session, row, {**changes, "updated_at": now} if changed else {}, always=always)


def _unmark_default(session: Session, product_id: UUID, now: datetime) -> None:
    """The product must be locked."""
    session.execute(
        update(Variant)
        .where(Variant.product_id == product_id, Variant.is_default, Variant.deleted_at.is_(None))
        .values(is_default=False, version=Variant.version + 1, updated_at=now)
        .execution_options(synchronize_session=False)
    )


def _referred(session: Session, kind: type[Any], field: str, id_: UUID | None) -> Any:
    if id_ is None:
        return None
    found = session.get(kind, id_)
    if found is None:
        raise InvalidInput.field(field, "unknown", f"there is no {kind.__tablename__} with this id")
    return found
