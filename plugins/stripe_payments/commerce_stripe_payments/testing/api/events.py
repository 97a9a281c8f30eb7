"""What has happened, for thirty days; and who is told of it."""

from __future__ import annotations

import fnmatch
import secrets
from typing import Any

from stripe import RequestOptions
from stripe.params._event_list_params import EventListParams
from stripe.params._event_retrieve_params import EventRetrieveParams
from stripe.params._webhook_endpoint_create_params import WebhookEndpointCreateParams
from stripe.params._webhook_endpoint_delete_params import WebhookEndpointDeleteParams
from stripe.params._webhook_endpoint_list_params import WebhookEndpointListParams
from stripe.params._webhook_endpoint_retrieve_params import WebhookEndpointRetrieveParams
from stripe.params._webhook_endpoint_update_params import WebhookEndpointUpdateParams

from commerce_stripe_payments.testing.failures import Failure, Thing, missing, wrong
from commerce_stripe_payments.testing.forms import merged_metadata, truth
from commerce_stripe_payments.testing.outbox import Endpoint, Outbox, render_event, thin_id
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_KEPT = 30 * 86_400


@route("GET", "/v1/events", EventListParams)
def list_events(call: Call) -> Thing:
    world, params = call.world, call.params
    types = params.get("types") or ([params["type"]] if "type" in params else ["*"])
    shown = [event for event in _kept(world) if any(fnmatch.fnmatchcase(event["type"], type) for type in types)]
    if "delivery_success" in params:
        wanted = truth(params["delivery_success"], "delivery_success")
        shown = [event for event in shown if (event["pending_webhooks"] == 0) is wanted]
    found = page(call, shown)
    return {**found, "data": [render_event(world, event, event["api_version"]) for event in found["data"]]}


@route("GET", "/v1/events/{id}", EventRetrieveParams)
def retrieve_event(call: Call, id: str) -> Thing:
    for event in _kept(call.world):
        if event["id"] == id:
            return render_event(call.world, event, event["api_version"])
    raise missing("event", id)


@route("GET", "/v2/core/events/{id}", RequestOptions)
def retrieve_thin_event(call: Call, id: str) -> Thing:
    """The whole of a notification, which names its twin."""
    for event in _kept(call.world):
        if thin_id(event) == id:
            thing = event["data"]["object"]
            return {
                "id": id,
                "object": "v2.core.event",
                "type": f"v1.{event['type']}",
                "livemode": event["livemode"],
                "created": event["created"],
                "snapshot_event": event["id"],
                "related_object": {"id": thing.get("id"), "type": thing["object"]},
            }
    raise missing("event", id)


@route("POST", "/v1/webhook_endpoints", WebhookEndpointCreateParams)
def create_webhook_endpoint(call: Call) -> Thing:
    """Tell an address of what happens from now on. Only this answer has the secret."""
    world, params = call.world, call.params
    _check_events(params["enabled_events"])
    made = world.add(
        "we",
        "webhook_endpoint",
        api_version=params.get("api_version"),
        application=None,
        description=params.get("description"),
        enabled_events=list(params["enabled_events"]),
        status="enabled",
        url=params["url"],
    )
    made["metadata"] = merged_metadata({}, params.get("metadata"))
    secret = f"whsec_{secrets.token_hex(16)}"
    version = params.get("api_version") or world.api_version
    endpoint = Endpoint(made["id"], params["url"], (secret,), version, tuple(params["enabled_events"]))
    _outbox(world).endpoints.append(endpoint)
    return {**made, "secret": secret}


@route("GET", "/v1/webhook_endpoints/{id}", WebhookEndpointRetrieveParams)
def retrieve_webhook_endpoint(call: Call, id: str) -> Thing:
    return call.world.find("webhook_endpoint", id)


@route("POST", "/v1/webhook_endpoints/{id}", WebhookEndpointUpdateParams)
def update_webhook_endpoint(call: Call, id: str) -> Thing:
    made = call.world.find("webhook_endpoint", id)
    params = call.params
    endpoint = _endpoint(call.world, id)
    if "enabled_events" in params:
        _check_events(params["enabled_events"])
        made["enabled_events"] = list(params["enabled_events"])
        endpoint.enabled_events = tuple(params["enabled_events"])
    if "url" in params:
        made["url"] = endpoint.receiver = params["url"]
    if "disabled" in params:
        endpoint.is_enabled = not params["disabled"]
        made["status"] = "enabled" if endpoint.is_enabled else "disabled"
    made["metadata"] = merged_metadata(made["metadata"], params.get("metadata"))
    return made


@route("DELETE", "/v1/webhook_endpoints/{id}", WebhookEndpointDeleteParams)
def delete_webhook_endpoint(call: Call, id: str) -> Thing:
    made = call.world.find("webhook_endpoint", id)
    _outbox(call.world).endpoints.remove(_endpoint(call.world, id))
    call.world.remove(made)
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


@route("GET", "/v1/webhook_endpoints", WebhookEndpointListParams)
def list_webhook_endpoints(call: Call) -> Thing:
    return page(call, call.world.every("webhook_endpoint"))


def _kept(world: World) -> list[Thing]:
    return [event for event in world.events if event["created"] > world.now - _KEPT]


def _check_events(given: Any) -> None:
    if not isinstance(given, list) or not given:
        raise wrong("enabled_events", "Invalid array", None)


def _outbox(world: World) -> Outbox:
    if world.outbox is None:
        raise Failure("There is nobody to send anything.", status=500)
    return world.outbox


def _endpoint(world: World, id: str) -> Endpoint:
    return next(endpoint for endpoint in _outbox(world).endpoints if endpoint.id == id)
