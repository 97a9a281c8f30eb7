"""People with a password, and the codes in their mail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from support.people import EMAIL, PASSWORD, Person, another_device
from support.till import Till
from webtest import TestApp

from commerce_core.accounts.users import create_user
from commerce_core.database import transaction
from commerce_core.testing import ReceivedMail


@pytest.fixture
def make_person(application: Any, engine: Engine) -> Callable[..., Person]:
    """`make_person("ada@example.com")`: somebody with a password, signed in."""

    def make(email: str = EMAIL, password: str = PASSWORD, role: str = "customer") -> Person:
        with transaction(engine) as session:
            create_user(session, email, "Ada", role, password_hash=application.registry.passwords.hash(password))
        return Person(email, password, another_device(application, email, password))

    return make


@pytest.fixture
def code_for(mails: Callable[..., list[ReceivedMail]]) -> Callable[[str], str]:
    """The code in the last mail to an address."""
    return lambda to: str(mails(to)[-1].context["token"])


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)
