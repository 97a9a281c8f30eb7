"""Optimistic concurrency: who changes a thing says which version of it he has seen.

A resource with a `version` is answered with it as a strong ETag; PATCH and DELETE must send it back as `If-Match`. An
endpoint has both by being declared `versioned` (see endpoints.py). The version is compared twice: by the view, which
has read the row, and by the UPDATE itself (`save`), so that nobody who forgets to lock the row loses another's edit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pyramid.config import Configurator
from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from commerce_core.api.problems import MalformedRequest, NotFound, Problem

_ONE = r'(?:W/)?"[!#-~]*"'
_IF_MATCH = re.compile(rf"\*|{_ONE}(?:[ \t]*,[ \t]*{_ONE})*")


class PreconditionRequired(Problem):
    """Say which version you are changing: send the ETag that you were given for it as `If-Match`."""

    slug = "precondition-required"
    title = "If-Match is missing"
    status = 428


class PreconditionFailed(Problem):
    """Somebody else has changed this since you read it. Read it again, and decide anew; `etag` is what it is at now."""

    slug = "precondition-failed"
    title = "It has changed meanwhile"
    status = 412
    example: ClassVar[dict[str, Any]] = {"detail": 'It is at "4" now.', "etag": '"4"'}

    def __init__(self, version: int) -> None:
        etag = etag_of(version)
        super().__init__(f"It is at {etag} now.", headers={"ETag": etag}, etag=etag)


def etag_of(version: int) -> str:
    """The strong ETag of a version."""
    return f'"{version}"'


def require_if_match(request: Any) -> None:
    """Refuse a request without `If-Match`. Raises PreconditionRequired, MalformedRequest."""
    given = request.environ.get("HTTP_IF_MATCH")
    if given is None:
        raise PreconditionRequired("Send If-Match with the ETag of what you have read.")
    if not _IF_MATCH.fullmatch(given.strip()):
        raise MalformedRequest('If-Match is not a list of ETags, such as "3".')


def check_version(request: Any, version: int) -> None:
    """Refuse a request whose `If-Match` does not name `version`. Raises PreconditionFailed."""
    given = request.environ["HTTP_IF_MATCH"].strip()
    # A weak ETag never matches here (RFC 9110, 13.1.1).
    if given != "*" and etag_of(version) not in re.findall(_ONE, given):
        raise PreconditionFailed(version)


def save(session: Session, row: Any, changes: Mapping[str, Any], *, always: bool = False) -> None:
    """Write `changes` to `row` and count them as one edit, if it is still at the version that was read.

    The comparison is part of the UPDATE, so of two at once one wins. What changes nothing is not written, unless it
    counts `always`. Locks the row. Raises PreconditionFailed, or NotFound when it is gone.
    """
    kind = type(row)
    new = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not new and not always:
        return
    done = session.execute(
        update(kind)
        .where(kind.id == row.id, kind.version == row.version)
        .values(**new, version=kind.version + 1)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(done, CursorResult)
    if not done.rowcount:
        raise stale(session, row)
    session.refresh(row)


def stale(session: Session, row: Any) -> Problem:
    """What to say when `row` is not at the version any more that was read."""
    kind = type(row)
    version = session.scalar(select(kind.version).where(kind.id == row.id))
    return NotFound("It has been deleted.") if version is None else PreconditionFailed(version)


def includeme(config: Configurator) -> None:
    config.add_request_method(check_version, "check_version")
