"""The account."""

from __future__ import annotations

from stripe.params._account_retrieve_current_params import AccountRetrieveCurrentParams
from stripe.params._account_retrieve_params import AccountRetrieveParams
from stripe.params._balance_retrieve_params import BalanceRetrieveParams

from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.router import Call, route


@route("GET", "/v1/account", AccountRetrieveCurrentParams)
def retrieve_account(call: Call) -> Thing:
    return {
        "id": call.world.account,
        "object": "account",
        "business_profile": {"name": "A shop", "url": None},
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "DE",
        "default_currency": "eur",
        "details_submitted": True,
        "email": "shop@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "A shop", "timezone": "Europe/Berlin"}},
        "type": "standard",
    }


@route("GET", "/v1/accounts/{id}", AccountRetrieveParams)
def retrieve_account_by_id(call: Call, id: str) -> Thing:
    if id != call.world.account:
        raise Failure("The key has no access to that account.", status=403, code="account_invalid", is_kept=False)
    return retrieve_account(call)


@route("GET", "/v1/balance", BalanceRetrieveParams)
def retrieve_balance(call: Call) -> Thing:
    sums: dict[str, int] = {}
    for transaction in call.world.every("balance_transaction"):
        sums[transaction["currency"]] = sums.get(transaction["currency"], 0) + transaction["net"]
    amounts = [{"amount": amount, "currency": currency} for currency, amount in sorted(sums.items())]
    return {"object": "balance", "available": [], "livemode": call.world.livemode, "pending": amounts}
