"""An index of the jobs that wait in a lane"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_job_lane_next",
        "job",
        ["lane", sa.text("priority DESC"), "id"],
        postgresql_where=sa.text("state = 'waiting' AND waits_for IS NULL AND lane IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_job_lane_next", table_name="job")
