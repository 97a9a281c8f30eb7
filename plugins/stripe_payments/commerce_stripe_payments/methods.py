from commerce_stripe_payments.webhooks.handlers import EventHandler

HANDLERS: dict[str, EventHandler] = {}
