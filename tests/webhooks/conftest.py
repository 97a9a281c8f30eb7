from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.processes import wait_until
from support.till import Till
from webtest import TestApp

from commerce_core.testing import StoppedClock, make_settings
from tests.webhooks.receiver import Receiver, running

ENDPOINTS = "/api/v1/admin/webhook-endpoints"
GIVEN = {
    "webhooks.allowed_networks": "127.0.0.0/8",
    # A machine that is busy must not look like a receiver that does not answer.
    "webhooks.connect_timeout_seconds": "10",
    "webhooks.read_timeout_seconds": "20",
}


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Any:
    marker = request.node.get_closest_marker("commerce")
    return make_settings(database_url, {**GIVEN, **(marker.kwargs["settings"] if marker else {})})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running() as server:
        yield server


@pytest.fixture
def till(application: Any, staff: TestApp) -> Till:
    return Till(application, staff)


@pytest.fixture
def soon_given_up(application: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the receiver is to hang, nobody waits for long; all other calls have all the time of the world."""
    sender = application.registry.webhook_sender
    post, patient = sender.post, sender._settings

    def post_in_time(url: str, *what: Any) -> Any:
        hangs = url == receiver.url and receiver.mischief and receiver.mischief[0] == "hang"
        called = len(receiver.calls)
        sender._settings = patient.model_copy(update={"read_timeout_seconds": 0.2}) if hangs else patient
        try:
            return post(url, *what)
        finally:
            if hangs:  # the call may be given up before it is heard
                wait_until(lambda: len(receiver.calls) > called)

    monkeypatch.setattr(sender, "post", post_in_time)


class Desk:
    """What staff do with one endpoint."""

    def __init__(self, staff: TestApp, receiver: Receiver, topics: list[str]) -> None:
        self.staff = staff
        made = staff.post_json(ENDPOINTS, {"url": receiver.url, "topics": topics}, status=201).json
        self.path = f"{ENDPOINTS}/{made['id']}"
        self.id = made["id"]
        self.secret = receiver.secret = made["secret"]

    def show(self) -> Any:
        return self.staff.get(self.path).json

    def change(self, **changes: Any) -> Any:
        return self.staff.patch_json(self.path, changes, headers={"If-Match": "*"}).json

    def rotate(self) -> str:
        answer = self.staff.post_json(f"{self.path}/rotate-secret", {}, headers={"If-Match": "*"})
        return str(answer.json["secret"])

    def ping(self) -> Any:
        return self.staff.post_json(f"{self.path}/test", {}, status=201).json

    def deliveries(self, query: str = "") -> list[Any]:
        """Oldest first."""
        return list(reversed(self.staff.get(f"{self.path}/deliveries{query}").json["data"]))

    def detail(self, delivery: Any) -> Any:
        return self.staff.get(f"{self.path}/deliveries/{delivery['id']}").json


@pytest.fixture
def desk(staff: TestApp, receiver: Receiver) -> Callable[..., Desk]:
    """`desk("order.*")`: an endpoint at the receiver that wants to hear of that."""
    return lambda *topics: Desk(staff, receiver, list(topics or ["*"]))


@pytest.fixture
def later(clock: StoppedClock, run_jobs: Callable[[], int]) -> Callable[..., None]:
    """`later(hours=2)`: what workers do then."""

    def run(**delta: float) -> None:
        clock.tick(**delta)
        run_jobs()

    return run


@pytest.fixture
def at_next_attempt(clock: StoppedClock, run_jobs: Callable[[], int]) -> Callable[[Desk], None]:
    """Let workers do what they do when an endpoint's next delivery is due."""

    def run(desk: Desk) -> None:
        due = [datetime.fromisoformat(each["next_attempt_at"]) for each in desk.deliveries("?state=waiting")]
        rests = desk.show()["rests_until"]
        moment = max([min(due), *([datetime.fromisoformat(rests)] if rests else [])])
        clock.tick(seconds=max(0.0, (moment - clock.now()) / timedelta(seconds=1)))
        run_jobs()

    return run
