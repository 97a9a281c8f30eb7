"""The steps that people take to get into their account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webtest import TestApp, TestResponse

PASSWORD = "correct horse battery"
EMAIL = "ada@example.com"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a password; `client` is signed in."""

    email: str
    password: str
    client: TestApp


def post(client: TestApp, path: str, status: Any = 200, **body: Any) -> TestResponse:
    return client.post_json(f"/api/v1/auth/{path}", body, status=status)


def log_in(client: TestApp, email: str = EMAIL, password: str = PASSWORD, status: Any = 200) -> TestResponse:
    return post(client, "login", status=status, email=email, password=password, device_name="test")


def another_device(application: Any, email: str = EMAIL, password: str = PASSWORD) -> TestApp:
    """A client that has just signed in."""
    client = TestApp(application)
    client.authorization = ("Bearer", log_in(client, email, password).json["token"])
    return client
