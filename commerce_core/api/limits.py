"""Rate limits: how often one client, or one account, may ask.

Every endpoint names the strategy that its requests count for (`limit=` of `api_view`, "default" unless it says
otherwise); a strategy is a setting, `limits.login = 10/minute; 50/hour`. A view may count for a key of its own, such as
an e-mail address: `request.limits.hit("login_account", email)`.

Requests count for the user who asks, else for the address; those of strategies that guard the way in, for the address
always. An IPv6 address stands for its /64, since whoever has one has the other 2^64, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from limits import RateLimitItem, parse_many
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.viewderivers import INGRESS

from commerce_core.api.counters import ProcessWindow, RedisCounters, Standing
from commerce_core.api.endpoints import problem_response
from commerce_core.api.problems import TooManyRequests
from commerce_core.api.proxies import is_in
from commerce_core.clock import Clock
from commerce_core.metrics import Metrics
from commerce_core.settings import CoreSettings, LimitSettings

# Without Redis these go on in each process; the others let everything through. It is better to sell than to count.
STRICT = frozenset({"failed_authentication", "login", "login_account", "register", "password_reset"})
# What counts for the address even with a token: a stolen or cheap account must not buy more guesses.
BY_ADDRESS = frozenset({"failed_authentication", "login", "register", "password_reset", "lookup"})
STRATEGIES = frozenset(LimitSettings.model_fields) - {"exempt"}
# How many refusals a process remembers for each strategy.
MOST_REFUSALS = 50_000
_STANDING = "commerce.limit"


class Strategy:
    """The limits of one setting, the shortest first: all of them must let an attempt through."""

    def __init__(self, name: str, items: Iterable[RateLimitItem], clock: Clock, shared: RedisCounters | None) -> None:
        self._items = sorted(items, key=lambda item: item.get_expiry())
        for item in self._items:
            item.namespace = name
        self._clock = clock
        self._shared = shared
        self._is_strict = name in STRICT
        self._windows = [ProcessWindow(item, clock) for item in self._items]
        self._refused: dict[str, tuple[float, Standing]] = {}

    @property
    def is_off(self) -> bool:
        return not self._items

    def hit(self, key: str) -> Standing | None:
        """Count an attempt, unless there were too many. None when nothing counts, because Redis is away."""
        refusal = self.refusal(key)
        if refusal is not None:
            return refusal
        standing = self._count(key)
        if standing is not None and not standing.allowed:
            if len(self._refused) >= MOST_REFUSALS:
                self._refused.clear()  # no harm: they are counted again
            self._refused[key] = (self._clock.monotonic() + standing.reset, standing)
        return standing

    def refusal(self, key: str) -> Standing | None:
        """The standing of a key that has been refused, until its time is over. Asks nobody, and counts nothing."""
        known = self._refused.get(key)
        if known is None:
            return None
        until, standing = known
        left = until - self._clock.monotonic()
        if left < 0:
            self._refused.pop(key, None)
            return None
        return standing._replace(reset=left)

    def _count(self, key: str) -> Standing | None:
        if self._shared is not None:
            standings = []
            for item in self._items:
                standing = self._shared.hit(item, key)
                if standing is None:
                    break
                standings.append(standing)
                if not standing.allowed:
                    return standing
            else:
                return _tightest(standings)
            if not self._is_strict:
                return None
        return _tightest(window.hit(key) for window in self._windows)


def _tightest(standings: Iterable[Standing]) -> Standing | None:
    """The first refusal, or else the standing with the least remaining."""
    tightest = None
    for standing in standings:
        if not standing.allowed:
            return standing
        if tightest is None or standing.remaining < tightest.remaining:
            tightest = standing
    return tightest


class Limiter:
    """Every strategy of the shop, in this process."""

    def __init__(self, settings: CoreSettings, clock: Clock, metrics: Metrics) -> None:
        self.refusals = metrics.counter(
            "commerce_rate_limit_refusals_total", "Attempts that a rate limit refused.", ("limit",)
        )
        self._shared = RedisCounters(settings.redis, clock) if settings.redis.url else None
        self.strategies = {
            name: Strategy(name, rates_of(getattr(settings.limits, name)), clock, self._shared)
            for name in sorted(STRATEGIES)
        }
        exempt = settings.limits.exempt

        @lru_cache(maxsize=4_096)
        def key_of(address: str) -> str | None:
            return None if is_in(address, exempt) else f"address:{network_of(address)}"

        # What an address counts as; None if it may ask as often as it likes.
        self.key_of: Callable[[str], str | None] = key_of

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()


class RequestLimits:
    """`request.limits`: counts what one request does."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._limiter: Limiter = request.registry.limiter

    def hit(self, strategy: str, key: str | None = None) -> None:
        """Count one attempt at `key`, whose case does not matter; without one, at the client's address.

        Raises TooManyRequests. Addresses that are exempt count for a key, too: who comes through them is not known.
        """
        found = self._find(strategy, key)
        if found is not None:
            self._refuse_unless_allowed(strategy, found[0].hit(found[1]))

    def check(self, strategy: str, key: str | None = None) -> None:
        """Raise TooManyRequests if an attempt has been refused here and its time is not over. Counts nothing."""
        found = self._find(strategy, key)
        if found is not None:
            self._refuse_unless_allowed(strategy, found[0].refusal(found[1]))

    def hit_endpoint(self, name: str, strategy: Strategy) -> None:
        """Count the request for its endpoint's strategy. Raises TooManyRequests."""
        request = self._request
        key = self._limiter.key_of(request.client_address)
        if key is None or _STANDING in request.environ:  # counted by the first attempt of a request that is retried
            return
        if name not in BY_ADDRESS and request.actor is not None:
            key = request.actor.name
        standing = strategy.hit(key)
        if standing is not None:
            request.environ[_STANDING] = standing
        self._refuse_unless_allowed(name, standing)

    def _find(self, name: str, key: str | None) -> tuple[Strategy, str] | None:
        """The strategy and what to count for; None if nothing counts."""
        strategy = self._limiter.strategies[name]
        if strategy.is_off:
            return None
        counted = self._limiter.key_of(self._request.client_address) if key is None else _digest(key)
        return None if counted is None else (strategy, counted)

    def _refuse_unless_allowed(self, strategy: str, standing: Standing | None) -> None:
        if standing is not None and not standing.allowed:
            self._limiter.refusals.labels(strategy).inc()
            self._request.environ[_STANDING] = standing
            raise TooManyRequests(standing.retry_after)


def limit_headers(environ: dict[str, Any]) -> list[tuple[str, str]]:
    """The RateLimit headers of a request that counted."""
    standing: Standing | None = environ.get(_STANDING)
    if standing is None:
        return []
    return [
        ("RateLimit-Limit", str(standing.limit)),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.retry_after)),
    ]


def rates_of(setting: str) -> list[RateLimitItem]:
    """The limits of a setting: none for `off`."""
    return [] if setting in ("", "off") else parse_many(setting)


def network_of(address: str) -> str:
    """What an address counts as: itself, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else address


def _digest(key: str) -> str:
    """Short, and not to be read by whoever looks into Redis."""
    folded = key.strip().casefold().encode(errors="surrogatepass")
    return hashlib.blake2b(folded, digest_size=16).hexdigest()


def limited(view: Any, info: Any) -> Any:
    """View deriver: count each request for the strategy of its endpoint, before anything else is done for it."""
    name = info.options.get("limit")
    if name is None:
        return view
    strategy = info.registry.limiter.strategies.get(name)
    if strategy is None:
        raise ConfigurationError(f"{name!r} is no rate limit; there are: {', '.join(sorted(STRATEGIES))}")
    if strategy.is_off:
        return view

    def limited_view(context: Any, request: Any) -> Any:
        try:
            request.limits.hit_endpoint(name, strategy)
        except TooManyRequests as problem:
            # Answered here, as cheaply as can be: this is what a flood gets.
            return problem_response(problem, request)
        return view(context, request)

    return limited_view


limited.options = ("limit",)  # type: ignore[attr-defined]


def includeme(config: Configurator) -> None:
    registry = config.registry
    registry.limiter = Limiter(registry.settings_object, registry.clock, registry.metrics)
    config.add_request_method(RequestLimits, "limits", reify=True)
    config.add_view_deriver(limited, under=INGRESS, over="secured_view")
