"""First tables"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "pricing_change",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_change")),
    )
    op.create_index("ix_pricing_change_subject", "pricing_change", ["subject", "id"], unique=False)
    op.create_table(
        "pricing_coupon",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("usage_limit", sa.Integer(), nullable=True),
        sa.Column("usage_limit_per_customer", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("code = upper(code)", name=op.f("ck_pricing_coupon_code_is_in_upper_case")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_pricing_coupon_ends_after_it_starts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_coupon")),
        sa.UniqueConstraint("code", name=op.f("uq_pricing_coupon_code")),
    )
    op.create_index(
        "ix_pricing_coupon_campaign",
        "pricing_coupon",
        ["campaign", "id"],
        unique=False,
        postgresql_where=sa.text("campaign IS NOT NULL"),
    )
    op.create_table(
        "pricing_limit",
        sa.Column("subject_id", sa.UUID(), nullable=False),
        sa.Column("usage_limit", sa.Integer(), nullable=True),
        sa.Column("usage_limit_per_customer", sa.Integer(), nullable=True),
        sa.Column("budget_amount", sa.BigInteger(), nullable=True),
        sa.Column("budget_currency", sa.String(length=3), nullable=True),
        sa.Column("uses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_pricing_limit")),
    )
    op.create_table(
        "pricing_list",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_pricing_list_ends_after_it_starts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_list")),
    )
    op.create_table(
        "pricing_rule",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("stackable", sa.Boolean(), nullable=False),
        sa.Column("exclusive_group", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("scope", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("conditions", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("modifiers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("usage_limit", sa.Integer(), nullable=True),
        sa.Column("usage_limit_per_customer", sa.Integer(), nullable=True),
        sa.Column("budget_amount", sa.BigInteger(), nullable=True),
        sa.Column("budget_currency", sa.String(length=3), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("(budget_amount IS NULL) = (budget_currency IS NULL)", name=op.f("ck_pricing_rule_budget")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_pricing_rule_ends_after_it_starts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_rule")),
    )
    op.create_index(
        "ix_pricing_rule_active",
        "pricing_rule",
        ["id"],
        unique=False,
        postgresql_where=sa.text("active AND deleted_at IS NULL"),
    )
    op.create_table(
        "pricing_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.UUID(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_pricing_state_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_state")),
    )
    op.create_table(
        "pricing_list_price",
        sa.Column("list_id", sa.UUID(), nullable=False),
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("from_quantity", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_pricing_list_price_amount")),
        sa.CheckConstraint("from_quantity >= 1", name=op.f("ck_pricing_list_price_from_quantity")),
        sa.ForeignKeyConstraint(
            ["list_id"], ["pricing_list.id"], name=op.f("fk_pricing_list_price_list_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["variant_id"], ["variant.id"], name=op.f("fk_pricing_list_price_variant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("list_id", "variant_id", "from_quantity", name=op.f("pk_pricing_list_price")),
    )
    op.create_index(op.f("ix_pricing_list_price_variant_id"), "pricing_list_price", ["variant_id"], unique=False)
    op.create_table(
        "pricing_use",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("released_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("collected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("kind IN ('rule', 'coupon')", name=op.f("ck_pricing_use_kind")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_pricing_use_order_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_pricing_use_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pricing_use")),
        sa.UniqueConstraint("order_id", "subject_id", name=op.f("uq_pricing_use_order_id_subject_id")),
    )
    op.create_index(
        "ix_pricing_use_of_customer",
        "pricing_use",
        ["subject_id", "user_id"],
        unique=False,
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_index(
        "ix_pricing_use_to_collect",
        "pricing_use",
        ["subject_id"],
        unique=False,
        postgresql_where=sa.text("released_at IS NOT NULL AND NOT collected"),
    )
    op.create_index(op.f("ix_pricing_use_user_id"), "pricing_use", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_pricing_use_user_id"), table_name="pricing_use")
    op.drop_index(
        "ix_pricing_use_to_collect",
        table_name="pricing_use",
        postgresql_where=sa.text("released_at IS NOT NULL AND NOT collected"),
    )
    op.drop_index(
        "ix_pricing_use_of_customer", table_name="pricing_use", postgresql_where=sa.text("released_at IS NULL")
    )
    op.drop_table("pricing_use")
    op.drop_index(op.f("ix_pricing_list_price_variant_id"), table_name="pricing_list_price")
    op.drop_table("pricing_list_price")
    op.drop_table("pricing_state")
    op.drop_index(
        "ix_pricing_rule_active", table_name="pricing_rule", postgresql_where=sa.text("active AND deleted_at IS NULL")
    )
    op.drop_table("pricing_rule")
    op.drop_table("pricing_list")
    op.drop_table("pricing_limit")
    op.drop_index(
        "ix_pricing_coupon_campaign", table_name="pricing_coupon", postgresql_where=sa.text("campaign IS NOT NULL")
    )
    op.drop_table("pricing_coupon")
    op.drop_index("ix_pricing_change_subject", table_name="pricing_change")
    op.drop_table("pricing_change")
