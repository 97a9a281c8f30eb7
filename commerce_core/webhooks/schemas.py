"""Endpoints, deliveries and attempts as staff send and see them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from commerce_core.api.schemas import CursorList, CursorQuery, Input, Moment, Output, ShortText, Text
from commerce_core.webhooks import topics
from commerce_core.webhooks.addresses import LONGEST_URL
from commerce_core.webhooks.delivery import body_of
from commerce_core.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

DeliveryState = Literal["waiting", "delivered", "failed"]


def _check_topic(topic: str) -> str:
    if not topics.is_known(topic):
        known = ", ".join(topics.topics())
        raise PydanticCustomError("unknown_topic", "is none of {known}; order.* and * are, too", {"known": known})
    return topic


def _no_doubles(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


Url = Annotated[Text, Field(min_length=1, max_length=LONGEST_URL, examples=["https://erp.example/hooks"])]
Topic = Annotated[Text, Field(max_length=100, examples=["order.paid"]), AfterValidator(_check_topic)]
Topics = Annotated[
    list[Topic],
    Field(
        min_length=1,
        max_length=50,
        description="What it wants to hear of: `order.paid`, all of a kind as `order.*`, or `*`. See docs/webhooks.md.",
        examples=[["order.paid", "refund.*"]],
    ),
    AfterValidator(_no_doubles),
]
Description = Annotated[Text, Field(max_length=500, examples=["The warehouse's ERP"])]


def optional() -> Any:
    """A field of a PATCH, which may be left out."""
    return Field(default_factory=lambda: None)


class WebhookEndpointIn(Input):
    url: Url = Field(description="`https`, with a host that leads to a public address.")
    description: Description = ""
    topics: Topics
    active: bool = Field(default=True, description="Whether anything is sent to it.")


class WebhookEndpointPatch(Input):
    url: Url = optional()
    description: Description = optional()
    topics: Topics = optional()
    active: bool = optional()


class WebhookEndpointOut(Output):
    """Where an integrator is told what happens in the shop."""

    id: UUID
    url: str
    description: str
    topics: list[str]
    active: bool
    disabled_reason: Literal["gone", "failing"] | None = Field(
        description="Why the shop has stopped sending: it answered 410, or nothing could be delivered for days."
    )
    failing_since: datetime | None = Field(description="Nothing has been delivered since then.")
    rests_until: datetime | None = Field(description="Nobody answered; nothing is sent before then.")
    previous_secret_until: datetime | None = Field(description="The secret before signs as well, until then.")
    created_at: datetime
    version: int = Field(description="Counts the edits; the ETag says the same.")

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> Self:
        return cls.model_validate(endpoint, from_attributes=True)


class WebhookEndpointWithSecret(WebhookEndpointOut):
    """An endpoint with its new secret, which is not told again."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


WebhookEndpointList = CursorList[WebhookEndpointOut]


class DeliveryQuery(CursorQuery):
    state: DeliveryState | None = None
    topic: ShortText | None = Field(default=None, examples=["order.paid"])
    subject: ShortText | None = Field(default=None, examples=["order:01932c07-209c-7e3a-b6f4-5d2a8c9e1f70"])


class DeliveryOut(Output):
    """One event that an endpoint was or will be told."""

    id: UUID
    event_id: UUID = Field(description="The `id` that the receiver is told, the same on every attempt.")
    topic: str
    subject: str | None
    state: DeliveryState
    attempts: int = Field(description="How often it was sent.")
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, delivery: WebhookDelivery) -> Self:
        return cls.model_validate(delivery, from_attributes=True)


class AttemptOut(Output):
    """What was answered (its beginning), or why nothing was."""

    started_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    response: str | None


class DeliveryDetail(DeliveryOut):
    body: str = Field(description="What is sent, to the letter.")
    log: list[AttemptOut] = Field(description="Every attempt, in order.")

    @classmethod
    def with_attempts(cls, delivery: WebhookDelivery, attempts: Iterable[WebhookAttempt]) -> Self:
        log = [AttemptOut.model_validate(attempt, from_attributes=True) for attempt in attempts]
        return cls(**DeliveryOut.of(delivery).model_dump(), body=body_of(delivery).decode(), log=log)


DeliveryList = CursorList[DeliveryOut]


class ReplayMany(Input):
    """Those that have failed, of events since then."""

    failed_since: Moment = Field(strict=False, examples=["2026-11-21T12:30:00Z"])
    topic: ShortText | None = Field(default=None, examples=["order.paid"])


class Replayed(Output):
    replayed: int
    more: bool = Field(description="Whether there are more that match: ask again.")
