"""The endpoints, one module for each kind of object. To import it is to have them all in the router."""

from commerce_stripe_payments.testing.api import (  # noqa: F401
    account,
    charges,
    checkout,
    clocks,
    customers,
    disputes,
    events,
    invoices,
    payment_intents,
    payment_methods,
    products,
    refunds,
    setup_intents,
    subscriptions,
)
