"""Users, as staff see and administrators change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from support.people import EMAIL, PASSWORD, Person, log_in, post
from support.problems import assert_problem
from webtest import TestApp

from commerce_core.testing import ReceivedMail, SignedIn, concurrently

USERS = "/api/v1/admin/users"
SignIn = Callable[..., SignedIn]
Make = Callable[..., Person]


@pytest.fixture
def admin(sign_in: SignIn) -> SignedIn:
    return sign_in("admin")


def emails(client: TestApp, **query: Any) -> list[str]:
    return [user["email"] for user in client.get(USERS, query).json["data"]]


def test_staff_may_look_and_only_administrators_may_change(sign_in: SignIn, admin: SignedIn) -> None:
    staff = sign_in("staff").client
    path = f"{USERS}/{admin.user_id}"
    assert staff.get(path).json["role"] == "admin"
    for send in (
        lambda: staff.patch_json(path, {"role": "staff"}, status=403),
        lambda: staff.post_json(USERS, {"email": EMAIL, "name": "Ada"}, status=403),
        lambda: staff.post_json(f"{path}/logout-all", status=403),
    ):
        assert_problem(send(), 403, "forbidden")


def test_users_are_found_by_role_state_and_the_beginning_of_address_or_name(
    admin: SignedIn, make_person: Make, engine: Engine
) -> None:
    for email in ("ada@example.com", "bob@example.com", "a%b@example.com"):
        make_person(email)
    with engine.begin() as connection:
        connection.execute(text("UPDATE users SET name = 'Zoë', is_active = false WHERE email LIKE 'bob%'"))
    client = admin.client
    assert emails(client, role="customer") == ["a%b@example.com", "bob@example.com", "ada@example.com"]
    assert emails(client, q="ADA@") == ["ada@example.com"]
    assert emails(client, q="zoë") == ["bob@example.com"]
    assert emails(client, q="a%") == ["a%b@example.com"]
    assert emails(client, is_active="false") == ["bob@example.com"]


def test_the_list_goes_on_by_cursor(admin: SignedIn, make_person: Make) -> None:
    for n in range(3):
        make_person(f"user{n}@example.com")
    first = admin.client.get(USERS, {"limit": 2, "role": "customer"}).json
    rest = admin.client.get(first["links"]["next"]).json
    assert [user["email"][4] for page in (first, rest) for user in page["data"]] == ["2", "1", "0"]


def test_whoever_is_invited_chooses_a_password(
    admin: SignedIn, client: TestApp, mails: Callable[..., list[ReceivedMail]]
) -> None:
    created = admin.client.post_json(USERS, {"email": EMAIL, "name": "Grace", "role": "staff"}, status=201).json
    assert (created["role"], created["has_password"], created["email_verified"]) == ("staff", False, False)
    (mail,) = mails(EMAIL)
    assert mail.template == "invitation"
    post(client, "password-reset/confirm", 204, token=mail.context["token"], password=PASSWORD)
    assert log_in(client).json["user"]["email_verified"] is True


def test_staff_are_told_who_has_an_address(admin: SignedIn, make_person: Make) -> None:
    make_person()
    answer = admin.client.post_json(USERS, {"email": EMAIL.upper(), "name": "Ada"}, status=409)
    user_id = assert_problem(answer, 409, "email-taken")["user_id"]
    assert admin.client.get(f"{USERS}/{user_id}").json["email"] == EMAIL


def test_a_change_takes_effect_at_once_and_is_audited(admin: SignedIn, make_person: Make, engine: Engine) -> None:
    person = make_person()
    user_id = person.client.get("/api/v1/auth/me").json["id"]
    path = f"{USERS}/{user_id}"
    admin.client.patch_json(path, {"role": "staff", "tier": "gold"})
    person.client.get("/api/v1/admin/stock/low")
    admin.client.patch_json(path, {"tier": None, "is_active": False})
    person.client.get("/api/v1/auth/me", status=401)
    # Active again, the old tokens stay ended.
    assert admin.client.patch_json(path, {"is_active": True}).json["role"] == "staff"
    person.client.get("/api/v1/auth/me", status=401)
    entries = admin.client.get("/api/v1/admin/audit-log", {"subject": f"user:{user_id}"}).json["data"]
    assert [(entry["before"], entry["after"]) for entry in reversed(entries)] == [
        ({"role": "customer", "tier": None}, {"role": "staff", "tier": "gold"}),
        ({"tier": "gold", "is_active": True}, {"tier": None, "is_active": False}),
        ({"is_active": False}, {"is_active": True}),
    ]
    assert {entry["actor"] for entry in entries} == {f"user:{admin.user_id}"}


def test_a_user_can_be_signed_out_everywhere(admin: SignedIn, make_person: Make) -> None:
    person = make_person()
    user_id = person.client.get("/api/v1/auth/me").json["id"]
    assert admin.client.post_json(f"{USERS}/{user_id}/logout-all").json == {"signed_out": 1}
    person.client.get("/api/v1/auth/me", status=401)


@pytest.mark.parametrize("change", [{"role": "staff"}, {"is_active": False}, {"role": "customer", "is_active": False}])
def test_the_last_active_administrator_stays(admin: SignedIn, sign_in: SignIn, change: dict[str, Any]) -> None:
    gone = sign_in("admin")
    path = f"{USERS}/{admin.user_id}"
    admin.client.patch_json(f"{USERS}/{gone.user_id}", change)
    assert_problem(admin.client.patch_json(path, change, status=409), 409, "last-admin")
    admin.client.patch_json(path, {"name": "Still here"})


def test_administrators_who_put_each_other_out_at_once_leave_one(sign_in: SignIn, engine: Engine) -> None:
    admins = [sign_in("admin") for _ in range(4)]

    def demote(by: SignedIn, whom: SignedIn) -> Callable[[], int]:
        path = f"{USERS}/{whom.user_id}"
        return lambda: by.client.patch_json(path, {"role": "customer"}, status="*").status_code

    statuses = concurrently([demote(by, whom) for by, whom in zip(admins, admins[1:] + admins[:1], strict=True)])
    assert set(statuses) <= {200, 401, 403, 409}
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM users WHERE role = 'admin'")) >= 1


def test_who_has_left_cannot_be_changed(admin: SignedIn, make_person: Make) -> None:
    person = make_person()
    user_id = person.client.get("/api/v1/auth/me").json["id"]
    post(person.client, "me/delete", 204, current_password=PASSWORD)
    assert admin.client.get(f"{USERS}/{user_id}").json["deleted_at"] is not None
    assert_problem(admin.client.patch_json(f"{USERS}/{user_id}", {"is_active": True}, status=404), 404, "not-found")
