"""Fulfillments, refunds by line that providers carry out, and what staff look orders up by"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)
UNITS = ("fulfilled_quantity", "cancelled_quantity", "returned_quantity")
PENDING = sa.text("status = 'pending'")
UNMATCHED = sa.text("state = 'unmatched'")


def upgrade() -> None:
    _orders()
    _order_lines()
    _fulfillments()
    _payments()
    _refunds()
    _webhook_events()


def _orders() -> None:
    op.add_column("orders", sa.Column("staff_note", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("cancel_reason", sa.Text(), nullable=True))
    op.execute("""
        UPDATE orders SET cancel_reason = CASE WHEN EXISTS (
            SELECT FROM order_event WHERE order_id = orders.id AND kind = 'status' AND actor = 'scheduler'
        ) THEN 'expired' ELSE 'cancelled' END WHERE status = 'cancelled'""")
    op.create_check_constraint(op.f("ck_orders_cancel_reason"), "orders", "cancel_reason IN ('cancelled', 'expired')")
    for machine in ("status", "payment_status", "fulfillment_status"):
        op.create_index(f"ix_orders_{machine}", "orders", [machine, "id"])
    op.create_index("ix_orders_created_at", "orders", ["created_at"])
    op.create_index("ix_orders_email", "orders", [sa.text("lower(customer ->> 'email')"), "id"])


def _order_lines() -> None:
    for column in UNITS:
        op.add_column("order_line", sa.Column(column, sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("ck_order_line_units"),
        "order_line",
        "fulfilled_quantity >= 0 AND cancelled_quantity >= 0"
        " AND fulfilled_quantity + cancelled_quantity <= quantity"
        " AND returned_quantity >= 0 AND returned_quantity <= fulfilled_quantity",
    )
    op.create_index(op.f("ix_order_line_sku"), "order_line", ["sku"])


def _fulfillments() -> None:
    op.create_table(
        "fulfillment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("tracking_url", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("cancelled_at", TIME, nullable=True),
        sa.CheckConstraint("status IN ('shipped', 'cancelled')", name=op.f("ck_fulfillment_status")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_fulfillment_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fulfillment")),
    )
    op.create_index(op.f("ix_fulfillment_order_id"), "fulfillment", ["order_id"])
    op.create_table(
        "fulfillment_line",
        sa.Column("fulfillment_id", sa.UUID(), nullable=False),
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_fulfillment_line_quantity")),
        sa.ForeignKeyConstraint(
            ["fulfillment_id"], ["fulfillment.id"], name=op.f("fk_fulfillment_line_fulfillment_id")
        ),
        sa.ForeignKeyConstraint(["line_id"], ["order_line.id"], name=op.f("fk_fulfillment_line_line_id")),
        sa.PrimaryKeyConstraint("fulfillment_id", "line_id", name=op.f("pk_fulfillment_line")),
    )
    op.create_index(op.f("ix_fulfillment_line_line_id"), "fulfillment_line", ["line_id"])


def _payments() -> None:
    op.add_column("payment", sa.Column("refund_total", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("payment", sa.Column("surplus", sa.Boolean(), server_default="false", nullable=False))
    op.execute("""
        UPDATE payment SET refund_total = owed.amount
        FROM (SELECT payment_id, sum(amount) AS amount FROM refund GROUP BY payment_id) AS owed
        WHERE owed.payment_id = payment.id""")
    op.create_check_constraint(
        op.f("ck_payment_refund_total"), "payment", "refund_total >= 0 AND refund_total <= amount"
    )
    op.create_index(
        "uq_payment_of_order",
        "payment",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('paid', 'refunded') AND NOT surplus"),
    )


def _refunds() -> None:
    op.alter_column("refund", "payment_id", nullable=True)
    op.add_column("refund", sa.Column("shipping_amount", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("refund", sa.Column("error", sa.Text(), nullable=True))
    op.add_column("refund", sa.Column("round", sa.Integer(), server_default="0", nullable=False))
    op.add_column("refund", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    op.add_column("refund", sa.Column("next_attempt_at", TIME, nullable=True))
    op.execute("UPDATE refund SET next_attempt_at = created_at WHERE status = 'pending'")
    op.drop_constraint(op.f("ck_refund_amount_positive"), "refund")
    op.create_check_constraint(
        op.f("ck_refund_amount"), "refund", "amount >= 0 AND (amount = 0 OR payment_id IS NOT NULL)"
    )
    op.create_check_constraint(
        op.f("ck_refund_shipping_amount"), "refund", "shipping_amount >= 0 AND shipping_amount <= amount"
    )
    op.create_check_constraint(
        op.f("ck_refund_next_attempt_at"), "refund", "next_attempt_at IS NULL OR status = 'pending'"
    )
    op.create_index("ix_refund_due", "refund", ["next_attempt_at"], postgresql_where=PENDING)
    op.create_index("ix_refund_status", "refund", ["status", "id"])
    op.create_table(
        "refund_line",
        sa.Column("refund_id", sa.UUID(), nullable=False),
        sa.Column("line_id", sa.UUID(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("restocked_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("released_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("quantity > 0 AND amount >= 0", name=op.f("ck_refund_line_quantity")),
        sa.CheckConstraint(
            "restocked_quantity >= 0 AND released_quantity >= 0 AND restocked_quantity + released_quantity <= quantity",
            name=op.f("ck_refund_line_units"),
        ),
        sa.ForeignKeyConstraint(["refund_id"], ["refund.id"], name=op.f("fk_refund_line_refund_id")),
        sa.ForeignKeyConstraint(["line_id"], ["order_line.id"], name=op.f("fk_refund_line_line_id")),
        sa.PrimaryKeyConstraint("refund_id", "line_id", name=op.f("pk_refund_line")),
    )
    op.create_index(op.f("ix_refund_line_line_id"), "refund_line", ["line_id"])


def _webhook_events() -> None:
    op.add_column("webhook_event", sa.Column("next_attempt_at", TIME, nullable=True))
    op.execute("UPDATE webhook_event SET next_attempt_at = received_at WHERE state = 'unmatched'")
    op.drop_index("ix_webhook_event_open", "webhook_event")
    op.create_index("ix_webhook_event_due", "webhook_event", ["next_attempt_at"], postgresql_where=UNMATCHED)
    op.create_index("ix_webhook_event_state", "webhook_event", ["state", "id"])


def downgrade() -> None:
    op.drop_index("ix_webhook_event_state", "webhook_event")
    op.drop_index("ix_webhook_event_due", "webhook_event")
    op.create_index(
        "ix_webhook_event_open",
        "webhook_event",
        ["received_at"],
        postgresql_where=sa.text("state IN ('received', 'unmatched')"),
    )
    op.drop_column("webhook_event", "next_attempt_at")
    op.drop_table("refund_line")
    op.drop_index("ix_refund_status", "refund")
    op.execute("DELETE FROM refund WHERE amount = 0")  # without a meaning before; no money is forgotten
    for column in ("next_attempt_at", "attempts", "round", "error", "shipping_amount"):
        op.drop_column("refund", column)
    op.drop_constraint(op.f("ck_refund_amount"), "refund")
    op.create_check_constraint(op.f("ck_refund_amount_positive"), "refund", "amount > 0")
    op.alter_column("refund", "payment_id", nullable=False)
    op.drop_column("payment", "surplus")
    op.drop_column("payment", "refund_total")
    op.drop_table("fulfillment_line")
    op.drop_table("fulfillment")
    op.drop_index(op.f("ix_order_line_sku"), "order_line")
    for column in UNITS:
        op.drop_column("order_line", column)
    op.drop_index("ix_orders_email", "orders")
    op.drop_index("ix_orders_created_at", "orders")
    for machine in ("status", "payment_status", "fulfillment_status"):
        op.drop_index(f"ix_orders_{machine}", "orders")
    op.drop_column("orders", "cancel_reason")
    op.drop_column("orders", "staff_note")
