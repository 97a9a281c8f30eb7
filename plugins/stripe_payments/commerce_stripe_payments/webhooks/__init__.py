"""Stripe's webhooks: verified and filed within milliseconds, used later by a job, kept until they are seen to.

`intake` is the way in, `reading` what an event says whatever version it was written in, `handlers` the table of what is
done about each type, `processing` the job that does it, `replay` the ways to do it again.
"""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX

WEBHOOK_PATH = "/webhooks/stripe"
THIN_WEBHOOK_PATH = "/webhooks/stripe/thin"


def includeme(config: Configurator) -> None:
    config.add_root_route("stripe_webhook", WEBHOOK_PATH)
    config.add_root_route("stripe_thin_webhook", THIN_WEBHOOK_PATH)
    # They commit by themselves: nothing is to be locked, and nothing tried again, while Stripe waits.
    config.add_autocommit_request("POST", WEBHOOK_PATH)
    config.add_autocommit_request("POST", THIN_WEBHOOK_PATH)
    config.add_root_route("stripe_admin_events", f"{API_PREFIX}/admin/stripe/events")
    config.add_root_route("stripe_admin_event_replay", f"{API_PREFIX}/admin/stripe/events/{{id}}/replay")
    config.include(".metrics")
    config.scan(".views")
    config.scan(".admin_views")
