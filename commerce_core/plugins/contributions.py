"""What startup hooks return, as far as no room of the core has a name for it already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args
from uuid import UUID

from commerce_core.events import Event
from commerce_core.jobs.kinds import JobKind
from commerce_core.plugins.context import Context

Resource = Literal["product", "variant", "category", "brand", "cart", "order", "user"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)
# Who has a permission, from the one with the fewest on; each has what the one before has.
RoleName = Literal["guest", "customer", "staff", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionField:
    """A value that a resource of the core shows as `extensions.<plugin>.<name>`.

    `load_many(ctx, ids)` is called once for all that is shown, and returns a JSON value by id; what it leaves out is
    null. Do it in one statement. `schema` is the value's JSON schema, for the API's reference.

    Products, variants, categories and brands are answered out of a cache, the same for everybody: their fields may not
    depend on who asks (`ctx.actor` is None). When a value has changed, emit
    `ProductChanged(what=..., product_ids=..., category_id=..., brand_id=...)` in the transaction of the change: that
    drops the answers.
    """

    resource: Resource
    name: str
    load_many: Callable[[Context, Sequence[UUID]], Mapping[UUID, Any]]
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginPermission:
    """Something that not everybody may, called `<plugin>:<verb>`: for views, and for tokens that are narrower.

    `role` is the least role that has it; None: no role, only those whom `commerce_principals` gives one of
    `principals`, and administrators.
    """

    name: str
    description: str
    role: RoleName | None = "staff"
    principals: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminResource:
    """Something that an interface for staff can offer: its title, and the address of its list or page in the API."""

    name: str
    title: str
    path: str
    permission: str
    section: str = "plugins"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Something of the plugin's that can be out of order. `check()` raises if it is.

    It is called in a thread of its own, at most every five seconds, without a transaction. One that is `critical` makes
    `/readyz` say that the shop cannot serve; any other is only shown. Longer than `timeout` seconds is too long.
    """

    name: str
    check: Callable[[], object]
    critical: bool = False
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who is told of events of a class: a job is durable, a function is called after the commit, best effort.

    A job's one argument is called `event`. It is written in the transaction of the event and runs at least once, in
    any order with others. A function is called with the event, in the process where it happened; nothing is tried
    again.
    """

    event: type[Event]
    receiver: JobKind | Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of the plugin's own, that runs beside the web server and the worker.

    It is `commerce <command...> CONFIG`, called `name` on the console of `commerce serve`, which starts it again
    whenever it ends, and stops it with SIGTERM.
    """

    name: str
    command: tuple[str, ...]


class SearchBackend(Protocol):
    """A way to find products, chosen by its `code`."""

    code: str
