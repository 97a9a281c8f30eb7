"""How the shop does, for dashboards."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from commerce_core.api.schemas import Output, Query


class StatsQuery(Query):
    minutes: int = Field(default=60, ge=1, le=1_440, description="How far back to look at what was done.")


class RequestStats(Output):
    """What all processes have answered; the last seconds may be missing."""

    requests: int
    errors: int = Field(description="Answered 5xx.")
    error_percent: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Turnover(Output):
    """Orders that were placed within the time, and are not cancelled; money in minor units."""

    currency: str = Field(examples=["USD"])
    orders: int
    total: int
    paid: int = Field(description="Of those, what is paid.")


class OrderStats(Output):
    placed: int
    cancelled: int
    turnover: list[Turnover]


class StockStats(Output):
    """As it is now."""

    active_holds: int
    held_units: int
    low: int = Field(description="Variants of which no more than the threshold is left.")
    out: int = Field(description="Variants of which nothing is left.")


class QueueStats(Output):
    """As it is now."""

    waiting: int = Field(description="May run now.")
    running: int
    dead: int
    oldest_wait_seconds: float


class WaitingStats(Output):
    """As it is now."""

    mails: int
    webhook_events: int = Field(description="Of payment providers, without effect yet.")
    webhook_deliveries: int = Field(description="That integrators have still to be told.")


class AlertOut(Output):
    rule: str
    subject: str
    severity: str
    summary: str
    fired_at: datetime


class HostOut(Output):
    host: str
    what: str = Field(examples=["memory", "disk /"])
    percent: float
    seen_at: datetime


class StatsOut(Output):
    minutes: int
    is_open: bool = Field(description="False while the shop is closed for maintenance.")
    requests: RequestStats
    orders: OrderStats
    stock: StockStats
    queues: dict[str, QueueStats]
    waiting: WaitingStats
    alerts: list[AlertOut] = Field(description="What is wrong, the oldest first.")
    hosts: list[HostOut]
