"""What a cart was last shown to cost"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("cart", sa.Column("seen", JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("cart", "seen")
