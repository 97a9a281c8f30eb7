"""Webhook endpoints and their deliveries over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import CursorQuery, cursor_list_of
from commerce_core.webhooks import queries, service
from commerce_core.webhooks.models import WebhookEndpoint
from commerce_core.webhooks.schemas import (
    DeliveryDetail,
    DeliveryList,
    DeliveryOut,
    DeliveryQuery,
    Replayed,
    ReplayMany,
    WebhookEndpointIn,
    WebhookEndpointList,
    WebhookEndpointOut,
    WebhookEndpointPatch,
    WebhookEndpointWithSecret,
)


@api_view(
    route_name="admin_webhook_endpoints",
    request_method="GET",
    permission=Permission.WEBHOOK_READ,
    query=CursorQuery,
    returns=WebhookEndpointList,
)
def list_endpoints(request: Any, query: CursorQuery) -> Any:
    """Endpoints, newest first."""
    found, more = queries.list_endpoints(request.db, before=query.after, limit=query.limit)
    rows = [WebhookEndpointOut.of(endpoint) for endpoint in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="admin_webhook_endpoints",
    request_method="POST",
    permission=Permission.WEBHOOK_MANAGE,
    body=WebhookEndpointIn,
    returns=WebhookEndpointWithSecret,
    status=201,
    keyed=False,  # the answer holds a secret, which a key would have kept; a repeat is refused
    versioned=True,
    problems=(service.EndpointExists, service.TooManyEndpoints),
)
def create_endpoint(request: Any, body: WebhookEndpointIn) -> Any:
    """Add an endpoint. Its secret is told now, and not again."""
    endpoint = service.add_endpoint(
        request.db,
        body.model_dump(),
        request.settings.webhooks,
        allow_http=request.registry.webhook_sender.allow_http,
        now=request.now,
    )
    _audited(request, "create", None, endpoint)
    return WebhookEndpointWithSecret.of(endpoint)


@api_view(
    route_name="admin_webhook_endpoint",
    request_method="GET",
    permission=Permission.WEBHOOK_READ,
    returns=WebhookEndpointOut,
    versioned=True,
    problems=(NotFound,),
)
def show_endpoint(request: Any) -> WebhookEndpointOut:
    """One endpoint."""
    return WebhookEndpointOut.of(service.get_endpoint(request.db, path_id(request)))


@api_view(
    route_name="admin_webhook_endpoint",
    request_method="PATCH",
    permission=Permission.WEBHOOK_MANAGE,
    body=WebhookEndpointPatch,
    returns=WebhookEndpointOut,
    versioned=True,
    problems=(service.EndpointExists,),
)
def change_endpoint(request: Any, body: WebhookEndpointPatch) -> Any:
    """Change what is given of an endpoint. `{"active": true}` is also how one is enabled again."""
    endpoint = _locked(request)
    before = WebhookEndpointOut.of(endpoint)
    service.change_endpoint(
        request.db,
        endpoint,
        body.model_dump(exclude_unset=True),
        request.settings.webhooks,
        allow_http=request.registry.webhook_sender.allow_http,
    )
    return _audited(request, "update", before, endpoint)


@api_view(
    route_name="admin_webhook_endpoint",
    request_method="DELETE",
    permission=Permission.WEBHOOK_MANAGE,
    status=204,
    versioned=True,
)
def delete_endpoint(request: Any) -> None:
    """Delete an endpoint, with all that waits to be sent to it."""
    endpoint = _locked(request)
    before = WebhookEndpointOut.of(endpoint)
    service.delete_endpoint(request.db, endpoint)
    request.audit("webhook-endpoint.delete", f"webhook-endpoint:{before.id}", before=before.model_dump())


@api_view(
    route_name="admin_webhook_endpoint_rotate",
    request_method="POST",
    permission=Permission.WEBHOOK_MANAGE,
    returns=WebhookEndpointWithSecret,
    keyed=False,  # as above; a repeat does not match any more
    versioned=True,
)
def rotate_secret(request: Any) -> Any:
    """Make a new secret, which is told now, and not again. The old one signs as well until `previous_secret_until`."""
    endpoint = _locked(request)
    before = WebhookEndpointOut.of(endpoint)
    overlap = timedelta(hours=request.settings.webhooks.rotation_hours)
    service.rotate_secret(request.db, endpoint, overlap=overlap, now=request.now)
    _audited(request, "rotate-secret", before, endpoint)
    return WebhookEndpointWithSecret.of(endpoint)


@api_view(
    route_name="admin_webhook_endpoint_test",
    request_method="POST",
    permission=Permission.WEBHOOK_MANAGE,
    returns=DeliveryOut,
    status=201,
    problems=(service.EndpointInactive, NotFound),
)
def ping_endpoint(request: Any) -> Any:
    """Send an endpoint an event of the topic `ping`. What comes of it is seen among its deliveries."""
    endpoint = service.get_endpoint(request.db, path_id(request))
    delivery = service.ping(request.db, endpoint, now=request.now)
    request.audit("webhook-endpoint.test", f"webhook-endpoint:{endpoint.id}", after={"delivery_id": delivery.id})
    return DeliveryOut.of(delivery)


@api_view(
    route_name="admin_webhook_deliveries",
    request_method="GET",
    permission=Permission.WEBHOOK_READ,
    query=DeliveryQuery,
    returns=DeliveryList,
    problems=(NotFound,),
)
def list_deliveries(request: Any, query: DeliveryQuery) -> Any:
    """What an endpoint was or will be told, newest first."""
    endpoint = service.get_endpoint(request.db, path_id(request))
    filters = query.model_dump(exclude={"limit", "cursor"})
    found, more = queries.list_deliveries(request.db, endpoint.id, **filters, before=query.after, limit=query.limit)
    rows = [DeliveryOut.of(delivery) for delivery in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="admin_webhook_delivery",
    request_method="GET",
    permission=Permission.WEBHOOK_READ,
    returns=DeliveryDetail,
    problems=(NotFound,),
)
def show_delivery(request: Any) -> DeliveryDetail:
    """One delivery: what is sent, and every attempt."""
    delivery = queries.get_delivery(request.db, path_id(request), path_id(request, "delivery_id"))
    return DeliveryDetail.with_attempts(delivery, queries.attempts_of(request.db, delivery.id))


@api_view(
    route_name="admin_webhook_delivery_replay",
    request_method="POST",
    permission=Permission.WEBHOOK_MANAGE,
    returns=Replayed,
    problems=(service.EndpointInactive, NotFound),
)
def replay_delivery(request: Any) -> Any:
    """Send a delivery once more, whatever has become of it, with all its tries and the same id."""
    endpoint = service.get_endpoint(request.db, path_id(request))
    delivery = queries.get_delivery(request.db, endpoint.id, path_id(request, "delivery_id"))
    replayed = service.replay(request.db, endpoint, [delivery.id], now=request.now)
    after = {"delivery_id": delivery.id}
    request.audit("webhook-endpoint.replay", f"webhook-endpoint:{endpoint.id}", after=after)
    return Replayed(replayed=replayed, more=False)


@api_view(
    route_name="admin_webhook_deliveries_replay",
    request_method="POST",
    permission=Permission.WEBHOOK_MANAGE,
    body=ReplayMany,
    returns=Replayed,
    problems=(service.EndpointInactive, NotFound),
)
def replay_deliveries(request: Any, body: ReplayMany) -> Any:
    """Send once more what has failed since then: at most 1,000 at a time."""
    endpoint = service.get_endpoint(request.db, path_id(request))
    ids, more = queries.failed_ids(
        request.db, endpoint.id, since=body.failed_since, topic=body.topic, limit=service.MOST_AT_A_TIME
    )
    replayed = service.replay(request.db, endpoint, ids, now=request.now)
    after = {**body.model_dump(exclude_none=True), "replayed": replayed}
    request.audit("webhook-endpoint.replay", f"webhook-endpoint:{endpoint.id}", after=after)
    return Replayed(replayed=replayed, more=more)


def _locked(request: Any) -> WebhookEndpoint:
    """The endpoint in the path, at the version that was asked for."""
    endpoint = service.get_endpoint(request.db, path_id(request), lock=True)
    request.check_version(endpoint.version)
    return endpoint


def _audited(
    request: Any, action: str, before: WebhookEndpointOut | None, endpoint: WebhookEndpoint
) -> WebhookEndpointOut:
    """What is answered, with a line in the audit log, which is never told a secret."""
    after = WebhookEndpointOut.of(endpoint)
    request.audit(
        f"webhook-endpoint.{action}",
        f"webhook-endpoint:{endpoint.id}",
        before=before and before.model_dump(),
        after=after.model_dump(),
    )
    return after
