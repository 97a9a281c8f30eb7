"""Forgetting what is over: registrations and codes that were never used, and tokens that ended long ago."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import CursorResult, delete, or_
from sqlalchemy.orm import Session

from commerce_core.accounts.models import ApiToken, Registration, Verification

# Ended tokens are kept for a while, to be able to say when a device was signed out.
TOKENS_KEPT = timedelta(days=30)


def forget_what_is_over(session: Session, *, now: datetime) -> int:
    """Delete lapsed registrations and codes, and tokens that ended 30 days ago; how many. Flushes, does not commit."""
    ended = now - TOKENS_KEPT
    count = 0
    for statement in (
        delete(Registration).where(Registration.expires_at <= now),
        delete(Verification).where(Verification.expires_at <= now),
        delete(ApiToken).where(or_(ApiToken.expires_at <= ended, ApiToken.revoked_at <= ended)),
    ):
        result = session.execute(statement)
        assert isinstance(result, CursorResult)
        count += result.rowcount
    return count
