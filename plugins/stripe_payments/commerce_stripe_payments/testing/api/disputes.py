"""Disputes, and the warnings before them."""

from __future__ import annotations

from stripe.params._dispute_close_params import DisputeCloseParams
from stripe.params._dispute_list_params import DisputeListParams
from stripe.params._dispute_retrieve_params import DisputeRetrieveParams
from stripe.params._dispute_update_params import DisputeUpdateParams
from stripe.params._review_retrieve_params import ReviewRetrieveParams
from stripe.params.radar._early_fraud_warning_list_params import EarlyFraudWarningListParams
from stripe.params.radar._early_fraud_warning_retrieve_params import EarlyFraudWarningRetrieveParams

from commerce_stripe_payments.testing.api.charges import book
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.forms import merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_FEE = 1_500
_ENDS = {"won": "won", "lost": "lost", "warning_closed": "warning_closed", "prevented": "prevented"}


@route("GET", "/v1/disputes/{id}", DisputeRetrieveParams)
def retrieve_dispute(call: Call, id: str) -> Thing:
    return call.world.find("dispute", id)


@route("POST", "/v1/disputes/{id}", DisputeUpdateParams)
def update_dispute(call: Call, id: str) -> Thing:
    """Evidence; `winning_evidence` and `losing_evidence` decide at once, as they do in test mode."""
    world = call.world
    found = world.find("dispute", id)
    evidence = call.params.get("evidence", {})
    changes: Thing = {
        "evidence": {**found["evidence"], **evidence},
        "metadata": merged_metadata(found["metadata"], call.params.get("metadata")),
    }
    if evidence and call.params.get("submit", True):
        warning = "warning_" if found["status"].startswith("warning_") else ""
        changes["status"] = f"{warning}under_review"
        changes["evidence_details"] = {
            **found["evidence_details"],
            "has_evidence": True,
            "submission_count": found["evidence_details"]["submission_count"] + 1,
        }
    world.change(found, "charge.dispute.updated", **changes)
    outcome = {"winning_evidence": "won", "losing_evidence": "lost"}.get(evidence.get("uncategorized_text", ""))
    return end_dispute(world, found, outcome) if outcome else found


@route("POST", "/v1/disputes/{id}/close", DisputeCloseParams)
def close_dispute(call: Call, id: str) -> Thing:
    """Give in."""
    return end_dispute(call.world, call.world.find("dispute", id), "lost")


@route("GET", "/v1/disputes", DisputeListParams)
def list_disputes(call: Call) -> Thing:
    wanted = {name: call.params[name] for name in ("charge", "payment_intent") if name in call.params}
    return page(
        call,
        (one for one in call.world.every("dispute") if all(one[name] == value for name, value in wanted.items())),
    )


@route("GET", "/v1/radar/early_fraud_warnings/{id}", EarlyFraudWarningRetrieveParams)
def retrieve_early_fraud_warning(call: Call, id: str) -> Thing:
    return call.world.find("radar.early_fraud_warning", id)


@route("GET", "/v1/radar/early_fraud_warnings", EarlyFraudWarningListParams)
def list_early_fraud_warnings(call: Call) -> Thing:
    return page(call, call.world.every("radar.early_fraud_warning"))


@route("GET", "/v1/reviews/{id}", ReviewRetrieveParams)
def retrieve_review(call: Call, id: str) -> Thing:
    return call.world.find("review", id)


def dispute(
    world: World, charge: Thing, *, reason: str = "fraudulent", amount: int | None = None, is_inquiry: bool = False
) -> Thing:
    """Let a customer's bank take a payment back, or (an inquiry) ask about it first."""
    taken = charge["amount_captured"] - charge["amount_refunded"] if amount is None else amount
    made = world.add(
        "du",
        "dispute",
        amount=taken,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={
            "due_by": world.now + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=is_inquiry,
        payment_intent=charge["payment_intent"],
        payment_method_details={"type": "card", "card": {"brand": "visa", "case_type": "chargeback"}},
        reason=reason,
        status="warning_needs_response" if is_inquiry else "needs_response",
    )
    charge["disputed"] = True
    world.emit("charge.dispute.created", made)
    if not is_inquiry:
        made["balance_transactions"] = [book(world, made, "adjustment", -taken, fee=_FEE)]
        world.emit("charge.dispute.funds_withdrawn", made)
    return made


def end_dispute(world: World, found: Thing, outcome: str) -> Thing:
    """Let the bank have decided: `won`, `lost`, `warning_closed` or `prevented`."""
    if outcome not in _ENDS or found["status"] in _ENDS:
        raise Failure(f"A dispute that is {found['status']} cannot become {outcome}.")
    found.update(status=outcome, is_charge_refundable=outcome in ("won", "warning_closed"))
    world.emit("charge.dispute.closed", found)
    if outcome == "won":
        back = book(world, found, "adjustment", found["amount"], fee=0)
        found["balance_transactions"] = [*found["balance_transactions"], back]
        world.emit("charge.dispute.funds_reinstated", found)
    return found


def warn(world: World, charge: Thing) -> Thing:
    """Let a card's issuer say that a payment may be a fraud."""
    made = world.add(
        "issfr",
        "radar.early_fraud_warning",
        actionable=True,
        charge=charge["id"],
        fraud_type="made_with_stolen_card",
        payment_intent=charge["payment_intent"],
    )
    del made["metadata"]
    world.emit("radar.early_fraud_warning.created", made)
    return made


def review(world: World, charge: Thing) -> Thing:
    """Let Radar have somebody look at a payment."""
    made = world.add(
        "prv",
        "review",
        billing_zip=None,
        charge=charge["id"],
        closed_reason=None,
        ip_address=None,
        open=True,
        opened_reason="rule",
        payment_intent=charge["payment_intent"],
        reason="rule",
        session=None,
    )
    del made["metadata"]
    charge["review"] = made["id"]
    world.emit("review.opened", made)
    return made
