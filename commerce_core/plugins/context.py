"""What a hook has to work with: `ctx`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from commerce_core.events import savepoint
from commerce_core.money import DEFAULT_LOCALE
from commerce_core.settings import CoreSettings

if TYPE_CHECKING:
    from commerce_core.plugins.host import PluginHost


class Context:
    """What a runtime hook has to work with. Lives as long as the call."""

    __slots__ = ("_host", "_locale", "_now", "_session", "currency", "request", "right_until")

    def __init__(
        self,
        host: PluginHost,
        *,
        session: Session | None = None,
        request: Any = None,
        currency: str | None = None,
        now: datetime | None = None,
        locale: str | None = None,
    ) -> None:
        self._host = host
        self._session = session
        self._now = now
        self._locale = locale
        self.request = request
        """The request; None in workers and commands."""
        self.currency = currency
        """Of the cart or order in question, ISO 4217; None where there is none."""
        self.right_until: datetime | None = None
        """See `keep_until`."""

    @classmethod
    def of(cls, host: PluginHost, session: Session, *, currency: str | None = None) -> Context:
        """In the transaction of a session, whose request is known to it."""
        reference = session.info.get("request")
        return cls(host, session=session, request=reference and reference(), currency=currency)

    @property
    def session(self) -> Session:
        """The session of the transaction that everything happens in. Use it; do not commit or roll back."""
        if self._session is None:
            raise RuntimeError("this hook is called without a transaction: it cannot ask the database")
        return self._session

    @property
    def now(self) -> datetime:
        """The time (UTC): one for the whole request."""
        if self._now is None:
            self._now = self._host.clock.now() if self.request is None else self.request.now
        assert self._now is not None
        return self._now

    @property
    def locale(self) -> str:
        """The language in which to write what people read: `Money.of(amount, currency, ctx.locale)`."""
        if self._locale is None:
            self._locale = DEFAULT_LOCALE if self.request is None else self.request.locale
        assert self._locale is not None
        return self._locale

    def keep_until(self, moment: datetime) -> None:
        """What is being loaded is wrong from then (UTC) on: the answer is kept no longer, here, by browsers or by CDNs.

        Of several the first counts. Only fields of what is answered out of the cache need it.
        """
        if self.right_until is None or moment < self.right_until:
            self.right_until = moment

    @property
    def actor(self) -> Any:
        """Who asks (an `Actor`); None for guests, and in workers and commands."""
        return None if self.request is None else self.request.actor

    @property
    def settings(self) -> CoreSettings:
        """The shop's settings."""
        return self._host.core_settings

    def settings_of(self, plugin: str) -> Any:
        """The settings of an enabled plugin, as its settings class has them."""
        return self._host.settings_of(plugin)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """To try something: what fails inside is undone to here, and the transaction goes on. Costs two statements."""
        with savepoint(self.session):
            yield


class AuthenticationContext(Context):
    """What `commerce_authenticate` has to work with: nobody is known yet, and there is no transaction to join."""

    __slots__ = ("_engine",)

    def __init__(self, host: PluginHost, request: Any, engine: Engine) -> None:
        super().__init__(host, request=request)
        self._engine = engine

    @property
    def session(self) -> Session:
        """A session of its own, made when it is first asked for."""
        if self._session is None:
            self._session = Session(self._engine)
        return self._session

    @property
    def actor(self) -> Any:
        raise RuntimeError("who asks is what is to be found out")

    def close(self) -> None:
        """Roll back, and give the connection back."""
        if self._session is not None:
            self._session.close()
