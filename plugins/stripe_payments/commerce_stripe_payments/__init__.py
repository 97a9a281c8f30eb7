"""Payments by Stripe: money that is never lost or taken twice."""

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="stripe",
    hooks="commerce_stripe_payments.hooks",
    settings="commerce_stripe_payments.settings:Settings",
    models="commerce_stripe_payments.models",
    migrations="commerce_stripe_payments.migrations",
    capabilities=("stripe.payments", "stripe.subscriptions"),
    mail_templates="mail",
)
