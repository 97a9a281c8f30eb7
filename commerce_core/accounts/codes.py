"""One-time codes: made, mailed, and stored as a hash only. One that is used is deleted, so it works once."""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import quote

from commerce_core.api.problems import Problem


class CodeNotValid(Problem):
    """The code is unknown, has been used, or is too old; or what has to be sent with it is wrong. Ask for a new one."""

    slug = "code-not-valid"
    title = "The code is not valid"
    status = 400

    def __init__(self) -> None:
        # Always the same: which of them it is, is nobody's business.
        super().__init__("It may be too old, or used, or not go with the rest. Ask for a new one.")


def new_code() -> str:
    """256 random bits: too many to guess, so a plain hash hides them well."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> bytes:
    """What is stored of a token or a code."""
    return hashlib.sha256(secret.encode()).digest()


def link(pattern: str | None, code: str) -> str | None:
    """Where the shop's front end takes the code, if a setting says so."""
    return None if pattern is None else pattern.replace("{token}", quote(code))
