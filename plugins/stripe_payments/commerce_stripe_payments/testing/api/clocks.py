"""Test clocks: the time of those customers that were made with one."""

from __future__ import annotations

from stripe.params.test_helpers._test_clock_advance_params import TestClockAdvanceParams
from stripe.params.test_helpers._test_clock_create_params import TestClockCreateParams
from stripe.params.test_helpers._test_clock_delete_params import TestClockDeleteParams
from stripe.params.test_helpers._test_clock_list_params import TestClockListParams
from stripe.params.test_helpers._test_clock_retrieve_params import TestClockRetrieveParams

from commerce_stripe_payments.testing.billing.time import catch_up
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_KIND = "test_helpers.test_clock"
_PATH = "/v1/test_helpers/test_clocks"


@route("POST", _PATH, TestClockCreateParams)
def create_test_clock(call: Call) -> Thing:
    clock = call.world.add(
        "clock",
        _KIND,
        deletes_after=call.world.now + 30 * 86_400,
        frozen_time=call.params["frozen_time"],
        name=call.params.get("name"),
        status="ready",
        status_details={},
    )
    del clock["metadata"]
    call.world.emit("test_helpers.test_clock.created", clock)
    return clock


@route("GET", _PATH + "/{id}", TestClockRetrieveParams)
def retrieve_test_clock(call: Call, id: str) -> Thing:
    return call.world.find(_KIND, id)


@route("POST", _PATH + "/{id}/advance", TestClockAdvanceParams)
def advance_test_clock(call: Call, id: str) -> Thing:
    """All that happens on the way has happened when this answers; Stripe takes its time, and tells by an event."""
    return advance(call.world, call.world.find(_KIND, id), call.params["frozen_time"])


@route("DELETE", _PATH + "/{id}", TestClockDeleteParams)
def delete_test_clock(call: Call, id: str) -> Thing:
    clock = call.world.find(_KIND, id)
    for kind in ("customer", "subscription", "invoice"):
        for thing in call.world.every(kind):
            if thing["test_clock"] == id:
                call.world.remove(thing)
    call.world.remove(clock)
    return {"id": id, "object": _KIND, "deleted": True}


@route("GET", _PATH, TestClockListParams)
def list_test_clocks(call: Call) -> Thing:
    return page(call, call.world.every(_KIND))


def advance(world: World, clock: Thing, until: int) -> Thing:
    """Set a clock on, one thing that is due after the other."""
    if until <= clock["frozen_time"]:
        raise Failure("frozen_time must be in the future of the clock.", param="frozen_time")
    clock["status"] = "advancing"
    world.emit("test_helpers.test_clock.advancing", clock)
    catch_up(world, clock["id"], until)
    clock.update(frozen_time=until, status="ready")
    world.emit("test_helpers.test_clock.ready", clock)
    return clock
