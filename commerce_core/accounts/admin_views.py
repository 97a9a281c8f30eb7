"""Users as staff see and administrators change them, over REST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from commerce_core.accounts import recovery, users
from commerce_core.accounts.models import User
from commerce_core.accounts.permissions import Permission
from commerce_core.accounts.schemas import (
    AdminUserOut,
    SignedOutOut,
    UserChangeIn,
    UserCreateIn,
    UserList,
    UserQuery,
)
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import cursor_list_of


@api_view(
    route_name="admin_users", request_method="GET", permission=Permission.USER_READ, query=UserQuery, returns=UserList
)
def list_users(request: Any, query: UserQuery) -> Any:
    """Users, newest first."""
    found, more = users.list_users(
        request.db,
        role=query.role,
        is_active=query.is_active,
        prefix=query.q,
        before=query.after,
        limit=query.limit,
    )
    return cursor_list_of(request.path, query, _shown(request, found), found[-1].id if more else None)


@api_view(
    route_name="admin_users",
    request_method="POST",
    permission=Permission.USER_MANAGE,
    body=UserCreateIn,
    returns=AdminUserOut,
    status=201,
    located=True,
    problems=(users.EmailTaken,),
)
def create_user(request: Any, body: UserCreateIn) -> AdminUserOut:
    """Open an account for somebody, who gets a mail to choose a password with."""
    user = users.add_user(request.db, body.email, body.name, body.role, created_at=request.now)
    recovery.invite(request.db, user, settings=request.settings.accounts, locale=request.locale, now=request.now)
    request.audit("user.create", f"user:{user.id}", after={"role": user.role})
    return _shown(request, [user])[0]


@api_view(
    route_name="admin_user",
    request_method="GET",
    permission=Permission.USER_READ,
    returns=AdminUserOut,
    problems=(NotFound,),
)
def show_user(request: Any) -> AdminUserOut:
    """One user."""
    user = request.db.get(User, path_id(request))
    if user is None:
        raise NotFound("There is no such user.")
    return _shown(request, [user])[0]


@api_view(
    route_name="admin_user",
    request_method="PATCH",
    permission=Permission.USER_MANAGE,
    body=UserChangeIn,
    returns=AdminUserOut,
    problems=(users.LastAdmin, NotFound),
)
def change_user(request: Any, body: UserChangeIn) -> AdminUserOut:
    """Change a user's role, tier or name, or whether they may sign in. Who may not is signed out everywhere."""
    user, before = users.change_user(request.db, path_id(request), body.model_dump(exclude_unset=True), now=request.now)
    request.audit("user.update", f"user:{user.id}", before=before, after=users.audited(user))
    return _shown(request, [user])[0]


@api_view(
    route_name="admin_user_logout_all",
    request_method="POST",
    permission=Permission.USER_MANAGE,
    returns=SignedOutOut,
    problems=(NotFound,),
)
def logout_user(request: Any) -> Any:
    """End all tokens of a user."""
    user_id = path_id(request)
    count = users.sign_out(request.db, user_id, now=request.now)
    request.audit("user.logout-all", f"user:{user_id}", after={"signed_out": count})
    return {"signed_out": count}


def _shown(request: Any, found: Sequence[User]) -> list[AdminUserOut]:
    """Users, with what plugins show of them."""
    shown = [AdminUserOut.of(user) for user in found]
    request.registry.extensions.extend(request, "user", shown)
    return shown
