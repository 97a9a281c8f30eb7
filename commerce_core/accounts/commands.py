"""`commerce user`: people of the staff."""

from __future__ import annotations

import secrets
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

import click

from commerce_core.cli.shop import Shop, config_argument, open_shop

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from commerce_core.accounts.models import User


@click.group()
def user() -> None:
    """Create members of staff and their API tokens."""


@user.command("create-admin")
@click.option("--email", prompt=True, help="The address they are known by.")
@click.option("--name", default="Administrator", show_default=True, help="Of a new user.")
@click.option("--password-file", type=click.File(encoding="utf-8"), help="Set the password that is in this file.")
@click.option("--password-stdin", is_flag=True, help="Set the password that comes in on standard input.")
@click.option("--generate-password", is_flag=True, help="Set a random password, and print it.")
@click.option("--token/--no-token", default=True, show_default=True, help="Print a new API token.")
@config_argument
def create_admin(
    config: str,
    email: str,
    name: str,
    password_file: TextIO | None,
    password_stdin: bool,
    generate_password: bool,
    token: bool,
) -> None:
    """Make an administrator, or make an existing user one.

    What was done is told on standard error; a new password, and a new token, which are shown only once, are all of the
    output. A token lasts as long as a login's. An existing user's password and tokens stay as they are, unless another
    password is given. At a terminal, somebody without a password is asked for one.
    """
    if sum([password_file is not None, password_stdin, generate_password]) > 1:
        raise click.UsageError("Give the password in one way only.")
    if password_file is not None or password_stdin:
        given: str | None = (password_file or sys.stdin).read().removesuffix("\n").removesuffix("\r")
    else:
        given = secrets.token_urlsafe(18) if generate_password else None
    with open_shop(config) as shop:
        given = _checked(shop, email, given)
        if generate_password:
            click.echo(f"password: {given}")
        bearer = _make_admin(shop, email, name, given, token=token)
    if bearer is not None:
        click.echo(bearer)


def _checked(shop: Shop, email: str, password: str | None) -> str | None:
    """A password that may be set, or None to leave things as they are."""
    from pydantic import TypeAdapter, ValidationError

    from commerce_core.accounts.passwords import check_new_password
    from commerce_core.accounts.schemas import EmailAddress, NewPassword
    from commerce_core.accounts.users import find_user
    from commerce_core.api.problems import InvalidInput
    from commerce_core.database import transaction

    try:
        TypeAdapter(EmailAddress).validate_python(email)
    except ValidationError:
        raise click.UsageError(f"{email!r} is not an e-mail address.") from None
    if password is None:
        with transaction(shop.engine) as session:
            known = find_user(session, email)
            has_password = known is not None and known.password_hash is not None
        if has_password or not sys.stdin.isatty():
            return None
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        TypeAdapter(NewPassword).validate_python(password)
        check_new_password(password, email=email)
    except ValidationError as error:
        raise click.UsageError(f"The password cannot be taken: {error.errors()[0]['msg']}.") from None
    except InvalidInput as problem:
        raise click.UsageError(f"The password {problem.extra['errors'][0]['message']}.") from None
    return password


def _make_admin(shop: Shop, email: str, name: str, password: str | None, *, token: bool) -> str | None:
    """Do it, tell what was done, and return a new token if one is wanted."""
    from commerce_core.accounts.passwords import Passwords
    from commerce_core.accounts.tokens import issue_token
    from commerce_core.database import transaction

    password_hash = None if password is None else Passwords(shop.settings.accounts).hash(password)
    with transaction(shop.engine) as session:
        person, done = _promoted(session, shop, email, name)
        if password_hash is not None:
            person.password_hash = password_hash
            done += ", with the password that was given"
        ends = shop.clock.now() + timedelta(days=shop.settings.accounts.token_days)
        bearer = issue_token(session, person, "command line", expires_at=ends) if token else None
    click.echo(f"{email} {done}.", err=True)
    return bearer


def _promoted(session: Session, shop: Shop, email: str, name: str) -> tuple[User, str]:
    """The administrator with this address, and what had to be done for that."""
    from commerce_core.accounts.users import create_user, find_user
    from commerce_core.audit.service import record

    now = shop.clock.now()
    person = find_user(session, email)
    if person is None:
        person = create_user(session, email, name, "admin", email_verified_at=now, created_at=now)
        before, done = None, "is a new administrator"
    else:
        before = {"role": person.role, "is_active": person.is_active}
        done = "was an administrator already"
        if before != {"role": "admin", "is_active": True}:
            done = f"was {'a' if person.is_active else 'an inactive'} {person.role}, and is an administrator now"
        person.role = "admin"
        person.is_active = True
    after = {"role": "admin", "is_active": True}
    if before != after:
        subject = f"user:{person.id}"
        record(
            session,
            actor="command line",
            action="user.create-admin",
            subject=subject,
            before=before,
            after=after,
            now=now,
        )
    return person, done
