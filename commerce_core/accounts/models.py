"""Users, the API tokens they act with, and the codes that wait in their mail.

Of every token and code only the SHA-256 is stored; they are long and random, so that is enough. Passwords are not, and
are hashed with argon2id (passwords.py).
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from commerce_core.database import Base, Id, one_of


class User(Base):
    """A person who signs in: a customer, or a member of staff. (`user` is a reserved word in SQL.)

    Never deleted: who leaves is made anonymous, and `deleted_at` says when.
    """

    __tablename__ = "users"
    __table_args__ = (
        one_of("role", "customer", "staff", "admin"),
        CheckConstraint("deleted_at IS NULL OR (NOT is_active AND password_hash IS NULL)", name="deleted_is_inactive"),
        Index("uq_users_email", text("lower(email)"), unique=True),
    )

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    phone: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text, default="customer")
    # A group of customers, as pricing rules know it.
    tier: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=True)
    password_hash: Mapped[str | None] = mapped_column(Text)
    email_verified_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


# For those who look for a person by the beginning of an address or a name.
for _column in (User.email, User.name):
    Index(
        f"ix_users_{_column.key}_prefix",
        func.lower(_column).label("lowered"),
        postgresql_ops={"lowered": "text_pattern_ops"},
    )


class ApiToken(Base):
    """A bearer token. Only its SHA-256 is stored; the token itself is shown once."""

    __tablename__ = "api_token"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    device_name: Mapped[str] = mapped_column(Text)
    abilities: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # Right to a few minutes: see tokens.py.
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[User] = relationship()


class Registration(Base):
    """Somebody says that this address is theirs, and waits for the code that was mailed to it.

    Confirmed, it is deleted. An address that has an account gets a row as well, with a code that nobody is told.
    """

    __tablename__ = "registration"

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Verification(Base):
    """A code was mailed: to set a new password, or to prove that a new `email` is the user's. Used, it is deleted.

    Without a user it is of no use; it was written so that an unknown address costs the same work.
    """

    __tablename__ = "verification"
    __table_args__ = (
        one_of("kind", "password", "email"),
        CheckConstraint("(kind = 'email') = (email IS NOT NULL)", name="email"),
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str | None] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
