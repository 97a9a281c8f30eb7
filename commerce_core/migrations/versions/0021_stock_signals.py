"""What is low, out and back"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What is low or out already is no news.
KNOWN = """
INSERT INTO stock_signal (variant_id, state)
SELECT variant_id, CASE WHEN on_hand <= reserved THEN 'out' ELSE 'low' END
FROM stock_level WHERE policy = 'track' AND on_hand - reserved <= greatest(low_stock_threshold, 0)
"""


def upgrade() -> None:
    op.create_table(
        "stock_signal",
        sa.Column("variant_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('in', 'low', 'out')", name=op.f("ck_stock_signal_state")),
        sa.ForeignKeyConstraint(
            ["variant_id"], ["variant.id"], name=op.f("fk_stock_signal_variant_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("variant_id", name=op.f("pk_stock_signal")),
    )
    op.execute(KNOWN)


def downgrade() -> None:
    op.drop_table("stock_signal")
