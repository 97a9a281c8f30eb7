"""Products that sell out in one transaction are locked in one order, so that their counting never deadlocks"""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

CROSSES = """
    (OLD.policy = 'ignore' OR OLD.allow_backorder OR OLD.on_hand > OLD.reserved)
    IS DISTINCT FROM (NEW.policy = 'ignore' OR NEW.allow_backorder OR NEW.on_hand > NEW.reserved)"""

# product.sellable_variants is written at commit, in the order in which levels have crossed zero, and levels are locked
# by variant. Two orders of two products each, one variant of each, may cross: each would lock the products in another
# order. So what crosses zero is noted for the rest of the transaction (a savepoint takes it back), and at commit those
# products are locked by ascending id, before the first of them is written: triggers fire in the order of their names.
# A transaction that moves more than a thousand levels over zero is no order: the rest is not noted.
FUNCTIONS = """
CREATE FUNCTION commerce_note_crossing() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    noted text := coalesce(current_setting('commerce.crossing', true), '');
BEGIN
    IF length(noted) < 37000 AND current_setting('commerce.counts_sellable', true) IS DISTINCT FROM 'off' THEN
        PERFORM set_config('commerce.crossing', concat_ws(',', nullif(noted, ''), NEW.variant_id), true);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION commerce_lock_products() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    noted text := current_setting('commerce.crossing', true);
BEGIN
    IF noted LIKE '%,%' THEN
        PERFORM FROM product WHERE id IN (
            SELECT product_id FROM variant WHERE id = ANY (string_to_array(noted, ',')::uuid[])
        ) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    PERFORM set_config('commerce.crossing', '', true);
    RETURN NULL;
END $$;
"""

TRIGGERS = f"""
CREATE TRIGGER crossing_noted AFTER UPDATE ON stock_level
    FOR EACH ROW WHEN ({CROSSES}) EXECUTE FUNCTION commerce_note_crossing();
CREATE CONSTRAINT TRIGGER crossing_products_locked AFTER UPDATE ON stock_level
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN ({CROSSES}) EXECUTE FUNCTION commerce_lock_products();
"""


def upgrade() -> None:
    op.execute(FUNCTIONS)
    op.execute(TRIGGERS)


def downgrade() -> None:
    op.execute("DROP TRIGGER crossing_products_locked ON stock_level")
    op.execute("DROP TRIGGER crossing_noted ON stock_level")
    op.execute("DROP FUNCTION commerce_lock_products()")
    op.execute("DROP FUNCTION commerce_note_crossing()")
