"""The plugin contract: every hook there is.

A plugin's hooks module has functions of these names, marked with `@hookimpl` of `commerce_core.plugin`. A function
takes those of the arguments that it needs, by name. Plugins are asked in the order of `commerce.plugins`.

**Startup hooks** are called once in each process (web, worker, command), before anything is served, without a database.
They return objects, which the core keeps in its registries. What one raises keeps the process from starting, and is
reported with everything else that is wrong, naming the plugin, the file and the line. They cost requests nothing.
`settings` is the plugin's own settings object; None if it declares none.

**Runtime hooks** are called while the shop serves. `ctx` is a `commerce_core.plugin.Context`. What one raises undoes
the whole transaction: a `Problem` (of the plugin's own kinds: `slug = "<plugin>/<code>"`) is what the client is
answered; anything else is logged with the plugin's name and answered 500, without a word of what it was. A request
may be tried again after a conflict in the database, and its hooks with it: they change nothing outside of the
transaction. No network, no files, no sleeping; what takes time is a job or a subscriber. Whoever takes longer, or
sends more statements, than the budget is named in the log. Lists are whole: there is no hook for one line or one
product at a time.

What happens *after* something is no hook: subscribe to its event.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import click
from pyramid.config import Configurator

from commerce_core.accounts.tokens import Actor
from commerce_core.api.problems import Problem
from commerce_core.cache.cdn import CdnPurger
from commerce_core.jobs.kinds import JobKind, Periodic, Watched
from commerce_core.payments.provider import PaymentProvider
from commerce_core.plugins.context import Context
from commerce_core.plugins.contributions import (
    AdminResource,
    ExtensionField,
    HealthCheck,
    PluginPermission,
    Process,
    SearchBackend,
    Subscriber,
)
from commerce_core.plugins.declaration import hookspec
from commerce_core.plugins.facts import CartFacts, HoldLine, OrderFacts, OrderLineFacts
from commerce_core.pricing.rules import PriceRule

# --- Startup ---


@hookspec
def commerce_includeme(config: Configurator, settings: Any) -> None:
    """Add routes, views, tweens and whatever else Pyramid can be given.

    When: after every room of the core and every register hook below, inside `config.include`.
    Returns: nothing.
    May: `config.add_route("loyalty_points", "/points")`, which is at `/api/v1/loyalty/points`;
    `config.add_root_route(name, pattern)`, which is where it says; `config.scan(".views")`, with views that use
    `api_view`: they are in the API's reference by themselves; `config.add_autocommit_request(method, path)`, for an
    address whose view commits by itself, since it has to ask others in between. Views of the core's routes may be
    replaced; its routes, and anything of another plugin's, not.
    Since: 0.1
    """


@hookspec
def commerce_register_price_rules(settings: Any) -> Iterable[PriceRule]:
    """Rules that make prices. See docs/pricing.md.

    When: at startup.
    Returns: rules; their `source` becomes the plugin's name. Two rules of one code keep the process from starting.
    Rules of one stage and order are asked in the order of plugins.
    Since: 0.1
    """


@hookspec
def commerce_register_payment_providers(settings: Any) -> Iterable[PaymentProvider]:
    """Ways to pay. See docs/orders.md.

    When: at startup.
    Returns: providers, each with a `code` of its own, by which orders choose it.
    Since: 0.1
    """


@hookspec
def commerce_register_search_backends(settings: Any) -> Iterable[SearchBackend]:
    """Ways to find products.

    When: at startup.
    Returns: backends, each with a `code` of its own. They are kept in `registry.search_backends`.
    Since: 0.1
    """


@hookspec
def commerce_register_subscribers(settings: Any) -> Iterable[Subscriber]:
    """Who is told what has happened. See docs/jobs.md.

    When: at startup.
    Returns: subscribers. `Subscriber(OrderPaid, job)` is durable: the job is written in the transaction of the event.
    `Subscriber(OrderPaid, function)` is told after the commit, best effort; if it fails, that is logged with the
    plugin's name and hurts nobody.
    Since: 0.1
    """


@hookspec
def commerce_register_jobs(settings: Any) -> Iterable[JobKind | Periodic | Watched]:
    """Work that is done later, durably. See docs/jobs.md.

    When: at startup.
    Returns: kinds of jobs, named `<plugin>.<verb>`; `Periodic(kind, every)` for one that comes back, `Watched(kind,
    is_due)` for one that is done as soon as a quick query says so. Jobs of subscribers need not be named here.
    Since: 0.1
    """


@hookspec
def commerce_register_extension_fields(settings: Any) -> Iterable[ExtensionField]:
    """Values that resources of the core show as `extensions.<plugin>.<name>`.

    When: at startup. `load_many(ctx, ids)` is called while answering, once for all that is shown.
    Returns: fields.
    Since: 0.1
    """


@hookspec
def commerce_register_permissions(settings: Any) -> Iterable[PluginPermission]:
    """What not everybody may. Views name it, and tokens can be narrowed to it.

    When: at startup.
    Returns: permissions, named `<plugin>:<verb>`.
    Since: 0.1
    """


@hookspec
def commerce_register_admin_resources(settings: Any) -> Iterable[AdminResource]:
    """What an interface for staff can offer: answered at `/api/v1/admin/resources` to those who have its permission.

    When: at startup.
    Returns: resources.
    Since: 0.1
    """


@hookspec
def commerce_register_health_checks(settings: Any) -> Iterable[HealthCheck]:
    """What can be out of order. Shown by `/readyz` as `<plugin>.<name>`.

    When: at startup. The check itself is called in a thread of its own, at most every five seconds.
    Returns: checks.
    Since: 0.1
    """


@hookspec
def commerce_register_cdn_purgers(settings: Any) -> Iterable[CdnPurger]:
    """CDNs that are told what has changed. See docs/caching.md.

    When: at startup.
    Returns: purgers, each with a `name` of its own.
    Since: 0.1
    """


@hookspec
def commerce_register_commands() -> Iterable[click.Command]:
    """Commands, called as `commerce <plugin> <command>`.

    When: only when a command of the plugin is called, or listed. The plugin must be enabled in the .ini file that is
    given.
    Returns: click commands. `commerce_core.cli.shop` has `config_argument` and `open_shop`. A command that is called
    like the plugin is what `commerce <plugin> CONFIG` runs.
    On raise: the command fails; nothing else does.
    Since: 0.1
    """


@hookspec
def commerce_register_processes(settings: Any) -> Iterable[Process]:
    """Processes that `commerce serve` runs beside the web server and the worker.

    When: `commerce serve` starts, with the database upgraded. Elsewhere whoever runs the shop starts them.
    Returns: processes: commands of the plugin, which are given the .ini file and end on SIGTERM.
    Since: 0.1
    """


@hookspec
def commerce_startup(registry: Any, role: str, settings: Any) -> None:
    """The process is about to serve: open clients, start threads.

    When: once the shop is put together and its database is as it should be, before the first request or job. `role` is
    `web` or `worker`. Commands do without: what they need is opened when it is first used.
    Returns: nothing.
    On raise: the process does not start.
    Since: 0.1
    """


@hookspec
def commerce_shutdown(registry: Any) -> None:
    """The process is about to end: close what `commerce_startup` has opened.

    When: after the last request or job; not if the process is killed.
    Returns: nothing.
    On raise: logged with the plugin's name; the others are asked all the same.
    Since: 0.1
    """


@hookspec
def commerce_disable_blockers(ctx: Context) -> Iterable[str]:
    """Say what is still open, and would be stranded if the shop went on without the plugin.

    When: by `commerce plugins blockers`, and by `commerce plugins purge` while the plugin is enabled.
    Transaction: one of its own, rolled back afterwards.
    Returns: a sentence for each thing, as `12 payments are authorized and not captured.`; nothing if the plugin can go.
    On raise: the command fails.
    Since: 0.1
    """


# --- Runtime ---


@hookspec(firstresult=True)
def commerce_authenticate(ctx: Context) -> Actor | None:
    """Say who asks, where the core's own tokens do not.

    When: once a request, when something wants to know who asks; only for requests without an `Authorization: Bearer
    cmt_...`. The first plugin that returns an actor decides; None leaves it to the others, and in the end the
    requester is a guest, or an `Authorization` header that nobody knows is refused.
    Transaction: none of the request's. `ctx.session` is a short session of its own, rolled back when all have been
    asked; `ctx.request` has headers and cookies, and `ctx.actor` may not be asked.
    Locks: none.
    Returns: an `Actor` with the id of a user and the user's role, or None.
    On raise: the request is answered 500: nobody is a guest by accident.
    Since: 0.1
    """


@hookspec
def commerce_principals(ctx: Context) -> Iterable[str]:
    """Name the groups that who asks belongs to, such as `wholesale`: permissions of plugins can be given to them.

    When: once a request, and only if a permission is asked for that is given to groups and that the role does not have.
    Transaction: the request's.
    Locks: whatever the request has locked; mostly nothing.
    Returns: names. `ctx.actor` is who asks; None for guests.
    On raise: 500; nothing is ever granted by a failure.
    Since: 0.1
    """


@hookspec(firstresult=True)
def commerce_hold_duration(ctx: Context, lines: Sequence[HoldLine]) -> timedelta | None:
    """Say how long a hold lasts, instead of `stock.hold_seconds`.

    When: before a hold is placed or extended over REST. (The holds that carts keep last `carts.hold_seconds`.)
    Transaction: none; `ctx.session` is not there. This is the busiest moment of a flash sale.
    Locks: none.
    Returns: one second to one day; None leaves it to the next plugin, and in the end to the setting.
    On raise: nothing is held or extended.
    Since: 0.1
    """


@hookspec
def commerce_validate_cart(ctx: Context, cart: CartFacts, stage: str) -> Iterable[Problem]:
    """Refuse what is about to be in a cart, or to be ordered.

    When: `stage` is `edit` before a line is added or changed, and `place` when a cart or a single hold is ordered,
    once it is priced.
    Transaction: the request's.
    Locks: the cart's row, and no stock.
    Returns: problems, not raised. One is answered as it is; several as `/problems/cart-refused`, which lists them.
    On raise: nothing has changed.
    Since: 0.1
    """


@hookspec
def commerce_order_placing(ctx: Context, order: OrderFacts, lines: Sequence[OrderLineFacts]) -> None:
    """Do what must be done together with the order, or not at all.

    When: the order, its lines and its adjustments are written, and the commit is next.
    Transaction: the order's: what is written here is there if and only if the order is.
    Locks: **the stock of everything in the order**, the cart, the holds. Others wait for what this takes; so no I/O,
    and no locks on rows of the core.
    Returns: nothing. To refuse, raise a `Problem` with status 409.
    On raise: there is no order; the stock is as it was.
    Since: 0.1
    """


@hookspec
def commerce_order_transition(ctx: Context, order: OrderFacts, machine: str, old: str, new: str) -> None:
    """Do what must be done together with a change of an order's state, or not at all.

    When: one of the order's states (`machine`: `status`, `payment_status`, `fulfillment_status`) has gone from `old`
    to `new`; `order` has the new one. A payment moves two of them, one after the other.
    Transaction: that of the change: a request's, a worker's, or a provider's webhook's.
    Locks: the order's row; at times the stock of everything in it (a late payment, an order that costs nothing).
    Returns: nothing.
    On raise: the change has not happened. A worker tries it again, as often as the job says: refusing what a provider
    or the time has decided only delays it.
    Since: 0.1
    """


@hookspec
def commerce_order_fulfilling(ctx: Context, order: OrderFacts, units: Mapping[UUID, int]) -> None:
    """Keep an order from being shipped: its payment is disputed, its address is not believed.

    When: staff are about to record a fulfillment, of `units` by the id of the order's line; it is known that there are
    so many, and that the order is paid.
    Transaction: the request's.
    Locks: the order's row.
    Returns: nothing. To refuse, raise a `Problem` with status 409.
    On raise: nothing is shipped.
    Since: 0.1
    """
