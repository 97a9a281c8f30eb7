"""When what differs was made; disputes of invoices"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("stripe_difference", sa.Column("happened_at", postgresql.TIMESTAMP(timezone=True), nullable=True))
    # No earlier than what the daily comparison has looked at.
    op.execute("UPDATE stripe_difference SET happened_at = first_seen_at - interval '3 days'")
    op.alter_column("stripe_difference", "happened_at", nullable=False)
    op.add_column("stripe_invoice", sa.Column("dispute", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("stripe_invoice", "dispute")
    op.drop_column("stripe_difference", "happened_at")
