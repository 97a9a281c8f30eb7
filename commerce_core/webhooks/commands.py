"""`commerce webhooks`: the endpoints of integrators, tested and told again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from commerce_core.cli.shop import config_argument, open_shop

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from commerce_core.webhooks.models import WebhookEndpoint


@click.group()
def webhooks() -> None:
    """What integrators' endpoints are told."""


@webhooks.command("list")
@config_argument
def list_(config: str) -> None:
    """List the endpoints, and what waits and has failed at each."""
    from rich.console import Console
    from rich.table import Table

    from commerce_core.database import transaction
    from commerce_core.webhooks.queries import counts_by_state, list_endpoints
    from commerce_core.webhooks.service import MOST_ENDPOINTS

    table = Table("id", "url", "topics", "state", "waiting", "failed")
    with open_shop(config) as shop, transaction(shop.engine) as session:
        found, _ = list_endpoints(session, limit=MOST_ENDPOINTS)
        counts = counts_by_state(session)
        for endpoint in found:
            waiting, failed = (str(counts.get((endpoint.id, state), 0)) for state in ("waiting", "failed"))
            state = "active" if endpoint.active else endpoint.disabled_reason or "inactive"
            table.add_row(str(endpoint.id), endpoint.url, " ".join(endpoint.topics), state, waiting, failed)
    Console().print(table if found else "There are no endpoints.")


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@config_argument
def test(config: str, endpoint_id: UUID) -> None:
    """Send an endpoint a ping, here and now, and say what it answered."""
    from commerce_core.database import transaction
    from commerce_core.webhooks.delivery import claim_delivery, deliver
    from commerce_core.webhooks.queries import attempts_of
    from commerce_core.webhooks.sending import Sender
    from commerce_core.webhooks.service import ping

    with open_shop(config) as shop:
        now = shop.clock.now()
        with transaction(shop.engine) as session:
            delivery_id = ping(session, _endpoint(session, endpoint_id), now=now).id
            _audit(session, "test", endpoint_id, {"delivery_id": delivery_id}, now)
            # Here and now: before any worker has seen it.
            claimed = claim_delivery(session, endpoint_id, now=now, delivery_id=delivery_id)
            assert claimed is not None
        deliver(shop.engine, Sender(shop.settings), shop.settings.webhooks, claimed, clock=shop.clock)
        with transaction(shop.engine) as session:
            for attempt in attempts_of(session, delivery_id):
                answered = f"It answered {attempt.status}, after {attempt.duration_ms} ms."
                if attempt.status is None or not 200 <= attempt.status < 300:
                    raise click.ClickException(attempt.error or answered)
                click.echo(answered)


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@config_argument
@click.option("--since", type=click.DateTime(), required=True, help="What failed since then (UTC).")
@click.option("--topic", help="Only events of this topic.")
def replay(config: str, endpoint_id: UUID, since: datetime, topic: str | None) -> None:
    """Send an endpoint once more what has failed."""
    from commerce_core.database import transaction
    from commerce_core.webhooks.queries import failed_ids
    from commerce_core.webhooks.service import MOST_AT_A_TIME
    from commerce_core.webhooks.service import replay as send_again

    replayed, more = 0, True
    with open_shop(config) as shop:
        while more:
            now = shop.clock.now()
            with transaction(shop.engine) as session:
                endpoint = _endpoint(session, endpoint_id)
                ids, more = failed_ids(
                    session, endpoint_id, since=since.replace(tzinfo=UTC), topic=topic, limit=MOST_AT_A_TIME
                )
                count = send_again(session, endpoint, ids, now=now)
                _audit(session, "replay", endpoint_id, {"failed_since": since, "replayed": count}, now)
                replayed += count
    click.echo(f"{replayed} deliveries will be made again.")


def _endpoint(session: Session, endpoint_id: UUID) -> WebhookEndpoint:
    """The endpoint, if it can be sent anything."""
    from commerce_core.webhooks.models import WebhookEndpoint

    endpoint = session.get(WebhookEndpoint, endpoint_id)
    if endpoint is None:
        raise click.ClickException(f"There is no endpoint {endpoint_id}.")
    if not endpoint.active:
        raise click.ClickException("The endpoint is not active.")
    return endpoint


def _audit(session: Session, action: str, endpoint_id: UUID, after: dict[str, Any], now: datetime) -> None:
    from commerce_core.audit.service import record

    record(
        session,
        actor="command line",
        action=f"webhook-endpoint.{action}",
        subject=f"webhook-endpoint:{endpoint_id}",
        after=after,
        now=now,
    )
