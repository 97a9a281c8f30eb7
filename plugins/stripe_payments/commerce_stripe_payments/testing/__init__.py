"""A stateful fake of Stripe, for tests and for demos: the API, the webhooks, and everything that goes wrong with both.

    with FakeStripe() as fake:
        client = fake.client()

`python -m commerce_stripe_payments.testing` runs one by itself.
"""

from commerce_stripe_payments.testing.fake import FakeStripe
from commerce_stripe_payments.testing.faults import Fault
from commerce_stripe_payments.testing.outbox import Delivery, Endpoint, Plan, signature
from commerce_stripe_payments.testing.world import ACCOUNT

__all__ = ["ACCOUNT", "Delivery", "Endpoint", "FakeStripe", "Fault", "Plan", "signature"]
