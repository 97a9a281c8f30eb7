"""Calling what plugins implement at run time: in order, by name, measured, and with failures that say whose they are.

The implementations of a hook are a tuple that is fixed when the shop starts. A hook that nobody implements is false:

    hooks = hooks_of(session)
    if hooks.order_placing: ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import structlog
from psycopg import Cursor
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from commerce_core.api.errors import is_unavailable
from commerce_core.api.problems import Problem
from commerce_core.plugins.context import Context

if TYPE_CHECKING:
    from commerce_core.plugins.host import PluginHost

_log = structlog.get_logger("commerce.plugin")
# One that is always over its budget is told of this often, and not with every request.
_WARNED_EVERY_SECONDS = 1.0


class PluginFailed(Problem):
    """A part of this shop that has been added to it has failed. Nothing was done. The log says which, and how."""

    slug = "plugin-failed"
    title = "A part of the shop has failed"
    status = 500

    def __init__(self, plugin: str, hook: str) -> None:
        super().__init__()
        self.plugin = plugin
        self.hook = hook

    def __str__(self) -> str:
        return f"the plugin {self.plugin} has failed in {self.hook}"


class Budget(NamedTuple):
    """What one call of one plugin may take before the log names it."""

    milliseconds: float
    statements: int


BUDGETS: dict[str, Budget] = {
    "commerce_authenticate": Budget(5, 1),
    "commerce_principals": Budget(5, 1),
    "commerce_hold_duration": Budget(1, 0),
    "commerce_validate_cart": Budget(20, 1),
    "commerce_order_placing": Budget(50, 3),
    "commerce_order_transition": Budget(50, 3),
    "commerce_order_fulfilling": Budget(20, 1),
}
"""The runtime hooks of the core."""
FIELD_BUDGET = Budget(20, 1)
OTHER_BUDGET = Budget(50, 3)


@dataclass(slots=True)
class Usage:
    """What an implementation has taken so far, in this process."""

    calls: int = 0
    failures: int = 0
    seconds: float = 0.0
    statements: int = 0
    over_budget: int = 0
    warned_at: float = field(default=float("-inf"), repr=False)


@dataclass(frozen=True, slots=True)
class Implementation:
    """A plugin's function for a hook."""

    plugin: str
    hook: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    budget: Budget
    usage: Usage = field(default_factory=Usage, compare=False)

    def call(self, ctx: Context, given: dict[str, Any], into: Callable[[Any], Any] | None = None) -> Any:
        """What it returns, passed through `into` (which reads what is lazy). Raises PluginFailed or its own Problem.

        That the database is away, or wants the transaction tried again, is no fault of the plugin: that is raised as
        it is.
        """
        usage = self.usage
        before, started = _OF_THIS_THREAD.statements, time.perf_counter()
        try:
            result = self.function(**{name: given[name] for name in self.parameters})
            if into is not None and result is not None:
                result = into(result)
            if _OF_THIS_THREAD.statements != before:
                _check_transaction(ctx)
        except Problem:
            raise
        except Exception as error:
            usage.failures += 1
            if isinstance(error, (DBAPIError, PoolTimeout)) and is_unavailable(error):
                raise
            raise self._failed(ctx, error) from error
        finally:
            seconds, statements = time.perf_counter() - started, _OF_THIS_THREAD.statements - before
            usage.calls += 1
            usage.seconds += seconds
            usage.statements += statements
            if seconds * 1000 > self.budget.milliseconds or statements > self.budget.statements:
                self._warn(ctx, seconds, statements)
        return result

    def refuse(self, ctx: Context, what: str) -> PluginFailed:
        """The problem there is with what it has returned; logged."""
        self.usage.failures += 1
        return self._failed(ctx, TypeError(what))

    def _failed(self, ctx: Context, error: Exception) -> PluginFailed:
        _log.error("plugin failed", plugin=self.plugin, hook=self.hook, request_id=_request_id(ctx), exc_info=error)
        return PluginFailed(self.plugin, self.hook)

    def _warn(self, ctx: Context, seconds: float, statements: int) -> None:
        usage = self.usage
        usage.over_budget += 1
        now = time.monotonic()
        if now - usage.warned_at >= _WARNED_EVERY_SECONDS:
            usage.warned_at = now
            _log.warning(
                "plugin is over its budget",
                plugin=self.plugin,
                hook=self.hook,
                milliseconds=round(seconds * 1000, 2),
                statements=statements,
                budget_milliseconds=self.budget.milliseconds,
                budget_statements=self.budget.statements,
                times=usage.over_budget,
                request_id=_request_id(ctx),
            )


class Hook:
    """A hook with those who implement it, in the order in which they are asked. False if nobody does."""

    __slots__ = ("implementations", "name")

    def __init__(self, name: str, implementations: tuple[Implementation, ...] = ()) -> None:
        self.name = name
        self.implementations = implementations

    def __bool__(self) -> bool:
        return bool(self.implementations)

    def notify(self, ctx: Context, **given: Any) -> None:
        """Tell everybody."""
        given["ctx"] = ctx
        for implementation in self.implementations:
            implementation.call(ctx, given)

    def collect(self, ctx: Context, **given: Any) -> list[tuple[Implementation, Any]]:
        """Everything in what each returns, with who it is from."""
        given["ctx"] = ctx
        return [
            (implementation, part)
            for implementation in self.implementations
            for part in implementation.call(ctx, given, tuple) or ()
        ]

    def first(self, ctx: Context, **given: Any) -> tuple[Implementation, Any] | None:
        """What the first returns that does not return None; the others are not asked."""
        given["ctx"] = ctx
        for implementation in self.implementations:
            result = implementation.call(ctx, given)
            if result is not None:
                return implementation, result
        return None


@dataclass(frozen=True, slots=True)
class RuntimeHooks:
    """The hooks that the core calls while it serves. See commerce_core/hookspecs.py."""

    authenticate: Hook
    principals: Hook
    hold_duration: Hook
    validate_cart: Hook
    order_placing: Hook
    order_transition: Hook
    order_fulfilling: Hook
    host: Any = None

    def context(self, session: Session, *, currency: str | None = None) -> Context:
        """For a call in the transaction of `session`."""
        return Context.of(self.host, session, currency=currency)


RUNTIME = tuple(name.removeprefix("commerce_") for name in BUDGETS)
NO_HOOKS = RuntimeHooks(**{name: Hook(f"commerce_{name}") for name in RUNTIME})


def attach(engine: Engine, host: PluginHost | None) -> None:
    """Let sessions of this engine call the plugins of `host`, and count the statements that those send."""
    engine.update_execution_options(commerce_hooks=NO_HOOKS if host is None else host.runtime)
    if host is not None and host.runtime is not NO_HOOKS and not event.contains(engine, "checkout", _count_on):
        event.listen(engine, "checkout", _count_on)


def hooks_of(session: Session) -> RuntimeHooks:
    """The hooks of the shop whose database it is."""
    if session.bind is None:
        return NO_HOOKS
    hooks: RuntimeHooks = session.bind.get_execution_options().get("commerce_hooks", NO_HOOKS)
    return hooks


class _OfThread(threading.local):
    statements = 0


# Nothing but differences of it mean anything.
_OF_THIS_THREAD = _OfThread()


class CountingCursor(Cursor[Any]):
    """Counts what is executed. An event of the engine would cost each statement thirty times as much."""

    def execute(self, *given: Any, **options: Any) -> Self:
        _OF_THIS_THREAD.statements += 1
        return super().execute(*given, **options)

    def executemany(self, *given: Any, **options: Any) -> None:
        _OF_THIS_THREAD.statements += 1
        super().executemany(*given, **options)


def _count_on(connection: Any, *_: Any) -> None:
    connection.cursor_factory = CountingCursor


def _check_transaction(ctx: Context) -> None:
    """Raise if an error of the database was swallowed: whatever comes next would fail, and name somebody else."""
    session = ctx._session
    if session is None or not session.in_transaction():
        return
    broken = not session.is_active
    if not broken:
        connection: Any = session.connection().connection.dbapi_connection
        broken = connection.info.transaction_status == TransactionStatus.INERROR
    if broken:
        raise RuntimeError("it has swallowed an error of the database; to try something, use ctx.savepoint()")


def _request_id(ctx: Context) -> str | None:
    """Of the request that it is called in; also where it has none, as what an answer that is kept for others shows."""
    if ctx.request is not None:
        return str(ctx.request.id)
    return None if ctx._session is None else ctx._session.info.get("request_id")
