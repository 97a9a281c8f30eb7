"""Opening an account: nobody learns who has one, and nobody opens one for somebody else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, log_in, post
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.testing import ReceivedMail, StoppedClock, concurrently

Mails = Callable[..., list[ReceivedMail]]
CodeFor = Callable[[str], str]


def register(client: TestApp, email: str = EMAIL, password: str = PASSWORD) -> Any:
    return post(client, "register", 202, email=email, password=password, name="Ada Lovelace")


def confirm(client: TestApp, token: str, password: str = PASSWORD, status: int = 201) -> Any:
    return post(client, "register/confirm", status, token=token, password=password, device_name="laptop")


def users(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT email FROM users ORDER BY id")))


def test_a_registration_is_confirmed_with_the_code_and_the_password(
    client: TestApp, code_for: CodeFor, engine: Engine
) -> None:
    register(client)
    assert users(engine) == []
    answer = confirm(client, code_for(EMAIL)).json
    assert (answer["user"]["email"], answer["user"]["name"]) == (EMAIL, "Ada Lovelace")
    assert (answer["user"]["role"], answer["user"]["email_verified"]) == ("customer", True)
    client.authorization = ("Bearer", answer["token"])
    assert client.get("/api/v1/auth/me").json["permissions"] == [
        "account:self", "cart:use", "hold:create", "order:create", "public"
    ]  # fmt: skip


def test_registering_does_not_tell_whether_the_address_has_an_account(
    client: TestApp, make_person: Callable[..., Person], mails: Mails
) -> None:
    make_person("known@example.com")
    answers = [register(client, email) for email in ("new@example.com", "known@example.com", "KNOWN@example.com")]
    assert len({answer.body for answer in answers}) == 1
    assert [(mail.to, mail.template) for mail in mails()] == [
        ("new@example.com", "registration"),
        ("known@example.com", "registration-known"),
        ("known@example.com", "registration-known"),
    ]


def test_the_code_alone_opens_no_account(client: TestApp, code_for: CodeFor, engine: Engine) -> None:
    """Somebody registers your address with a password of theirs; you click. They must not get in."""
    register(client, password="the attacker's choice")
    assert_problem(confirm(client, code_for(EMAIL), "my own password", status=400), 400, "code-not-valid")
    assert users(engine) == []


def test_whatever_is_wrong_with_a_confirmation_it_is_the_same_problem(
    client: TestApp, code_for: CodeFor, clock: StoppedClock
) -> None:
    register(client, "late@example.com")
    late = code_for("late@example.com")
    clock.tick(hours=24)
    register(client)
    code = code_for(EMAIL)
    wrong_password = confirm(client, code, "not the password", status=400)
    confirm(client, code)
    used, unknown, expired = (confirm(client, token, status=400) for token in (code, "nonsense", late))
    bodies = [answer.json | {"instance": None} for answer in (wrong_password, used, unknown, expired)]
    assert bodies[1:] == bodies[:-1]


def test_the_code_is_stored_nowhere_but_in_the_mail(client: TestApp, code_for: CodeFor, engine: Engine) -> None:
    register(client)
    with engine.connect() as connection:
        row = str(connection.execute(text("SELECT registration::text FROM registration")).one())
    assert code_for(EMAIL) not in row
    assert PASSWORD not in row


def test_of_two_confirmations_at_once_one_wins(
    application: Any, client: TestApp, code_for: CodeFor, engine: Engine
) -> None:
    register(client)
    body = {"token": code_for(EMAIL), "password": PASSWORD, "device_name": "x"}
    send = partial(TestApp(application).post_json, "/api/v1/auth/register/confirm", body, status="*")
    statuses = sorted(answer.status_code for answer in concurrently([send] * 4))
    assert statuses == [201, 400, 400, 400]
    assert users(engine) == [EMAIL]


def test_of_two_registrations_of_one_address_one_becomes_an_account(
    application: Any, client: TestApp, mails: Mails, engine: Engine
) -> None:
    for email in (EMAIL, EMAIL.upper()):
        register(client, email)
    bodies = [{"token": mail.context["token"], "password": PASSWORD, "device_name": "x"} for mail in mails()]
    send = partial(TestApp(application).post_json, "/api/v1/auth/register/confirm", status="*")
    statuses = sorted(answer.status_code for answer in concurrently([partial(send, body) for body in bodies]))
    assert statuses == [201, 400]
    assert len(users(engine)) == 1


def test_the_guests_cart_becomes_the_users(
    client: TestApp, code_for: CodeFor, make_variant: Callable[..., UUID]
) -> None:
    client.extra_environ["HTTP_X_CART_TOKEN"] = "a-token-of-a-guest"
    hold = client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 2}).json
    register(client)
    answer = confirm(client, code_for(EMAIL)).json
    assert answer["cart_merge"]["holds"] == 1
    client.authorization = ("Bearer", answer["token"])
    assert client.get(f"/api/v1/holds/{hold['id']}").json["state"] == "active"


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("2short", "string_too_short"),
        ("x" * 129, "string_too_long"),
        ("Password123", "common_password"),
        ("aaaaaaaaaaaaaaa", "common_password"),
        ("ADA@example.com", "password_is_email"),
    ],
)
def test_a_password_that_anybody_would_guess_is_refused(client: TestApp, password: str, code: str) -> None:
    body = {"email": EMAIL, "password": password, "name": "Ada"}
    answer = client.post_json("/api/v1/auth/register", body, status=422)
    (error,) = assert_problem(answer, 422, "invalid-input")["errors"]
    assert (error["field"], error["code"]) == ("password", code)
    assert password not in answer.text


def test_a_password_may_be_anything_else(client: TestApp, code_for: CodeFor) -> None:
    password = "  ünïcode \u212b spaces and no digits  "
    register(client, password=password)
    confirm(client, code_for(EMAIL), password)
    log_in(client, password=password.replace("\u212b", "\u00c5"))  # the same letter, typed on another keyboard
    log_in(client, password=password.strip(), status=401)


@pytest.mark.parametrize(
    "email",
    [
        "ada", "ada@example", "a@b@c.de", "ada@example.com\r\nBcc: x@y.zz", "ada,eve@example.com", "<ada@example.com>",
        '"ada"@example.com', "ada@exa mple.com", "ada@example.com;eve", "ada\x00@example.com", "(eve)ada@example.com",
        "ada..b@example.com", ".ada@example.com", "ada@-example.com", "\u0105da@example.com", "ada@ex\u009dample.com",
    ],
)  # fmt: skip
def test_an_address_that_could_break_out_of_a_header_is_refused(client: TestApp, email: str) -> None:
    body = {"email": email, "password": PASSWORD, "name": "Ada"}
    assert_problem(client.post_json("/api/v1/auth/register", body, status=422), 422, "invalid-input")
