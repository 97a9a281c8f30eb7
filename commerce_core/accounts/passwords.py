"""Passwords: argon2id, a bounded number of hashes at a time, and what may not be a password.

Hashing takes tens of milliseconds and `accounts.password_memory_kib` of memory, on purpose. So nobody hashes while a
transaction is open, where that can be helped, and only so many do at once.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from commerce_core.api.problems import InvalidInput, Unavailable
from commerce_core.settings import AccountSettings

SHORTEST = 10
LONGEST = 128
# The most common ones that are long enough, out of published lists, without regard to case. Rules of composition
# ("one digit, one capital") are left out on purpose: NIST SP 800-63B advises against them.
_COMMON = frozenset(
    """
    0123456789 0987654321 1122334455 1231231231 123123123123 1234512345 123456123456 1234567890 12345678900
    12345678901 123456789012 1234567891 12345678910 123456789a 123456789q 123456789z 1q2w3e4r5t 1q2w3e4r5t6y
    1qaz2wsx3edc 1qazxsw23edc 9876543210 a123456789 aa12345678 abc1234567 abcd123456 abcd1234567890 abcdefghij
    admin12345 admin123456 adminadmin administrator asdfasdfasdf asdfghjkl1 asdfghjkl123 basketball christopher
    commerce123 football123 helloworld iloveyou12 iloveyou123 internet123 letmein123 letmein1234 liverpool1
    liverpool123 manchester master1234 monkey12345 mypassword mypassword1 p@ssw0rd123 p@ssword123 pa$$w0rd12
    pass123456 passpasspass passw0rd12 passw0rd123 password00 password01 password10 password11 password12
    password123 password123! password1234 password12345 passwordpassword princess123 q1w2e3r4t5 q1w2e3r4t5y6
    qazwsxedcrfv qwer123456 qwerty1234 qwerty12345 qwerty123456 qwertyqwerty qwertyuiop qwertyuiop1 qwertyuiop123
    qwertyuiop[] qwertyuiopasdf secret1234 starwars123 sunshine123 superman123 test123456 testtest12 testtest123
    welcome123 welcome1234 zaq12wsxcde3 zxcvbnm123 zxcvbnm12345 zxcvbnmasdfghjkl
    """.split()  # noqa: SIM905 (a hundred quotes would hide the words)
)


class Passwords:
    """Hashes and verifies passwords, as the settings say."""

    def __init__(self, settings: AccountSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_passes,
            memory_cost=settings.password_memory_kib,
            parallelism=settings.password_lanes,
        )
        self._turns = threading.BoundedSemaphore(settings.hash_concurrency)
        self._patience = settings.hash_wait_seconds
        # Verified where there is no password, so that this costs what a wrong password costs.
        self._nobodys = self._hasher.hash("nobody's password")

    def hash(self, password: str) -> str:
        """The hash of a password, for the database. Raises Unavailable when too many others are being hashed."""
        with self._turn():
            return self._hasher.hash(_normal(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password. The same work is done where there is none. Raises Unavailable as `hash` does."""
        with self._turn():
            try:
                self._hasher.verify(self._nobodys if stored is None else stored, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than the settings have now."""
        return self._hasher.check_needs_rehash(stored)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._patience):
            raise Unavailable("Too many people are signing in just now.")
        try:
            yield
        finally:
            self._turns.release()


def check_new_password(password: str, *, email: str | None, field: str = "password") -> None:
    """Raises InvalidInput for a password that anybody would try first. (Its length is the schema's business.)"""
    plain = _normal(password).casefold()
    if plain in _COMMON or len(set(plain)) < 3:
        raise InvalidInput.field(field, "common_password", "is one of the passwords that are tried first")
    if email is not None and plain in (email.casefold(), email.casefold().partition("@")[0]):
        raise InvalidInput.field(field, "password_is_email", "must not be the e-mail address")


def _normal(password: str) -> str:
    """The same characters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFKC", password)
