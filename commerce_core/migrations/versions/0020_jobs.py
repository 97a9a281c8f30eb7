"""Jobs"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0020"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "job_batch",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("dead", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("then", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_batch")),
    )
    op.create_table(
        "job_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_message")),
        prefixes=["UNLOGGED"],
    )
    op.create_index("ix_job_message_next", "job_message", ["queue", sa.text("priority DESC"), "id"], unique=False)
    op.create_table(
        "job_periodic",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_run_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_periodic")),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("run_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("lane", sa.Text(), nullable=True),
        sa.Column("rate_key", sa.Text(), nullable=True),
        sa.Column("waits_for", sa.UUID(), nullable=True),
        sa.Column("batch_id", sa.UUID(), nullable=True),
        sa.Column("carried_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("heartbeat_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("assigned_to", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'running') = (worker IS NOT NULL)", name=op.f("ck_job_running_has_a_worker")),
        sa.CheckConstraint("queue IN ('critical', 'default', 'low')", name=op.f("ck_job_queue")),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'dead', 'resolved', 'ignored', 'cancelled')",
            name=op.f("ck_job_state"),
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["job_batch.id"], name=op.f("fk_job_batch_id")),
        sa.ForeignKeyConstraint(["waits_for"], ["job.id"], name=op.f("fk_job_waits_for")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index("ix_job_batch", "job", ["batch_id"], unique=False, postgresql_where=sa.text("batch_id IS NOT NULL"))
    op.create_index(
        "ix_job_due",
        "job",
        ["run_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting' AND waits_for IS NULL"),
    )
    op.create_index(
        "ix_job_finished", "job", ["finished_at"], unique=False, postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_index(
        "ix_job_rate", "job", ["rate_key", "started_at"], unique=False, postgresql_where=sa.text("rate_key IS NOT NULL")
    )
    op.create_index(
        "ix_job_running", "job", ["heartbeat_at"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_index("ix_job_state", "job", ["state", "id"], unique=False)
    op.create_index(
        "ix_job_waits_for", "job", ["waits_for"], unique=False, postgresql_where=sa.text("waits_for IS NOT NULL")
    )
    op.create_index("uq_job_lane", "job", ["lane"], unique=True, postgresql_where=sa.text("state = 'running'"))
    op.create_index(
        "uq_job_unique_key", "job", ["unique_key"], unique=True, postgresql_where=sa.text("state = 'waiting'")
    )


def downgrade() -> None:
    for table in ("job", "job_batch", "job_message", "job_periodic"):
        op.drop_table(table)
