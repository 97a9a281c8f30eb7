"""Users: made, found, changed by staff. There is always an active administrator left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commerce_core.accounts.models import User
from commerce_core.accounts.tokens import revoke_tokens
from commerce_core.api.problems import Conflict, NotFound, Unauthorized
from commerce_core.events import savepoint


class EmailTaken(Conflict):
    """There is a user with this e-mail address; `user_id` says who."""

    slug = "email-taken"
    title = "The e-mail address belongs to another user"
    example: ClassVar[dict[str, Any]] = {"user_id": "01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"}


class LastAdmin(Conflict):
    """This is the last active administrator: without one, nobody could manage users any more."""

    slug = "last-admin"
    title = "There would be no administrator left"


def create_user(session: Session, email: str, name: str, role: str = "customer", **values: Any) -> User:
    """A new user; flushes. Raises IntegrityError when the address is taken."""
    user = User(email=email, name=name, role=role, **values)
    session.add(user)
    session.flush()
    return user


def add_user(session: Session, email: str, name: str, role: str, **values: Any) -> User:
    """A new user; flushes. Raises EmailTaken: for staff, who may know who there is."""
    try:
        with savepoint(session):
            return create_user(session, email, name, role, **values)
    except IntegrityError as error:
        taken_by = find_user(session, email)
        if taken_by is None:
            raise
        raise EmailTaken(user_id=str(taken_by.id)) from error


def is_address(email: str) -> ColumnElement[bool]:
    """A condition: the user has this e-mail address. The database lowers both sides, as its unique index does."""
    return func.lower(User.email) == func.lower(email)


def find_user(session: Session, email: str, *, lock: bool = False) -> User | None:
    """The user with this e-mail address, in either case. With `lock`, nobody changes the user till the end."""
    query = select(User).where(is_address(email))
    return session.scalar(query.with_for_update(read=True) if lock else query)


def list_users(
    session: Session,
    *,
    role: str | None,
    is_active: bool | None,
    prefix: str | None,
    before: UUID | None,
    limit: int,
) -> tuple[Sequence[User], bool]:
    """Users, newest first, and whether more follow. `prefix` begins the address or the name. No locks."""
    query = select(User).order_by(User.id.desc()).limit(limit + 1)
    if role is not None:
        query = query.where(User.role == role)
    if is_active is not None:
        query = query.where(User.is_active.is_(is_active))
    if prefix is not None:
        query = query.where(_begins(User.email, prefix) | _begins(User.name, prefix))
    if before is not None:
        query = query.where(User.id < before)
    users = session.scalars(query).all()
    return users[:limit], len(users) > limit


def audited(user: User) -> dict[str, Any]:
    """What the audit log keeps of a user; not the address, which leaves with them."""
    return {name: getattr(user, name) for name in ("role", "tier", "is_active", "name")}


def change_user(
    session: Session, user_id: UUID, changes: Mapping[str, Any], *, now: datetime
) -> tuple[User, dict[str, Any]]:
    """Change `role`, `tier`, `is_active` or `name`; the user, and how they were before, for the audit log.

    Who is deactivated is signed out everywhere. Locks the user and, where it takes an administrator away, all of them.
    Raises NotFound or LastAdmin.
    """
    user = lock_user(session, user_id, with_admins=not _keeps_admin(changes))
    if user is None or user.deleted_at is not None:
        raise NotFound("There is no such user.")
    before = audited(user)
    if not _keeps_admin(changes):
        refuse_last_admin(session, user, role=changes.get("role", user.role), is_active=changes.get("is_active", True))
    for name, value in changes.items():
        setattr(user, name, value)
    if not user.is_active:
        revoke_tokens(session, user.id, now=now)
    session.flush()
    return user, before


def sign_out(session: Session, user_id: UUID, *, now: datetime) -> int:
    """End all of a user's tokens; how many there were. Locks the user. Raises NotFound."""
    if lock_user(session, user_id) is None:
        raise NotFound("There is no such user.")
    return revoke_tokens(session, user_id, now=now)


def change_profile(session: Session, user_id: UUID, changes: Mapping[str, Any]) -> User:
    """Change what users may change of themselves. Locks the user: who has just left must not get a name again."""
    user = lock_user(session, user_id)
    if user is None or not user.is_active:
        raise Unauthorized()
    for name, value in changes.items():
        setattr(user, name, value)
    session.flush()
    return user


def keep_user(session: Session, user_id: UUID) -> User:
    """The user, who neither leaves nor is changed until the transaction ends. Raises Unauthorized for one who has left.

    A shared lock: for what is written in the user's name, and would be overlooked by a deletion at the same time. Comes
    before all other locks.
    """
    user = session.get(User, user_id, with_for_update={"read": True}, populate_existing=True)
    if user is None or not user.is_active:
        raise Unauthorized()
    return user


def lock_user(session: Session, user_id: UUID, *, with_admins: bool = False) -> User | None:
    """The user, locked and read afresh; with every active administrator, all in one order."""
    wanted = User.id == user_id
    if with_admins:
        wanted |= (User.role == "admin") & User.is_active
    locked = session.scalars(
        select(User)
        .where(wanted)
        .order_by(User.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    return next((user for user in locked if user.id == user_id), None)


def refuse_last_admin(session: Session, user: User, *, role: str, is_active: bool) -> None:
    """Raises LastAdmin if the last active administrator would be none any more. All of them must be locked."""
    if (user.role == "admin" and user.is_active) and not (role == "admin" and is_active):
        others = (User.role == "admin") & User.is_active & (User.id != user.id)
        if not session.scalar(select(func.count()).select_from(User).where(others)):
            raise LastAdmin()


def _keeps_admin(changes: Mapping[str, Any]) -> bool:
    return changes.get("role", "admin") == "admin" and changes.get("is_active", True) is True


def _begins(column: Any, prefix: str) -> ColumnElement[bool]:
    # Not `lower(...)` of the database on the right-hand side: the index serves patterns that are known beforehand.
    escaped = prefix.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return func.lower(column).like(f"{escaped}%")
