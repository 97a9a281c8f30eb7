"""Objects as the versions of the API show them. The fake keeps the newest shape, and takes older ones from that.

What moved, and when: https://docs.stripe.com/changelog. `2022-11-15` lists of charges and refunds went, `2025-03-31`
invoices and subscriptions were turned inside out, `2026-09-30` reasons of states came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.world import World

BASIL = "2025-03-31"
ENDIVE = "2026-09-30"
NO_LISTS = "2022-11-15"


def render(world: World, value: Any, version: str, expand: tuple[str, ...] = ()) -> Any:
    """A value as a version shows it, without what is the fake's own. `expand` names fields that are shown whole."""
    if isinstance(value, list):
        return [render(world, item, version, expand) for item in value]
    if not isinstance(value, dict):
        return value
    shown = {
        key: render(world, item, version, _below(expand, key)) for key, item in value.items() if not key.startswith("_")
    }
    kind = value.get("object")
    older = _OLDER.get(kind) if isinstance(kind, str) else None
    if older is not None and value.get("id"):
        older(world, value, shown, version[:10])
    for field in {path.partition(".")[0] for path in expand}:
        named = world.objects.get(shown.get(field) or "") if isinstance(shown.get(field), str) else None
        if named is not None:
            shown[field] = render(world, named, version, _below(expand, field))
    return shown


def _below(expand: tuple[str, ...], key: str) -> tuple[str, ...]:
    return tuple(path[len(key) + 1 :] for path in expand if path.startswith(f"{key}."))


def _payment_intent(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < BASIL:
        shown["invoice"] = thing.get("_invoice")
    if day < ENDIVE:
        shown.pop("payment_record", None)
    if day < NO_LISTS:
        charges = [charge for charge in world.every("charge") if charge["payment_intent"] == thing["id"]]
        shown.pop("latest_charge", None)
        shown["charges"] = {
            "object": "list",
            "data": [render(world, charge, day) for charge in reversed(charges)],
            "has_more": False,
            "url": f"/v1/charges?payment_intent={thing['id']}",
        }


def _charge(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < BASIL:
        shown["invoice"] = thing.get("_invoice")
    if day < NO_LISTS:
        refunds = [refund for refund in world.every("refund") if refund["charge"] == thing["id"]]
        shown["refunds"] = {
            "object": "list",
            "data": [render(world, refund, day) for refund in reversed(refunds)],
            "has_more": False,
            "url": f"/v1/charges/{thing['id']}/refunds",
        }


def _subscription(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < BASIL:
        periods = thing["items"]["data"]
        shown["current_period_start"] = min(item["current_period_start"] for item in periods)
        shown["current_period_end"] = max(item["current_period_end"] for item in periods)
        shown.pop("billing_mode", None)
    if day < ENDIVE:
        shown.pop("status_details", None)


def _subscription_item(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < BASIL:
        del shown["current_period_start"], shown["current_period_end"]
    if day < ENDIVE:
        shown.pop("current_trial", None)


def _invoice(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < ENDIVE:
        shown.pop("status_details", None)
    if day < BASIL:
        details = (thing["parent"] or {}).get("subscription_details") or {}
        intent = thing.get("_payment_intent")
        shown["subscription"] = details.get("subscription")
        shown["subscription_details"] = {"metadata": details.get("metadata", {})}
        shown["payment_intent"] = intent
        shown["charge"] = world.objects[intent]["latest_charge"] if intent else None
        shown["paid"] = thing["status"] == "paid"
        for name in ("parent", "payments", "confirmation_secret", "amount_overpaid", "total_taxes"):
            shown.pop(name, None)


def _line_item(world: World, thing: Thing, shown: Thing, day: str) -> None:
    if day < BASIL:
        details = thing["parent"]["subscription_item_details"]
        price = world.objects[thing["pricing"]["price_details"]["price"]]
        shown["price"] = render(world, price, day)
        shown["type"] = "subscription"
        shown["proration"] = details["proration"]
        shown["subscription_item"] = details["subscription_item"]
        for name in ("pricing", "parent", "taxes"):
            shown.pop(name, None)


_OLDER: dict[str, Callable[[World, Thing, Thing, str], None]] = {
    "payment_intent": _payment_intent,
    "charge": _charge,
    "subscription": _subscription,
    "subscription_item": _subscription_item,
    "invoice": _invoice,
    "line_item": _line_item,
}
