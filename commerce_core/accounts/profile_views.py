"""One's own account over REST."""

from __future__ import annotations

from typing import Any

from commerce_core.accounts import profile, recovery, signin, tokens, users
from commerce_core.accounts.codes import CodeNotValid
from commerce_core.accounts.models import User
from commerce_core.accounts.passwords import check_new_password
from commerce_core.accounts.permissions import Permission
from commerce_core.accounts.schemas import (
    CodeIn,
    DeletionIn,
    EmailIn,
    MailedOut,
    MeOut,
    NewTokenOut,
    PasswordIn,
    ProfileIn,
    TokenIn,
    TokenList,
    TokenOut,
)
from commerce_core.accounts.signin import Verified
from commerce_core.accounts.views import MAILED, token_ttl
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import Forbidden, InvalidInput, NotFound
from commerce_core.api.schemas import CursorQuery, cursor_list_of
from commerce_core.orders.privacy import OrdersUnderWay, forget_customer


@api_view(route_name="me", request_method="GET", permission=Permission.ACCOUNT, returns=MeOut)
def show_me(request: Any) -> MeOut:
    """Who you are, and what your token allows."""
    return _me(request, request.db.get_one(User, request.actor.user_id))


@api_view(route_name="me", request_method="PATCH", permission=Permission.ACCOUNT, body=ProfileIn, returns=MeOut)
def change_me(request: Any, body: ProfileIn) -> MeOut:
    """Change your name or telephone number."""
    user = users.change_profile(request.db, request.actor.user_id, body.model_dump(exclude_unset=True))
    return _me(request, user)


@api_view(
    route_name="me_delete",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=DeletionIn,
    status=204,
    keyed=False,
    problems=(OrdersUnderWay, users.LastAdmin),
)
def delete_me(request: Any, body: DeletionIn) -> None:
    """Leave for good. Orders keep what the books need, and nothing that says who you are.

    A POST, because the body of a DELETE may be lost on its way.
    """
    verified = verify(request, body.current_password)
    user = signin.lock_verified(request.db, verified, with_admins=request.actor.role == "admin")
    profile.anonymise_user(request.db, user, now=request.now)
    forget_customer(request.db, request.actor.name, now=request.now)


@api_view(
    route_name="password",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=PasswordIn,
    status=204,
    keyed=False,
)
def change_password(request: Any, body: PasswordIn) -> None:
    """Set another password. Your other devices are signed out."""
    verified = verify(request, body.current_password)
    check_new_password(body.new_password, email=verified.email, field="new_password")
    password_hash = request.registry.passwords.hash(body.new_password)
    recovery.set_password(
        request.db,
        signin.lock_verified(request.db, verified),
        password_hash,
        but_token=request.actor.token_id,
        locale=request.locale,
        now=request.now,
    )


@api_view(
    route_name="email",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=EmailIn,
    returns=MailedOut,
    status=202,
    keyed=False,
)
def request_email_change(request: Any, body: EmailIn) -> Any:
    """Have a code mailed to another address, which becomes yours when you confirm it. Your old one is told."""
    request.limits.hit("register", body.email.casefold())
    verified = verify(request, body.current_password)
    if body.email.casefold() == verified.email.casefold():
        raise InvalidInput.field("email", "unchanged", "is your address already")
    profile.request_email_change(
        request.db,
        signin.lock_verified(request.db, verified),
        body.email,
        settings=request.settings.accounts,
        locale=request.locale,
        now=request.now,
    )
    return MAILED


@api_view(
    route_name="email_confirm",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=CodeIn,
    returns=MeOut,
    keyed=False,
    problems=(CodeNotValid,),
)
def confirm_email_change(request: Any, body: CodeIn) -> MeOut:
    """Take the new address, with the code that was mailed to it."""
    user = profile.confirm_email_change(request.db, request.actor.user_id, body.token, now=request.now)
    return _me(request, user)


@api_view(
    route_name="tokens", request_method="GET", permission=Permission.ACCOUNT, query=CursorQuery, returns=TokenList
)
def list_tokens(request: Any, query: CursorQuery) -> Any:
    """Where you are signed in, newest first."""
    found, more = tokens.list_tokens(
        request.db, request.actor.user_id, now=request.now, before=query.after, limit=query.limit
    )
    rows = [TokenOut.of(token, request.actor) for token in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="tokens",
    request_method="POST",
    permission=Permission.ACCOUNT,
    body=TokenIn,
    returns=NewTokenOut,
    status=201,
    keyed=False,
    problems=(Forbidden,),
)
def create_token(request: Any, body: TokenIn) -> NewTokenOut:
    """Make a token for a program. It may do no more than your own."""
    token, row = tokens.derive_token(
        request.db,
        request.actor,
        body.device_name,
        abilities=body.abilities,
        expires_at=body.expires_at,
        ttl=token_ttl(request),
        now=request.now,
    )
    shown = NewTokenOut.of(row, request.actor)
    shown.token = token
    return shown


@api_view(route_name="token", request_method="DELETE", permission=Permission.ACCOUNT, status=204, problems=(NotFound,))
def delete_token(request: Any) -> None:
    """Sign one of your devices out."""
    if not tokens.revoke_token(request.db, request.actor.user_id, path_id(request), now=request.now):
        raise NotFound("You have no such token.")


def verify(request: Any, password: str) -> Verified:
    """The requester's password, before anything is changed. Counted: a stolen token must not be used to guess it."""
    request.limits.hit("login_account", request.actor.name)
    return signin.verify_password(request.registry.engine, request.registry.passwords, request.actor.user_id, password)


def _me(request: Any, user: User) -> MeOut:
    me = MeOut.of_actor(user, request.actor)
    request.registry.extensions.extend(request, "user", [me])
    return me
