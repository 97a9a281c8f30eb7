"""Orders know their customer's language"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("locale", sa.Text(), nullable=False, server_default="en_US"))


def downgrade() -> None:
    op.drop_column("orders", "locale")
