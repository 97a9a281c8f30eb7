"""Stock levels as browsers see them, and reading them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from commerce_core.catalog.models import VISIBLE

INVENTORY = "inventory"
OF_PRODUCT = "inventory.product."
OF_VARIANT = "inventory.variant."
# That something in the catalogue is different now.
CATALOGUE = "catalogue"

# What nobody may see in the shop is not shown here, either. The ledger has no gaps: its last line says what has
# happened, and the one before what there was before.
_LEVELS = f"""
SELECT variant.id AS variant_id, product.id AS product_id, sku, on_hand, reserved, stock_level.version, policy,
       allow_backorder, low_stock_threshold, last.kind AS reason,
       before.on_hand_after - before.reserved_after AS available_before
FROM variant
JOIN stock_level ON stock_level.variant_id = variant.id
JOIN (SELECT id FROM product WHERE {VISIBLE}) AS product ON product.id = variant.product_id
LEFT JOIN stock_movement AS last ON last.variant_id = variant.id AND last.version = stock_level.version
LEFT JOIN stock_movement AS before
       ON before.variant_id = variant.id AND before.version = stock_level.version - 1
WHERE variant.deleted_at IS NULL AND
"""  # noqa: S608 (our own words)
_BY_VARIANT = text(_LEVELS + "variant.id = ANY(:ids)")
_BY_PRODUCT = text(_LEVELS + "product.id = ANY(:ids) ORDER BY variant.position, variant.id")
_FIRST = text(_LEVELS + "true ORDER BY variant.id LIMIT :limit")


@dataclass(slots=True)
class Level:
    """What is known of a variant's stock. `told` is the quantity that the last event, or snapshot, gave."""

    variant_id: str
    product_id: str
    sku: str
    policy: str
    allow_backorder: bool
    threshold: int
    on_hand: int
    reserved: int
    version: int
    reason: str
    at: str
    told: int | None

    @property
    def quantity(self) -> int | None:
        """Units that can be taken now; None when stock is not tracked."""
        return None if self.policy == "ignore" else max(0, self.on_hand - self.reserved)

    @property
    def is_in_stock(self) -> bool:
        """Whether it can be bought now, if need be on backorder."""
        return self.policy == "ignore" or self.allow_backorder or self.on_hand > self.reserved

    @property
    def is_low_stock(self) -> bool:
        """Whether no more than its threshold is left, but not nothing."""
        return self.policy == "track" and 0 < self.on_hand - self.reserved <= self.threshold

    @property
    def channels(self) -> tuple[str, str, str]:
        """Where its changes are told."""
        return INVENTORY, OF_PRODUCT + self.product_id, OF_VARIANT + self.variant_id

    def shown(self) -> dict[str, Any]:
        """As a snapshot shows it."""
        return {
            "product_id": self.product_id,
            "variant_id": self.variant_id,
            "sku": self.sku,
            "stock_quantity": self.quantity,
            "is_in_stock": self.is_in_stock,
            "is_low_stock": self.is_low_stock,
            "version": self.version,
            "timestamp": self.at,
        }

    def change(self) -> dict[str, Any]:
        """As an event tells that it has changed."""
        return self.shown() | {"previous_quantity": self.told, "change_reason": self.reason}

    def facts(self) -> tuple[object, ...]:
        """What changes without a movement of stock."""
        return self.product_id, self.sku, self.policy, self.allow_backorder, self.threshold


def moment(at: datetime) -> str:
    """A time as clients get it: UTC, with milliseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def read_levels(
    engine: Engine, *, variants: Collection[UUID], products: Collection[UUID], first: int, now: datetime
) -> tuple[list[Level], list[Level], list[Level]]:
    """The levels of variants, those of products' variants, and the first of all. Visible ones only; no locks."""
    with engine.connect() as connection:

        def read(statement: Any, **parameters: Any) -> list[Level]:
            rows = connection.execute(statement, parameters)
            return [_level_of(row, now) for row in rows]

        return (
            read(_BY_VARIANT, ids=list(variants)) if variants else [],
            read(_BY_PRODUCT, ids=list(products)) if products else [],
            read(_FIRST, limit=first) if first else [],
        )


def _level_of(row: Any, now: datetime) -> Level:
    level = Level(
        variant_id=str(row.variant_id),
        product_id=str(row.product_id),
        sku=row.sku,
        policy=row.policy,
        allow_backorder=row.allow_backorder,
        threshold=row.low_stock_threshold,
        on_hand=row.on_hand,
        reserved=row.reserved,
        version=row.version,
        reason=row.reason or "resync",
        at=moment(now),
        told=None,
    )
    if level.quantity is not None and row.available_before is not None:
        level.told = max(0, row.available_before)
    return level
