"""The first schema: accounts, catalogue, stock, orders, payments"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# What a guest may see: the partial indexes of `product`.
VISIBLE = "status = 'active' AND deleted_at IS NULL AND published_at IS NOT NULL AND price_amount IS NOT NULL"

# The ledger and the history of an order can be added to, and nothing else.
APPEND_ONLY = """
CREATE FUNCTION commerce_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON stock_movement
    FOR EACH ROW EXECUTE FUNCTION commerce_refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON stock_movement
    FOR EACH STATEMENT EXECUTE FUNCTION commerce_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON order_event
    FOR EACH ROW EXECUTE FUNCTION commerce_refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON order_event
    FOR EACH STATEMENT EXECUTE FUNCTION commerce_refuse_change();
"""

# product.sellable_variants counts the variants that can be bought now, in the transaction that moves their stock. It
# is written only when a level crosses zero, and at commit (deferred), when every level has been locked already: so a
# hold never waits for a product row while another waits for its level.
SELLABLE_VARIANTS = """
CREATE FUNCTION commerce_count_sellable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change integer := 0;
BEGIN
    IF TG_OP <> 'INSERT' AND (OLD.policy = 'ignore' OR OLD.allow_backorder OR OLD.on_hand > OLD.reserved) THEN
        change := change - 1;
    END IF;
    IF TG_OP <> 'DELETE' AND (NEW.policy = 'ignore' OR NEW.allow_backorder OR NEW.on_hand > NEW.reserved) THEN
        change := change + 1;
    END IF;
    IF change <> 0 THEN
        UPDATE product SET sellable_variants = sellable_variants + change
        WHERE id = (SELECT product_id FROM variant WHERE id = COALESCE(NEW.variant_id, OLD.variant_id));
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sellable_added_or_removed AFTER INSERT OR DELETE ON stock_level
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commerce_count_sellable();
CREATE CONSTRAINT TRIGGER sellable_changed AFTER UPDATE ON stock_level
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.policy = 'ignore' OR OLD.allow_backorder OR OLD.on_hand > OLD.reserved)
        IS DISTINCT FROM (NEW.policy = 'ignore' OR NEW.allow_backorder OR NEW.on_hand > NEW.reserved))
    EXECUTE FUNCTION commerce_count_sellable();
"""


def upgrade() -> None:
    op.create_table(
        "brand",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brand")),
        sa.UniqueConstraint("slug", name=op.f("uq_brand_slug")),
    )
    op.create_table(
        "category",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("parent_id", sa.UUID(), nullable=True),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["category.id"], name=op.f("fk_category_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_category")),
        sa.UniqueConstraint("slug", name=op.f("uq_category_slug")),
    )
    op.create_index(op.f("ix_category_parent_id"), "category", ["parent_id"], unique=False)
    op.create_table(
        "idempotency_key",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "stock_movement",
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("on_hand_delta", sa.Integer(), nullable=False),
        sa.Column("reserved_delta", sa.Integer(), nullable=False),
        sa.Column("on_hand_after", sa.Integer(), nullable=False),
        sa.Column("reserved_after", sa.Integer(), nullable=False),
        sa.Column("hold_id", sa.UUID(), nullable=True),
        sa.Column("order_id", sa.UUID(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('receive', 'adjust', 'hold', 'release', 'expire', 'sale', 'return', 'damage')",
            name=op.f("ck_stock_movement_kind"),
        ),
        sa.PrimaryKeyConstraint("variant_id", "version", name=op.f("pk_stock_movement")),
    )
    op.create_index(
        "ix_stock_movement_order_id",
        "stock_movement",
        ["order_id"],
        unique=False,
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "uq_stock_movement_hold_end",
        "stock_movement",
        ["hold_id"],
        unique=True,
        postgresql_where=sa.text("kind IN ('release', 'expire', 'sale')"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('customer', 'staff', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "webhook_event",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=True),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("processed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('received', 'processed', 'ignored', 'unmatched', 'dead')",
            name=op.f("ck_webhook_event_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_event")),
        sa.UniqueConstraint("provider", "event_id", name=op.f("uq_webhook_event_provider_event_id")),
    )
    op.create_index(
        "ix_webhook_event_open",
        "webhook_event",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('received', 'unmatched')"),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("device_name", sa.Text(), nullable=False),
        sa.Column("abilities", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_token_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_index(op.f("ix_api_token_user_id"), "api_token", ["user_id"], unique=False)
    op.create_table(
        "product",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="draft", nullable=False),
        sa.Column("category_id", sa.UUID(), nullable=True),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("images", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("is_featured", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("popularity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("price_amount", sa.BigInteger(), nullable=True),
        sa.Column("compare_at_amount", sa.BigInteger(), nullable=True),
        sa.Column("price_min", sa.BigInteger(), nullable=True),
        sa.Column("price_max", sa.BigInteger(), nullable=True),
        sa.Column("variant_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("facets", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("sellable_variants", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("status IN ('draft', 'active', 'archived')", name=op.f("ck_product_status")),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_product_brand_id")),
        sa.ForeignKeyConstraint(["category_id"], ["category.id"], name=op.f("fk_product_category_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("slug", name=op.f("uq_product_slug")),
    )
    op.create_index(
        "ix_product_brand",
        "product",
        ["brand_id", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_include=["category_id", "price_amount", "popularity", "is_featured", "sellable_variants"],
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_index(
        "ix_product_category",
        "product",
        ["category_id", sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_include=["brand_id", "price_amount", "popularity", "is_featured", "sellable_variants"],
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_index(
        "ix_product_facets",
        "product",
        ["facets"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"facets": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_product_featured",
        "product",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text(f"is_featured AND {VISIBLE}"),
    )
    op.create_index(
        "ix_product_in_stock",
        "product",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text(f"sellable_variants > 0 AND {VISIBLE}"),
    )
    op.create_index(
        "ix_product_name",
        "product",
        [sa.literal_column("lower(name)"), "id"],
        unique=False,
        postgresql_include=[
            "name",
            "category_id",
            "brand_id",
            "price_amount",
            "published_at",
            "popularity",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_index(
        "ix_product_newest",
        "product",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_index(
        "ix_product_popular",
        "product",
        [sa.literal_column("popularity DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_include=[
            "category_id",
            "brand_id",
            "price_amount",
            "published_at",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_index(
        "ix_product_price",
        "product",
        ["price_amount", "id"],
        unique=False,
        postgresql_include=[
            "category_id",
            "brand_id",
            "published_at",
            "popularity",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.create_table(
        "variant",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("product_id", sa.UUID(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("price_amount", sa.BigInteger(), nullable=False),
        sa.Column("compare_at_amount", sa.BigInteger(), nullable=True),
        sa.Column("cost_amount", sa.BigInteger(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("weight_grams", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("price_amount >= 0", name=op.f("ck_variant_price_not_negative")),
        sa.ForeignKeyConstraint(["product_id"], ["product.id"], name=op.f("fk_variant_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variant")),
        sa.UniqueConstraint("sku", name=op.f("uq_variant_sku")),
    )
    op.create_index("ix_variant_product_id", "variant", ["product_id", "position", "id"], unique=False)
    op.create_index(
        "uq_variant_default",
        "variant",
        ["product_id"],
        unique=True,
        postgresql_where=sa.text("is_default AND deleted_at IS NULL"),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("extensions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("order_id", sa.UUID(), nullable=True),
        sa.Column("sold_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("awaiting_stock", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("sold_at IS NULL OR state = 'converted'", name=op.f("ck_hold_sold_means_converted")),
        sa.CheckConstraint("state IN ('active', 'converted', 'released', 'expired')", name=op.f("ck_hold_state")),
        sa.CheckConstraint("quantity > 0 AND reserved IN (0, quantity)", name=op.f("ck_hold_quantity")),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_hold_variant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
    )
    op.create_index(
        "ix_hold_awaiting_stock",
        "hold",
        ["variant_id", "id"],
        unique=False,
        postgresql_where=sa.text("awaiting_stock AND sold_at IS NULL AND state = 'converted'"),
    )
    op.create_index("ix_hold_due", "hold", ["expires_at"], unique=False, postgresql_where=sa.text("state = 'active'"))
    op.create_index(
        "ix_hold_expiry",
        "hold",
        ["variant_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index(
        "ix_hold_order_id",
        "hold",
        ["order_id"],
        unique=False,
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "ix_hold_owner", "hold", ["owner", "id"], unique=False, postgresql_where=sa.text("owner IS NOT NULL")
    )
    op.create_table(
        "stock_level",
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("on_hand", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reserved", sa.Integer(), server_default="0", nullable=False),
        sa.Column("low_stock_threshold", sa.Integer(), server_default="5", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("policy", sa.Text(), server_default="track", nullable=False),
        sa.Column("allow_backorder", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("policy IN ('track', 'ignore')", name=op.f("ck_stock_level_policy")),
        sa.CheckConstraint("allow_backorder OR reserved <= on_hand", name=op.f("ck_stock_level_not_oversold")),
        sa.CheckConstraint("on_hand >= 0 AND reserved >= 0", name=op.f("ck_stock_level_not_negative")),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_stock_level_variant_id")),
        sa.PrimaryKeyConstraint("variant_id", name=op.f("pk_stock_level")),
        postgresql_with={
            "fillfactor": "50",
            "autovacuum_vacuum_scale_factor": "0.0",
            "autovacuum_vacuum_threshold": "1000",
        },
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("hold_id", sa.UUID(), nullable=True),
        sa.Column("cart_id", sa.UUID(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payment_status", sa.Text(), nullable=False),
        sa.Column("fulfillment_status", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("subtotal", sa.BigInteger(), nullable=False),
        sa.Column("discount_total", sa.BigInteger(), nullable=False),
        sa.Column("shipping_total", sa.BigInteger(), nullable=False),
        sa.Column("tax_total", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("customer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("shipping_address", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("billing_address", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("paid_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancelled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "fulfillment_status IN ('unfulfilled', 'partial', 'fulfilled', 'returned')",
            name=op.f("ck_orders_fulfillment_status"),
        ),
        sa.CheckConstraint(
            "payment_status IN ('unpaid', 'pending', 'paid', 'failed', 'partially_refunded', 'refunded')",
            name=op.f("ck_orders_payment_status"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'cancelled')", name=op.f("ck_orders_status")
        ),
        sa.CheckConstraint(
            "subtotal >= 0 AND discount_total >= 0 AND shipping_total >= 0 AND tax_total >= 0 AND total >= 0",
            name=op.f("ck_orders_money_not_negative"),
        ),
        sa.CheckConstraint(
            "total = subtotal - discount_total + shipping_total + tax_total",
            name=op.f("ck_orders_totals_add_up"),
        ),
        sa.ForeignKeyConstraint(["hold_id"], ["hold.id"], name=op.f("fk_orders_hold_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("cart_id", name=op.f("uq_orders_cart_id")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_orders_hold_id")),
        sa.UniqueConstraint("number", name=op.f("uq_orders_number")),
    )
    op.create_index(
        "ix_orders_owner",
        "orders",
        ["owner", "id"],
        unique=False,
        postgresql_where=sa.text("owner IS NOT NULL"),
    )
    op.create_index(
        "ix_orders_unpaid",
        "orders",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "order_adjustment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("trace", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_adjustment_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_adjustment")),
    )
    op.create_index(op.f("ix_order_adjustment_order_id"), "order_adjustment", ["order_id"], unique=False)
    op.create_table(
        "order_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_event_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_event")),
    )
    op.create_index(op.f("ix_order_event_order_id"), "order_event", ["order_id"], unique=False)
    op.create_table(
        "order_line",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("hold_id", sa.UUID(), nullable=True),
        sa.Column("product_name", sa.Text(), nullable=False),
        sa.Column("variant_name", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0 AND total = unit_price * quantity", name=op.f("ck_order_line_total")),
        sa.ForeignKeyConstraint(["hold_id"], ["hold.id"], name=op.f("fk_order_line_hold_id")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_line_order_id")),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_order_line_variant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_line")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_order_line_hold_id")),
    )
    op.create_index(op.f("ix_order_line_order_id"), "order_line", ["order_id"], unique=False)
    op.create_index(op.f("ix_order_line_variant_id"), "order_line", ["variant_id"], unique=False)
    op.create_table(
        "payment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("paid_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'paid', 'failed', 'cancelled', 'refunded')", name=op.f("ck_payment_status")
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_payment_amount_not_negative")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_payment_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        sa.UniqueConstraint("provider", "provider_reference", name=op.f("uq_payment_provider_provider_reference")),
    )
    op.create_index(op.f("ix_payment_order_id"), "payment", ["order_id"], unique=False)
    op.create_index(
        "uq_payment_open",
        "payment",
        ["order_id", "provider"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "refund",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("provider_reference", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name=op.f("ck_refund_status")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refund_amount_positive")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_refund_order_id")),
        sa.ForeignKeyConstraint(["payment_id"], ["payment.id"], name=op.f("fk_refund_payment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
    )
    op.create_index(op.f("ix_refund_order_id"), "refund", ["order_id"], unique=False)
    op.create_index(op.f("ix_refund_payment_id"), "refund", ["payment_id"], unique=False)
    op.execute(APPEND_ONLY)
    op.execute(SELLABLE_VARIANTS)


def downgrade() -> None:
    op.execute("DROP TRIGGER sellable_changed ON stock_level")
    op.execute("DROP TRIGGER sellable_added_or_removed ON stock_level")
    op.execute("DROP FUNCTION commerce_count_sellable")
    op.drop_index(op.f("ix_refund_payment_id"), table_name="refund")
    op.drop_index(op.f("ix_refund_order_id"), table_name="refund")
    op.drop_table("refund")
    op.drop_index("uq_payment_open", table_name="payment", postgresql_where=sa.text("status = 'pending'"))
    op.drop_index(op.f("ix_payment_order_id"), table_name="payment")
    op.drop_table("payment")
    op.drop_index(op.f("ix_order_line_variant_id"), table_name="order_line")
    op.drop_index(op.f("ix_order_line_order_id"), table_name="order_line")
    op.drop_table("order_line")
    op.drop_index(op.f("ix_order_event_order_id"), table_name="order_event")
    op.drop_table("order_event")
    op.drop_index(op.f("ix_order_adjustment_order_id"), table_name="order_adjustment")
    op.drop_table("order_adjustment")
    op.drop_index("ix_orders_unpaid", table_name="orders", postgresql_where=sa.text("status = 'pending'"))
    op.drop_index("ix_orders_owner", table_name="orders", postgresql_where=sa.text("owner IS NOT NULL"))
    op.drop_table("orders")
    op.drop_table("stock_level")
    op.drop_index("ix_hold_owner", table_name="hold", postgresql_where=sa.text("owner IS NOT NULL"))
    op.drop_index("ix_hold_order_id", table_name="hold", postgresql_where=sa.text("order_id IS NOT NULL"))
    op.drop_index("ix_hold_expiry", table_name="hold", postgresql_where=sa.text("state = 'active'"))
    op.drop_index("ix_hold_due", table_name="hold", postgresql_where=sa.text("state = 'active'"))
    op.drop_index(
        "ix_hold_awaiting_stock",
        table_name="hold",
        postgresql_where=sa.text("awaiting_stock AND sold_at IS NULL AND state = 'converted'"),
    )
    op.drop_table("hold")
    op.drop_index(
        "uq_variant_default",
        table_name="variant",
        postgresql_where=sa.text("is_default AND deleted_at IS NULL"),
    )
    op.drop_index("ix_variant_product_id", table_name="variant")
    op.drop_table("variant")
    op.drop_index(
        "ix_product_price",
        table_name="product",
        postgresql_include=[
            "category_id",
            "brand_id",
            "published_at",
            "popularity",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_index(
        "ix_product_popular",
        table_name="product",
        postgresql_include=[
            "category_id",
            "brand_id",
            "price_amount",
            "published_at",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_index(
        "ix_product_newest",
        table_name="product",
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_index(
        "ix_product_name",
        table_name="product",
        postgresql_include=[
            "name",
            "category_id",
            "brand_id",
            "price_amount",
            "published_at",
            "popularity",
            "is_featured",
            "sellable_variants",
        ],
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_index(
        "ix_product_in_stock",
        table_name="product",
        postgresql_where=sa.text(f"sellable_variants > 0 AND {VISIBLE}"),
    )
    op.drop_index(
        "ix_product_featured",
        table_name="product",
        postgresql_where=sa.text(f"is_featured AND {VISIBLE}"),
    )
    op.drop_index(
        "ix_product_facets",
        table_name="product",
        postgresql_using="gin",
        postgresql_ops={"facets": "jsonb_path_ops"},
    )
    op.drop_index(
        "ix_product_category",
        table_name="product",
        postgresql_include=["brand_id", "price_amount", "popularity", "is_featured", "sellable_variants"],
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_index(
        "ix_product_brand",
        table_name="product",
        postgresql_include=["category_id", "price_amount", "popularity", "is_featured", "sellable_variants"],
        postgresql_where=sa.text(VISIBLE),
    )
    op.drop_table("product")
    op.drop_index(op.f("ix_api_token_user_id"), table_name="api_token")
    op.drop_table("api_token")
    op.drop_index(
        "ix_webhook_event_open",
        table_name="webhook_event",
        postgresql_where=sa.text("state IN ('received', 'unmatched')"),
    )
    op.drop_table("webhook_event")
    op.drop_index("uq_users_email", table_name="users")
    op.drop_table("users")
    op.drop_index(
        "uq_stock_movement_hold_end",
        table_name="stock_movement",
        postgresql_where=sa.text("kind IN ('release', 'expire', 'sale')"),
    )
    op.drop_index(
        "ix_stock_movement_order_id",
        table_name="stock_movement",
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.drop_table("stock_movement")
    op.drop_index("ix_idempotency_key_created_at", table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_index(op.f("ix_category_parent_id"), table_name="category")
    op.drop_table("category")
    op.drop_table("brand")
    op.execute("DROP FUNCTION commerce_refuse_change")
