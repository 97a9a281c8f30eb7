"""Carts"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACTIVE = sa.text("state = 'active'")
CLOSED = sa.text("state IN ('merged', 'expired')")


def upgrade() -> None:
    op.create_table(
        "cart",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("coupons", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('active', 'ordered', 'merged', 'expired')", name=op.f("ck_cart_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cart")),
    )
    op.create_index("uq_cart_active", "cart", ["owner"], unique=True, postgresql_where=ACTIVE)
    op.create_index("ix_cart_due", "cart", ["expires_at"], postgresql_where=ACTIVE)
    op.create_index("ix_cart_owner", "cart", ["owner", "id"])
    op.create_index("ix_cart_closed", "cart", ["updated_at"], postgresql_where=CLOSED)
    op.create_table(
        "cart_line",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("cart_id", sa.UUID(), nullable=False),
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.BigInteger(), nullable=False),
        sa.Column("hold_id", sa.UUID(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_cart_line_quantity")),
        sa.ForeignKeyConstraint(["cart_id"], ["cart.id"], name=op.f("fk_cart_line_cart_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name=op.f("fk_cart_line_variant_id")),
        sa.ForeignKeyConstraint(["hold_id"], ["hold.id"], name=op.f("fk_cart_line_hold_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cart_line")),
        sa.UniqueConstraint("cart_id", "variant_id", name=op.f("uq_cart_line_cart_id_variant_id")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_cart_line_hold_id")),
    )
    op.create_index(op.f("ix_cart_line_variant_id"), "cart_line", ["variant_id"])


def downgrade() -> None:
    op.drop_table("cart_line")
    op.drop_table("cart")
