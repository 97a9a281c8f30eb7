"""Collecting what orders cost: attempts, and what becomes of them.

`attempts` are rows, committed before Stripe is asked; `calls` asks Stripe; `effects` is what Stripe's answers and
events do to attempts, payments and orders. Lock order: the order, then its attempts.
"""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX
from commerce_stripe_payments.payments.effects import HANDLERS

__all__ = ["HANDLERS", "includeme"]

PATH = f"{API_PREFIX}/payments/stripe"
ADMIN_PATH = f"{API_PREFIX}/admin/stripe"


def includeme(config: Configurator) -> None:
    config.add_root_route("stripe_config", f"{PATH}/config")
    for name in ("intents", "checkout_sessions"):
        path = f"{PATH}/{name.replace('_', '-')}"
        config.add_root_route(f"stripe_{name}", path)
        # They ask Stripe between two transactions of their own.
        config.add_autocommit_request("POST", path)
    config.add_root_route("stripe_return", f"{PATH}/return")
    config.add_autocommit_request("GET", f"{PATH}/return")
    config.add_root_route("stripe_setup_intents", f"{PATH}/setup-intents")
    config.add_autocommit_request("POST", f"{PATH}/setup-intents")
    config.add_root_route("stripe_payment_methods", f"{PATH}/payment-methods")
    config.add_root_route("stripe_payment_method", f"{PATH}/payment-methods/{{id}}")
    config.add_root_route("stripe_payment_method_default", f"{PATH}/payment-methods/{{id}}/default")
    config.add_root_route("stripe_admin_capture", f"{ADMIN_PATH}/orders/{{id}}/capture")
    config.add_root_route("stripe_admin_charge", f"{ADMIN_PATH}/orders/{{id}}/charge")
    config.scan(".views")
    config.scan(".admin_views")
    config.scan(".method_views")
