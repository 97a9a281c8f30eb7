"""Versions of what staff edit, tax classes; deleted variants do not count as sellable"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

VERSIONED = ("category", "brand", "product", "variant")

# As before, but a deleted variant counts for nothing, and whoever changes thousands of levels in one transaction says
# `SET LOCAL commerce.counts_sellable = off` and sees to the products itself, once for each.
COUNT_SELLABLE = """
CREATE OR REPLACE FUNCTION commerce_count_sellable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change integer := 0;
BEGIN
    IF current_setting('commerce.counts_sellable', true) = 'off' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' AND (OLD.policy = 'ignore' OR OLD.allow_backorder OR OLD.on_hand > OLD.reserved) THEN
        change := change - 1;
    END IF;
    IF TG_OP <> 'DELETE' AND (NEW.policy = 'ignore' OR NEW.allow_backorder OR NEW.on_hand > NEW.reserved) THEN
        change := change + 1;
    END IF;
    IF change <> 0 THEN
        UPDATE product SET sellable_variants = sellable_variants + change
        WHERE id = (
            SELECT product_id FROM variant WHERE id = COALESCE(NEW.variant_id, OLD.variant_id) AND deleted_at IS NULL
        );
    END IF;
    RETURN NULL;
END $$
"""

# Deleting a variant takes it out of the count, in the same way. The level is locked: a movement under way commits
# first and has counted, one to come finds the variant deleted.
COUNT_DELETED = """
CREATE FUNCTION commerce_count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sellable boolean;
BEGIN
    SELECT policy = 'ignore' OR allow_backorder OR on_hand > reserved INTO sellable
    FROM stock_level WHERE variant_id = NEW.id FOR UPDATE;
    IF sellable THEN
        UPDATE product SET sellable_variants = sellable_variants + CASE WHEN NEW.deleted_at IS NULL THEN 1 ELSE -1 END
        WHERE id = NEW.product_id;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sellable_deleted AFTER UPDATE ON variant
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.deleted_at IS NULL) IS DISTINCT FROM (NEW.deleted_at IS NULL))
    EXECUTE FUNCTION commerce_count_deleted()
"""

COUNT_ANEW = """
UPDATE product SET sellable_variants = (
    SELECT count(*) FROM stock_level JOIN variant ON variant.id = variant_id
    WHERE product_id = product.id AND variant.deleted_at IS NULL
      AND (policy = 'ignore' OR allow_backorder OR on_hand > reserved)
)
WHERE id IN (SELECT product_id FROM variant WHERE deleted_at IS NOT NULL)
"""


def upgrade() -> None:
    for table in VERSIONED:
        op.add_column(table, sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("product", sa.Column("tax_class", sa.Text(), server_default="standard", nullable=False))
    op.create_check_constraint(op.f("ck_product_tax_class"), "product", "char_length(tax_class) BETWEEN 1 AND 50")
    op.execute(COUNT_SELLABLE)
    op.execute(COUNT_DELETED)
    op.execute(COUNT_ANEW)


def downgrade() -> None:
    op.execute("DROP TRIGGER sellable_deleted ON variant")
    op.execute("DROP FUNCTION commerce_count_deleted()")
    op.drop_column("product", "tax_class")
    for table in VERSIONED:
        op.drop_column(table, "version")
