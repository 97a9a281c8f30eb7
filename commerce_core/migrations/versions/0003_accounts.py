"""Passwords, registrations, mail"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("users", sa.Column("phone", sa.Text()))
    op.add_column("users", sa.Column("tier", sa.Text()))
    op.add_column("users", sa.Column("password_hash", sa.Text()))
    op.add_column("users", sa.Column("email_verified_at", TIME))
    op.add_column("users", sa.Column("deleted_at", TIME))
    op.create_check_constraint(
        op.f("ck_users_deleted_is_inactive"),
        "users",
        "deleted_at IS NULL OR (NOT is_active AND password_hash IS NULL)",
    )
    for column in ("email", "name"):
        op.create_index(f"ix_users_{column}_prefix", "users", [sa.text(f"lower({column}) text_pattern_ops")])
    op.add_column("api_token", sa.Column("last_used_at", TIME))
    op.create_table(
        "registration",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_registration_token_hash")),
    )
    op.create_index(op.f("ix_registration_expires_at"), "registration", ["expires_at"])
    op.create_table(
        "verification",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.CheckConstraint("kind IN ('password', 'email')", name=op.f("ck_verification_kind")),
        sa.CheckConstraint("(kind = 'email') = (email IS NOT NULL)", name=op.f("ck_verification_email")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_verification_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_verification_token_hash")),
    )
    op.create_index(op.f("ix_verification_user_id"), "verification", ["user_id"])
    op.create_index(op.f("ix_verification_expires_at"), "verification", ["expires_at"])
    op.create_table(
        "mail",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("context", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME, nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name=op.f("ck_mail_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail")),
    )
    op.create_index("ix_mail_due", "mail", ["next_attempt_at"], postgresql_where=sa.text("state = 'waiting'"))
    op.create_index("ix_mail_recipient", "mail", ["recipient", "id"])


def downgrade() -> None:
    op.drop_table("mail")
    op.drop_table("verification")
    op.drop_table("registration")
    op.drop_column("api_token", "last_used_at")
    op.drop_index("ix_users_name_prefix", "users")
    op.drop_index("ix_users_email_prefix", "users")
    op.drop_constraint(op.f("ck_users_deleted_is_inactive"), "users")
    for column in ("deleted_at", "email_verified_at", "password_hash", "tier", "phone"):
        op.drop_column("users", column)
