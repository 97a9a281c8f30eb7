"""Passwords, forgotten and changed; another address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, another_device, log_in, post
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.testing import ReceivedMail, StoppedClock, concurrently

Make = Callable[..., Person]
Mails = Callable[..., list[ReceivedMail]]
CodeFor = Callable[[str], str]
NEW = "a brand new password"


def forget(client: TestApp, email: str = EMAIL) -> Any:
    return post(client, "password-reset", 202, email=email)


def reset(client: TestApp, code: str, password: str = NEW, status: int = 204) -> Any:
    return post(client, "password-reset/confirm", status, token=code, password=password)


def test_a_forgotten_password_is_set_anew_and_ends_all_tokens(
    client: TestApp, make_person: Make, mails: Mails, code_for: CodeFor
) -> None:
    person = make_person()
    forget(client)
    reset(client, code_for(EMAIL))
    person.client.get("/api/v1/auth/me", status=401)
    log_in(client, password=PASSWORD, status=401)
    log_in(client, password=NEW)
    assert [mail.template for mail in mails(EMAIL)] == ["password-reset", "password-changed"]


def test_asking_does_not_tell_whether_the_address_has_an_account(
    client: TestApp, make_person: Make, mails: Mails
) -> None:
    make_person()
    assert forget(client).body == forget(client, "unknown@example.com").body
    assert [(mail.to, mail.template) for mail in mails()] == [
        (EMAIL, "password-reset"),
        ("unknown@example.com", "password-reset-unknown"),
    ]


def test_the_code_goes_to_the_users_own_address_as_it_is_known(
    client: TestApp, make_person: Make, mails: Mails
) -> None:
    make_person()
    forget(client, EMAIL.upper())
    assert mails()[-1].to == EMAIL


def test_a_code_works_once_and_for_an_hour(
    client: TestApp, make_person: Make, code_for: CodeFor, clock: StoppedClock
) -> None:
    make_person()
    forget(client)
    code = code_for(EMAIL)
    reset(client, code)
    used = reset(client, code, status=400)
    forget(client)
    clock.tick(minutes=60)
    late = reset(client, code_for(EMAIL), status=400)
    assert assert_problem(used, 400, "code-not-valid")["detail"] == late.json["detail"]


def test_a_refused_password_does_not_use_the_code_up(client: TestApp, make_person: Make, code_for: CodeFor) -> None:
    make_person()
    forget(client)
    assert_problem(reset(client, code_for(EMAIL), EMAIL, status=422), 422, "invalid-input")
    reset(client, code_for(EMAIL))


def test_a_code_used_twice_at_once_works_once(
    application: Any, client: TestApp, make_person: Make, code_for: CodeFor
) -> None:
    make_person()
    forget(client)
    code = code_for(EMAIL)
    passwords = [f"{NEW} {n}" for n in range(4)]
    send = partial(TestApp(application).post_json, "/api/v1/auth/password-reset/confirm", status="*")
    answers = concurrently([partial(send, {"token": code, "password": password}) for password in passwords])
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]
    works = [password for password in passwords if log_in(client, password=password, status="*").status_code == 200]
    assert len(works) == 1


def test_a_login_under_way_does_not_survive_a_reset(
    application: Any, client: TestApp, make_person: Make, code_for: CodeFor, engine: Engine
) -> None:
    """The old password was verified, then it is changed, then the token would be made."""
    from commerce_core.accounts import signin

    make_person()
    verified = signin.verify_login(engine, application.registry.passwords, EMAIL, PASSWORD)
    forget(client)
    reset(client, code_for(EMAIL))
    original = signin.verify_login
    signin.verify_login = lambda *_: verified
    try:
        log_in(client, status=401)
    finally:
        signin.verify_login = original


def test_a_deactivated_account_is_not_opened_by_a_reset(
    client: TestApp, make_person: Make, mails: Mails, code_for: CodeFor, engine: Engine
) -> None:
    make_person()
    forget(client)
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false"))
    reset(client, code_for(EMAIL), status=400)
    forget(client)
    assert mails()[-1].template == "password-reset-unknown"


def test_a_changed_password_signs_the_other_devices_out(application: Any, make_person: Make, mails: Mails) -> None:
    person = make_person()
    other = another_device(application)
    wrong = post(person.client, "password", 422, current_password=NEW, new_password=NEW)
    assert wrong.json["errors"][0]["field"] == "current_password"
    post(person.client, "password", 204, current_password=PASSWORD, new_password=NEW)
    person.client.get("/api/v1/auth/me")
    other.get("/api/v1/auth/me", status=401)
    log_in(other := TestApp(application), password=NEW)
    assert mails()[-1].template == "password-changed"


def test_another_address_is_taken_once_it_is_proved(
    client: TestApp, make_person: Make, mails: Mails, code_for: CodeFor
) -> None:
    person = make_person()
    post(person.client, "email", 422, email="new@example.com", current_password=NEW)
    post(person.client, "email", 202, email="new@example.com", current_password=PASSWORD)
    assert {(mail.to, mail.template) for mail in mails()} == {
        ("new@example.com", "email-change"),
        (EMAIL, "email-change-notice"),
    }
    log_in(client, "new@example.com", status=401)
    changed = post(person.client, "email/confirm", token=code_for("new@example.com")).json
    assert (changed["email"], changed["email_verified"]) == ("new@example.com", True)
    log_in(client, "new@example.com")
    log_in(client, EMAIL, status=401)


def test_nobody_confirms_an_address_for_somebody_else(make_person: Make, code_for: CodeFor) -> None:
    """Eve asks for your address for her account; your click, signed in as you, must not give it to her."""
    eve, ada = make_person("eve@example.com"), make_person("ada@elsewhere.example")
    post(eve.client, "email", 202, email=EMAIL, current_password=PASSWORD)
    assert_problem(post(ada.client, "email/confirm", 400, token=code_for(EMAIL)), 400, "code-not-valid")


def test_an_address_that_is_taken_is_not_told_to_who_asks_for_it(
    client: TestApp, make_person: Make, mails: Mails, code_for: CodeFor
) -> None:
    eve = make_person("eve@example.com")
    free = post(eve.client, "email", 202, email="free@example.com", current_password=PASSWORD)
    make_person("taken@example.com")
    taken = post(eve.client, "email", 202, email="taken@example.com", current_password=PASSWORD)
    assert free.body == taken.body
    assert mails("taken@example.com")[-1].template == "email-change-known"
    # The code before it has ended; and one for an address that is taken meanwhile does not work.
    post(eve.client, "email/confirm", 400, token=code_for("free@example.com"))
    post(eve.client, "email", 202, email="late@example.com", current_password=PASSWORD)
    make_person("late@example.com")
    assert_problem(post(eve.client, "email/confirm", 400, token=code_for("late@example.com")), 400, "code-not-valid")


def test_a_reset_that_went_to_the_old_address_ends_with_it(
    client: TestApp, make_person: Make, code_for: CodeFor
) -> None:
    person = make_person()
    forget(client)
    old = code_for(EMAIL)
    post(person.client, "email", 202, email="new@example.com", current_password=PASSWORD)
    post(person.client, "email/confirm", token=code_for("new@example.com"))
    reset(client, old, status=400)


def test_a_changed_password_stops_a_change_of_address(make_person: Make, code_for: CodeFor) -> None:
    person = make_person()
    post(person.client, "email", 202, email="new@example.com", current_password=PASSWORD)
    post(person.client, "password", 204, current_password=PASSWORD, new_password=NEW)
    post(person.client, "email/confirm", 400, token=code_for("new@example.com"))


def test_name_and_telephone_are_changed_apart(make_person: Make) -> None:
    client = make_person().client
    client.patch_json("/api/v1/auth/me", {"phone": "+44 20 7946 0958"})
    assert client.patch_json("/api/v1/auth/me", {"name": "Ada King"}).json["phone"] == "+44 20 7946 0958"
    me = client.patch_json("/api/v1/auth/me", {"phone": None}).json
    assert (me["name"], me["phone"]) == ("Ada King", None)
    client.patch_json("/api/v1/auth/me", {"role": "admin"}, status=422)
    client.patch_json("/api/v1/auth/me", {"name": ""}, status=422)
