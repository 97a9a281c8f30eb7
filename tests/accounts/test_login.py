"""Signing in: whoever cannot learns nothing, and whoever guesses is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, log_in, post
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.accounts.passwords import Passwords
from commerce_core.api.problems import Unavailable
from commerce_core.testing import StoppedClock, count_sql

# Hundreds of requests from one address are what is tested here, not whether they may be sent.
FEW_ATTEMPTS = {"limits.login": "20/minute", "limits.login_account": "15/minute", "limits.default": "off"}


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What argon2 is made to do."""
    done: list[str] = []
    for name in ("hash", "verify"):
        original = getattr(PasswordHasher, name)

        def counted(self: Any, *arguments: Any, _name: str = name, _original: Any = original) -> Any:
            done.append(_name)
            return _original(self, *arguments)

        monkeypatch.setattr(PasswordHasher, name, counted)
    return done


def test_signing_in_gives_a_token_that_expires(
    client: TestApp, make_person: Callable[..., Person], clock: StoppedClock
) -> None:
    make_person()
    answer = log_in(client, EMAIL.upper()).json
    assert (answer["user"]["email"], answer["cart_merge"]) == (EMAIL, None)
    client.authorization = ("Bearer", answer["token"])
    clock.tick(days=89)
    client.get("/api/v1/auth/me")
    clock.tick(days=1)
    assert_problem(client.get("/api/v1/auth/me", status=401), 401, "unauthorized")


def test_whatever_is_wrong_with_a_login_it_is_the_same_problem_after_the_same_work(
    application: Any, client: TestApp, make_person: Callable[..., Person], engine: Engine, hashings: list[str]
) -> None:
    for name in ("known", "inactive", "invited", "deleted"):
        make_person(f"{name}@example.com")
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false WHERE email LIKE 'inactive%'"))
        connection.execute(text("UPDATE users SET password_hash = NULL WHERE email LIKE 'invited%'"))
        connection.execute(
            text("UPDATE users SET password_hash = NULL, is_active = false, deleted_at = now() WHERE email LIKE 'del%'")
        )
    seen = []
    for email, password in [
        ("known@example.com", "not the password"),
        ("unknown@example.com", PASSWORD),
        ("inactive@example.com", PASSWORD),
        ("invited@example.com", PASSWORD),
        ("deleted@example.com", PASSWORD),
    ]:
        hashings.clear()
        with count_sql(application.registry.engine) as statements:
            answer = log_in(client, email, password, status=401)
        body = assert_problem(answer, 401, "invalid-credentials") | {"instance": None}
        seen.append((body, list(hashings), statements))
    assert seen[0][1] == ["verify"]
    assert len(seen[0][2]) == 1
    assert seen[1:] == seen[:-1]


@pytest.mark.parametrize("path", ["register", "password-reset"])
def test_asking_for_a_mail_is_the_same_work_for_every_address(
    application: Any, client: TestApp, make_person: Callable[..., Person], hashings: list[str], path: str
) -> None:
    make_person("known@example.com")
    seen = []
    for email in ("known@example.com", "unknown@example.com"):
        body = {"email": email} | ({"password": PASSWORD, "name": "Ada"} if path == "register" else {})
        hashings.clear()
        with count_sql(application.registry.engine) as statements:
            answer = post(client, path, 202, **body)
        seen.append((answer.body, list(hashings), statements))
    assert seen[0] == seen[1]
    assert len(seen[0][2]) == 3


@pytest.mark.commerce(settings=FEW_ATTEMPTS)
def test_a_thousand_logins_from_one_address_are_stopped(client: TestApp, make_person: Callable[..., Person]) -> None:
    make_person("victim@example.com")
    statuses = [log_in(client, f"user{n}@example.com", status="*").status_code for n in range(1_000)]
    assert statuses.count(401) < 20
    assert set(statuses[20:]) == {429}


@pytest.mark.commerce(settings=FEW_ATTEMPTS)
def test_a_thousand_addresses_on_one_account_are_stopped(
    application: Any, make_person: Callable[..., Person], hashings: list[str]
) -> None:
    make_person()
    statuses = []
    hashings.clear()
    for n in range(1_000):
        client = TestApp(application, extra_environ={"REMOTE_ADDR": f"198.51.{n // 250}.{n % 250}"})
        # Letters in another case are the same account.
        email = EMAIL if n % 2 else EMAIL.upper()
        statuses.append(log_in(client, email, f"guess number {n}", status="*").status_code)
    assert statuses.count(401) < 15
    assert set(statuses[15:]) == {429}
    assert len(hashings) < 15


def test_a_password_is_hashed_anew_when_the_parameters_have_changed(
    application: Any, client: TestApp, engine: Engine, make_person: Callable[..., Person]
) -> None:
    make_person()

    def parameters() -> tuple[int, int]:
        with engine.connect() as connection:
            found = extract_parameters(str(connection.scalar(text("SELECT password_hash FROM users"))))
        return found.memory_cost, found.time_cost

    before = parameters()
    settings = application.registry.settings_object.accounts.model_copy(update={"password_passes": 3})
    application.registry.passwords = Passwords(settings)
    log_in(client, password="not the password", status=401)
    assert parameters() == before
    log_in(client)
    assert parameters() == (before[0], 3)
    log_in(client)


def test_only_so_many_passwords_are_hashed_at_a_time(application: Any) -> None:
    settings = application.registry.settings_object.accounts
    passwords = Passwords(settings.model_copy(update={"hash_concurrency": 1, "hash_wait_seconds": 0.01}))
    with passwords._turn(), pytest.raises(Unavailable):
        passwords.hash(PASSWORD)
    passwords.hash(PASSWORD)


def test_no_connection_is_held_while_a_password_is_hashed(
    application: Any, client: TestApp, make_person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    person = make_person()
    pool = application.registry.engine.pool
    held = []

    def watched(self: Passwords, *arguments: Any, _original: Any = Passwords._turn) -> Any:
        held.append(pool.checkedout())
        return _original(self, *arguments)

    monkeypatch.setattr(Passwords, "_turn", watched)
    log_in(client)
    post(client, "register", 202, email="new@example.com", password=PASSWORD, name="Ada")
    post(person.client, "password", 204, current_password=PASSWORD, new_password="another one, please")
    assert held == [0] * 4


def test_the_defaults_are_what_owasp_advises() -> None:
    from commerce_core.settings import AccountSettings

    settings = AccountSettings()
    assert settings.password_memory_kib >= 19_456
    assert settings.password_passes >= 2


def test_a_guest_who_signs_in_takes_cart_and_holds_along(
    client: TestApp, make_person: Callable[..., Person], make_variant: Callable[..., UUID]
) -> None:
    person = make_person()
    client.extra_environ["HTTP_X_CART_TOKEN"] = "a-token-of-a-guest"
    hold = client.post_json("/api/v1/holds", {"variant_id": str(make_variant()), "quantity": 1}).json
    assert log_in(client).json["cart_merge"]["holds"] == 1
    assert person.client.get(f"/api/v1/holds/{hold['id']}").json["state"] == "active"
    assert log_in(client).json["cart_merge"] is None


def test_no_answer_with_a_token_is_stored(client: TestApp, make_person: Callable[..., Person], engine: Engine) -> None:
    make_person()
    client.extra_environ["HTTP_IDEMPOTENCY_KEY"] = "a-key"
    assert log_in(client).json["token"] != log_in(client).json["token"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM idempotency_key")) == 0
