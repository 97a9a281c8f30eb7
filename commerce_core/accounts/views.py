"""Getting an account and signing in, over REST.

None of these takes idempotency keys: their answers hold tokens, which are stored nowhere, and a repeat does no harm.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from commerce_core.accounts import recovery, registration, signin, users
from commerce_core.accounts.codes import CodeNotValid
from commerce_core.accounts.passwords import check_new_password
from commerce_core.accounts.permissions import Permission
from commerce_core.accounts.schemas import (
    LoginIn,
    MailedOut,
    PasswordResetConfirmIn,
    PasswordResetIn,
    RegistrationConfirmIn,
    RegistrationIn,
    SignedInOut,
    SignedOutOut,
    UserOut,
)
from commerce_core.accounts.tokens import make_token, revoke_token
from commerce_core.api.endpoints import api_view
from commerce_core.carts.schemas import CartMerge
from commerce_core.orders.adoption import adopt_guest

MAILED = {"detail": "If the address is right, a mail is on its way."}


@api_view(
    route_name="register",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=RegistrationIn,
    returns=MailedOut,
    status=202,
    keyed=False,
    limit="register",
)
def register(request: Any, body: RegistrationIn) -> Any:
    """Ask for an account. The mail holds a code to confirm with, or says that the address has an account already."""
    request.limits.hit("register", body.email.casefold())
    check_new_password(body.password, email=body.email)
    newcomer = registration.Newcomer(body.email, body.name, request.registry.passwords.hash(body.password))
    registration.start_registration(
        request.db, newcomer, settings=request.settings.accounts, locale=request.locale, now=request.now
    )
    return MAILED


@api_view(
    route_name="register_confirm",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=RegistrationConfirmIn,
    returns=SignedInOut,
    status=201,
    keyed=False,
    limit="register",
    problems=(CodeNotValid,),
)
def confirm_registration(request: Any, body: RegistrationConfirmIn) -> Any:
    """Open the account, with the code from the mail and the password again, and sign in."""
    rehashed = registration.verify_registration(
        request.registry.engine, request.registry.passwords, body.token, body.password, now=request.now
    )
    user = registration.confirm_registration(request.db, body.token, rehashed=rehashed, now=request.now)
    token, row = make_token(request.db, user, body.device_name, expires_at=request.now + token_ttl(request))
    return signed_in(request, user, token, row)


@api_view(
    route_name="login",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=LoginIn,
    returns=SignedInOut,
    keyed=False,
    limit="login",
    problems=(signin.InvalidCredentials,),
)
def login(request: Any, body: LoginIn) -> Any:
    """Sign in on a device. With X-Cart-Token, the guest's cart, holds and orders become the user's."""
    request.limits.hit("login_account", body.email.casefold())
    verified = signin.verify_login(request.registry.engine, request.registry.passwords, body.email, body.password)
    user, token, row = signin.sign_in(request.db, verified, body.device_name, ttl=token_ttl(request), now=request.now)
    return signed_in(request, user, token, row)


@api_view(route_name="logout", request_method="POST", permission=Permission.ACCOUNT, status=204, keyed=False)
def logout(request: Any) -> None:
    """End the token in use."""
    revoke_token(request.db, request.actor.user_id, request.actor.token_id, now=request.now)


@api_view(
    route_name="logout_all", request_method="POST", permission=Permission.ACCOUNT, returns=SignedOutOut, keyed=False
)
def logout_all(request: Any) -> Any:
    """End all your tokens, the one in use, too."""
    return {"signed_out": users.sign_out(request.db, request.actor.user_id, now=request.now)}


@api_view(
    route_name="password_reset",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=PasswordResetIn,
    returns=MailedOut,
    status=202,
    keyed=False,
    limit="password_reset",
)
def request_password_reset(request: Any, body: PasswordResetIn) -> Any:
    """Have a code mailed, with which to set a new password."""
    request.limits.hit("password_reset", body.email.casefold())
    recovery.request_password_reset(
        request.db, body.email, settings=request.settings.accounts, locale=request.locale, now=request.now
    )
    return MAILED


@api_view(
    route_name="password_reset_confirm",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=PasswordResetConfirmIn,
    status=204,
    keyed=False,
    limit="password_reset",
    problems=(CodeNotValid,),
)
def confirm_password_reset(request: Any, body: PasswordResetConfirmIn) -> None:
    """Set a new password with the code from the mail. It works once, and ends all tokens of the user."""
    reset = recovery.find_reset(request.registry.engine, body.token, now=request.now)
    check_new_password(body.password, email=reset.email)
    password_hash = request.registry.passwords.hash(body.password)
    recovery.reset_password(request.db, reset, password_hash, locale=request.locale, now=request.now)


def token_ttl(request: Any) -> timedelta:
    return timedelta(days=request.settings.accounts.token_days)


def signed_in(request: Any, user: Any, token: str, row: Any) -> dict[str, Any]:
    """The answer to a sign-in, after the guest's things have become the user's."""
    merged = None
    if request.guest_owner is not None:
        report = adopt_guest(
            request.db,
            guest_owner=request.guest_owner,
            user_owner=f"user:{user.id}",
            settings=request.settings.carts,
            now=request.now,
        )
        merged = None if report is None else CartMerge.of(report)
    return {"token": token, "expires_at": row.expires_at, "user": UserOut.of(user), "cart_merge": merged}
