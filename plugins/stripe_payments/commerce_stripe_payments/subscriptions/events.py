"""What other parts of a shop may subscribe to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from commerce_core.events import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionChanged(Event):
    """A subscription has another status or plan, or entitles to something it did not, or no longer does."""

    topic: ClassVar[str] = "stripe.subscription-changed"
    subscription_id: UUID
    user_id: UUID | None
    plan: str | None
    status: str
    is_entitled: bool
