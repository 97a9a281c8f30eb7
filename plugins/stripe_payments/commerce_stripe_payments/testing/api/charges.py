"""Charges, which are what a payment intent has done with a card, and the balance that they change."""

from __future__ import annotations

from typing import Any

from stripe.params._balance_transaction_list_params import BalanceTransactionListParams
from stripe.params._balance_transaction_retrieve_params import BalanceTransactionRetrieveParams
from stripe.params._charge_list_params import ChargeListParams
from stripe.params._charge_retrieve_params import ChargeRetrieveParams

from commerce_stripe_payments.testing.api.payment_methods import details_of
from commerce_stripe_payments.testing.cards import MESSAGES, Instrument
from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World


@route("GET", "/v1/charges/{id}", ChargeRetrieveParams)
def retrieve_charge(call: Call, id: str) -> Thing:
    return call.world.find("charge", id)


@route("GET", "/v1/charges", ChargeListParams)
def list_charges(call: Call) -> Thing:
    wanted = {name: call.params[name] for name in ("customer", "payment_intent") if name in call.params}
    return page(
        call,
        (
            charge
            for charge in call.world.every("charge")
            if all(charge[name] == value for name, value in wanted.items())
        ),
    )


@route("GET", "/v1/balance_transactions/{id}", BalanceTransactionRetrieveParams)
def retrieve_balance_transaction(call: Call, id: str) -> Thing:
    return call.world.find("balance_transaction", id)


@route("GET", "/v1/balance_transactions", BalanceTransactionListParams)
def list_balance_transactions(call: Call) -> Thing:
    wanted = {name: call.params[name] for name in ("currency", "type", "source") if name in call.params}
    return page(
        call,
        (
            transaction
            for transaction in call.world.every("balance_transaction")
            if all(transaction[name] == value for name, value in wanted.items())
        ),
    )


def charge(world: World, intent: Thing, method: Thing, status: str, *, captured: bool = False) -> Thing:
    """What the intent's try with this way to pay came to: `succeeded`, `pending` or `failed`. Tells nobody."""
    instrument: Instrument = method["_instrument"]
    has_failed = status == "failed"
    made = world.add(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"] if captured else 0,
        amount_refunded=0,
        application=None,
        application_fee=None,
        application_fee_amount=None,
        balance_transaction=None,
        billing_details=method["billing_details"],
        captured=captured,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=instrument.decline if has_failed else None,
        failure_message=MESSAGES.get(instrument.decline or "") if has_failed else None,
        fraud_details={},
        on_behalf_of=None,
        outcome={
            "network_decline_code": None,
            "network_status": "declined_by_network" if has_failed else "approved_by_network",
            "reason": instrument.decline_code if has_failed else None,
            "risk_level": "normal",
            "seller_message": "The bank declined." if has_failed else "Payment complete.",
            "type": "issuer_declined" if has_failed else "authorized",
        },
        paid=status == "succeeded",
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=details_of(method),
        receipt_email=intent["receipt_email"],
        receipt_number=None,
        receipt_url=None,
        refunded=False,
        review=None,
        shipping=intent["shipping"],
        source=None,
        source_transfer=None,
        statement_descriptor=None,
        statement_descriptor_suffix=intent["statement_descriptor_suffix"],
        status=status,
        transfer_data=None,
        transfer_group=None,
        _invoice=intent.get("_invoice"),
        _instrument=instrument,
    )
    made["metadata"] = dict(intent["metadata"])
    if captured and status == "succeeded":
        made["balance_transaction"] = book(world, made, "charge", intent["amount"])["id"]
    return made


def book(world: World, source: Thing, type: str, amount: int, *, fee: int | None = None) -> Thing:
    """Move the account's balance by an amount; for a charge less Stripe's fee (1.4% and 25)."""
    taken = (amount * 14 // 1000 + 25 if type == "charge" else 0) if fee is None else fee
    made = world.add(
        "txn",
        "balance_transaction",
        amount=amount,
        available_on=world.now + 2 * 86_400,
        balance_type="payments",
        currency=source["currency"],
        description=source.get("description"),
        exchange_rate=None,
        fee=taken,
        fee_details=_fee_details(taken, source["currency"]),
        net=amount - taken,
        reporting_category=type,
        source=source["id"],
        status="pending",
        type=type,
    )
    # The only object that does not say which mode it is of, nor has metadata.
    del made["metadata"], made["livemode"]
    return made


def _fee_details(amount: int, currency: Any) -> list[Thing]:
    if not amount:
        return []
    return [
        {"amount": amount, "application": None, "currency": currency, "description": "Stripe fee", "type": "stripe_fee"}
    ]
