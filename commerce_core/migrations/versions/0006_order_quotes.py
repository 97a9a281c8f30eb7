"""What a quote says, in the order that was placed on it: fees, tax included or not, discounts and tax by line"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("fee_total", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("orders", sa.Column("prices_include_tax", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("orders", sa.Column("coupons", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("orders", sa.Column("trace", postgresql.JSONB(), server_default="[]", nullable=False))
    op.drop_constraint(op.f("ck_orders_totals_add_up"), "orders")
    op.create_check_constraint(
        op.f("ck_orders_totals_add_up"),
        "orders",
        "total = subtotal - discount_total + shipping_total + fee_total"
        " + CASE WHEN prices_include_tax THEN 0 ELSE tax_total END",
    )
    op.create_foreign_key(op.f("fk_orders_cart_id"), "orders", "cart", ["cart_id"], ["id"])
    op.add_column("order_line", sa.Column("discount_total", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("order_line", sa.Column("tax_total", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("ck_order_line_parts"), "order_line", "discount_total >= 0 AND discount_total <= total AND tax_total >= 0"
    )
    op.add_column("order_adjustment", sa.Column("line_id", sa.UUID(), nullable=True))
    op.add_column("order_adjustment", sa.Column("code", sa.Text(), server_default="", nullable=False))
    op.add_column("order_adjustment", sa.Column("included", sa.Boolean(), server_default="false", nullable=False))
    op.create_foreign_key(op.f("fk_order_adjustment_line_id"), "order_adjustment", "order_line", ["line_id"], ["id"])


def downgrade() -> None:
    op.drop_column("order_adjustment", "included")
    op.drop_column("order_adjustment", "code")
    op.drop_column("order_adjustment", "line_id")
    op.drop_constraint(op.f("ck_order_line_parts"), "order_line")
    op.drop_column("order_line", "tax_total")
    op.drop_column("order_line", "discount_total")
    op.drop_constraint(op.f("fk_orders_cart_id"), "orders")
    op.drop_constraint(op.f("ck_orders_totals_add_up"), "orders")
    op.drop_column("orders", "trace")
    op.drop_column("orders", "coupons")
    op.drop_column("orders", "prices_include_tax")
    op.drop_column("orders", "fee_total")
    op.create_check_constraint(
        op.f("ck_orders_totals_add_up"), "orders", "total = subtotal - discount_total + shipping_total + tax_total"
    )
