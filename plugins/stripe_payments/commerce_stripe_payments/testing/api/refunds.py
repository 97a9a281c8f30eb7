"""Refunds."""

from __future__ import annotations

from stripe.params._refund_cancel_params import RefundCancelParams
from stripe.params._refund_create_params import RefundCreateParams
from stripe.params._refund_list_params import RefundListParams
from stripe.params._refund_retrieve_params import RefundRetrieveParams
from stripe.params._refund_update_params import RefundUpdateParams

from commerce_stripe_payments.testing.api.charges import book
from commerce_stripe_payments.testing.cards import Instrument
from commerce_stripe_payments.testing.failures import Failure, Thing, wrong
from commerce_stripe_payments.testing.forms import merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_REASONS = (None, "duplicate", "fraudulent", "requested_by_customer")


@route("POST", "/v1/refunds", RefundCreateParams)
def create_refund(call: Call) -> Thing:
    world, params = call.world, call.params
    if params.get("reason") not in _REASONS:
        raise wrong("reason", f"Invalid reason: {params['reason']}", None)
    if "payment_intent" in params:
        intent = world.find("payment_intent", params["payment_intent"], param="payment_intent")
        charge_id, param = intent["latest_charge"], "payment_intent"
    else:
        charge_id, param = params.get("charge"), "charge"
    if charge_id is None:
        raise Failure("This has no successful charge to refund.", param=param)
    return refund(
        world,
        world.find("charge", charge_id, param=param),
        params.get("amount"),
        reason=params.get("reason"),
        metadata=merged_metadata({}, params.get("metadata")),
    )


@route("GET", "/v1/refunds/{id}", RefundRetrieveParams)
def retrieve_refund(call: Call, id: str) -> Thing:
    return call.world.find("refund", id)


@route("POST", "/v1/refunds/{id}", RefundUpdateParams)
def update_refund(call: Call, id: str) -> Thing:
    found = call.world.find("refund", id)
    metadata = merged_metadata(found["metadata"], call.params.get("metadata"))
    return call.world.change(found, "refund.updated", metadata=metadata)


@route("POST", "/v1/refunds/{id}/cancel", RefundCancelParams)
def cancel_refund(call: Call, id: str) -> Thing:
    found = call.world.find("refund", id)
    if found["status"] != "requires_action":
        raise Failure(f"A refund that is {found['status']} cannot be canceled.")
    return end_refund(call.world, found, "canceled")


@route("GET", "/v1/refunds", RefundListParams)
def list_refunds(call: Call) -> Thing:
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    return page(
        call,
        (one for one in call.world.every("refund") if all(one[name] == value for name, value in wanted.items())),
    )


def refund(world: World, charge: Thing, amount: int | None, *, reason: str | None, metadata: Thing) -> Thing:
    """Give money back; all that is left without an amount. Raises Failure if there is not so much."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if not charge["captured"]:
        raise Failure("This charge has not been captured: cancel the payment intent instead.", charge=charge["id"])
    if charge["refunded"] or left == 0:
        raise Failure(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", charge=charge["id"]
        )
    if charge["disputed"] and not all(
        one["is_charge_refundable"] for one in world.every("dispute") if one["charge"] == charge["id"]
    ):
        raise Failure(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            charge=charge["id"],
        )
    taken = left if amount is None else amount
    if taken < 1:
        raise wrong("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if taken > left:
        raise Failure(f"Refund amount ({taken}) is greater than unrefunded amount on charge ({left})", param="amount")
    instrument: Instrument = charge["_instrument"]
    made = world.add(
        "re",
        "refund",
        amount=taken,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details={"type": charge["payment_method_details"]["type"]},
        failure_balance_transaction=None,
        failure_reason=None,
        next_action=None,
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        pending_reason="processing" if instrument.refund == "pending" else None,
        reason=reason,
        receipt_number=None,
        source_transfer_reversal=None,
        # Also what will fail has succeeded at first.
        status="pending" if instrument.refund == "pending" else "succeeded",
        transfer_reversal=None,
    )
    made["metadata"] = metadata
    del made["livemode"]
    made["balance_transaction"] = book(world, made, "refund", -taken)["id"]
    _count(charge, taken)
    world.emit("refund.created", made)
    world.emit("charge.refunded", charge)
    return made


def end_refund(world: World, made: Thing, status: str) -> Thing:
    """Let a refund have come through after all, or not: then the money is back in the account."""
    charge = world.objects[made["charge"]]
    changes: Thing = {"status": status, "pending_reason": None}
    if status in ("failed", "canceled"):
        _count(charge, -made["amount"])
        changes["failure_balance_transaction"] = book(world, made, "refund_failure", made["amount"])["id"]
        changes["failure_reason"] = "expired_or_canceled_card" if status == "failed" else None
    world.change(made, "refund.updated", **changes)
    world.emit("charge.refund.updated", made)
    if status == "failed":
        world.emit("refund.failed", made)
    return made


def _count(charge: Thing, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] >= charge["amount_captured"]
