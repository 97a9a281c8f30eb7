"""Traffic, hosts, alerts and maintenance"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "traffic_minute",
        sa.Column("minute", TIME, nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "bucket", name=op.f("pk_traffic_minute")),
    )
    op.create_table(
        "host_state",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("host", "what", name=op.f("pk_host_state")),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("fired_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("good_checks", sa.SmallInteger(), nullable=False),
        sa.Column("recovered_at", TIME, nullable=True),
        sa.Column("told", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("severity IN ('critical', 'error', 'warning')", name=op.f("ck_alert_severity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    op.create_index(
        "uq_alert_open",
        "alert",
        ["rule", "subject"],
        unique=True,
        postgresql_where=sa.text("recovered_at IS NULL"),
    )
    op.create_table(
        "maintenance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_maintenance_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_maintenance")),
    )


def downgrade() -> None:
    op.drop_table("maintenance")
    op.drop_index("uq_alert_open", table_name="alert")
    op.drop_table("alert")
    op.drop_table("host_state")
    op.drop_table("traffic_minute")
