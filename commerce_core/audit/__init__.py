"""The audit log: what members of staff did, who did it, and how things were before and after.

A view of staff that changes something calls `request.audit(...)`; one that forgets to is answered with a 500 and rolled
back (see api/endpoints.py), so that it cannot be shipped.
"""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX
from commerce_core.audit.requests import audit, audit_for


def includeme(config: Configurator) -> None:
    config.add_request_method(audit, "audit")
    config.add_request_method(audit_for, "audit_for")
    config.add_request_method(lambda request: False, "is_audited", reify=True)
    config.add_route("admin_audit_log", f"{API_PREFIX}/admin/audit-log")
    config.scan(".views")
