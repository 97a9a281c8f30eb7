"""Stock to sockets: changes, put together by variant; and a snapshot with each subscription.

What is kept here is the newest state of the variants that somebody looks at, never a history. Whatever casts doubt on
it ends in reading it again from the database: the bus was away, a message was lost, the catalogue has changed, or it is
simply time. Versions decide between what is heard and what is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import structlog

from commerce_core.log import first_line
from commerce_realtime import wire
from commerce_realtime.levels import CATALOGUE, INVENTORY, OF_PRODUCT, OF_VARIANT, Level, read_levels

if TYPE_CHECKING:
    from commerce_realtime.connection import Connection
    from commerce_realtime.hub import AppHub
    from commerce_realtime.server import Server

UPDATED = "inventory.updated"
SNAPSHOT = "inventory.snapshot"
PRODUCT_UPDATED = "product.updated"
CATALOGUE_UPDATED = "catalogue.updated"
# Channels that are read at once, and what is waited between two such readings when all are read.
AT_A_TIME = 500
_PAUSE_SECONDS = 0.02
_LONGEST_BACKOFF = 2.0
# Levels that are kept though nobody looks at them any more.
_MOST_UNWATCHED = 20_000
# A change as the bus brings it: variant, kind, on hand, reserved, version, when.
Change = list[Any]
_log = structlog.get_logger("commerce.realtime")


class Feed:
    """The stock channels of the shop's app."""

    def __init__(self, server: Server, hub: AppHub) -> None:
        self._server = server
        self._hub = hub
        self._window = server.settings.window_ms / 1000
        self._levels: dict[str, Level] = {}
        # The variants of each product that is known, and of the whole shop if that is small enough.
        self._products: dict[str, tuple[str, ...]] = {}
        self._inventory: tuple[str, ...] | None = None
        self._is_complete = False
        self._snapshots: dict[str, bytes] = {}
        # When the last change of a variant was told, and which wait for their window to end.
        self._told_at: dict[str, float] = {}
        self._held_back: dict[str, asyncio.TimerHandle] = {}
        # What has to be read: channels, with who waits for their snapshot; whether all get it; changes of variants
        # that are not known yet; variants that are held against the database.
        self._waiting: dict[str, set[Connection]] = {}
        self._stale: dict[str, bool] = {}
        self._unknown: dict[str, Change] = {}
        self._unchecked: dict[str, None] = {}
        self._is_wanted = asyncio.Event()
        # Whether variants may become known in a moment that nobody could name now.
        self._reads_products = False
        self.is_trusted = False

    def run(self) -> asyncio.Task[None]:
        """Read what has to be read, until cancelled."""
        return asyncio.create_task(self._run())

    # --- What happens ---

    def greet(self, connection: Connection, name: str) -> None:
        """Somebody has subscribed: send what is there now. Channels of others are none of ours."""
        if not self._is_ours(connection, name):
            return
        frame = self._snapshot(name) if self.is_trusted else None
        if frame is not None:
            connection.send(frame, (name, SNAPSHOT))
        else:
            self._waiting.setdefault(name, set()).add(connection)
            self._is_wanted.set()

    def leave(self, connection: Connection, name: str) -> None:
        """Somebody has left, and waits for no snapshot any more."""
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.discard(connection)
            if not waiting:
                del self._waiting[name]
        if name not in self._hub.channels:
            # The last one has left. Anybody can subscribe to products that there are not: nothing is kept of those.
            self._snapshots.pop(name, None)
            product_id = name.removeprefix(OF_PRODUCT)
            if not self._products.get(product_id):
                self._products.pop(product_id, None)

    def hear(self, changes: Iterable[Change]) -> None:
        """Levels have changed."""
        for change in changes:
            variant_id, reason, on_hand, reserved, version, at = change
            level = self._levels.get(variant_id)
            if level is None:
                self._hear_unknown(variant_id, change)
            elif version > level.version:
                level.reason, level.on_hand, level.reserved, level.version, level.at = (
                    reason, on_hand, reserved, version, at,
                )  # fmt: skip
                self._has_changed(level)

    def hear_catalogue(self, product_ids: Collection[str]) -> None:
        """Products have changed, or nobody knows which (then none is named): thresholds, variants, what is shown."""
        everything = not product_ids
        product_ids = frozenset(product_ids)
        for level in list(self._levels.values()):
            if everything or level.product_id in product_ids:
                for name in level.channels[1:]:
                    self._mark_stale(name, for_all=False)
        for product_id in product_ids:
            self._mark_stale(OF_PRODUCT + product_id, for_all=False)
        if everything:
            self.check()
        self._mark_stale(INVENTORY, for_all=False)
        self._tell_catalogue(product_ids)

    def resync(self) -> None:
        """Something may have been missed: everybody gets a new snapshot."""
        self.is_trusted = True
        self._snapshots.clear()
        for name in self._watched():
            self._mark_stale(name, for_all=True)
        self._tell_catalogue(())

    def distrust(self) -> None:
        """Changes are not heard of: what is kept here may be old."""
        self.is_trusted = False
        self._snapshots.clear()

    def check(self) -> None:
        """Hold everything that somebody looks at against the database, and let go of the rest."""
        channels = self._hub.channels
        for name in self._watched():
            self._mark_stale(name, for_all=False)
        if INVENTORY in channels and not self._is_complete:
            for level in self._levels.values():
                if not any(name in channels for name in level.channels[1:]):
                    self._unchecked[level.variant_id] = None
        if len(self._levels) > _MOST_UNWATCHED:
            self._let_go()

    # --- Telling ---

    def _has_changed(self, level: Level) -> None:
        for name in level.channels:
            self._snapshots.pop(name, None)
        if level.variant_id in self._held_back:
            return
        now = self._server.now()
        due = self._told_at.get(level.variant_id, 0.0) + self._window
        if now >= due:
            self._tell(level)
        else:
            self._held_back[level.variant_id] = self._server.loop.call_at(due, self._tell_late, level.variant_id)

    def _tell_late(self, variant_id: str) -> None:
        self._held_back.pop(variant_id, None)
        level = self._levels.get(variant_id)
        if level is not None:
            self._tell(level)

    def _tell(self, level: Level) -> None:
        if self._window:
            if len(self._told_at) > AT_A_TIME * 10:
                self._told_at.clear()
            self._told_at[level.variant_id] = self._server.now()
        data: str | None = None
        for name in level.channels:
            channel = self._hub.channels.get(name)
            if channel is not None:
                data = data or _text(level.change())
                self._server.delivery.send(channel, wire.message(UPDATED, name, data), key=(name, level.variant_id))
        level.told = level.quantity
        self._server.meters.told()

    def _tell_catalogue(self, product_ids: Collection[str]) -> None:
        """That products look different now, or any of them (then none is named). What they cost is not told.

        A price depends on who asks, so everybody asks for themselves; and a product that is not for sale yet has
        nothing to tell to those who do not know its id.
        """
        names = [OF_PRODUCT + id_ for id_ in product_ids]
        for name in names or [name for name in self._watched() if name.startswith(OF_PRODUCT)]:
            self._tell_change(name, PRODUCT_UPDATED, {"product_id": name.removeprefix(OF_PRODUCT)})
        self._tell_change(CATALOGUE, CATALOGUE_UPDATED, {})

    def _tell_change(self, name: str, event: str, data: dict[str, Any]) -> None:
        channel = self._hub.channels.get(name)
        if channel is not None:
            self._server.delivery.send(channel, wire.message(event, name, data), key=(name, event))

    def _hear_unknown(self, variant_id: str, change: Change) -> None:
        """A variant that nobody has looked at; or one that is just being read, and may have been before the change."""
        channels = self._hub.channels
        if not self._reads_products and INVENTORY not in channels and OF_VARIANT + variant_id not in channels:
            return
        before = self._unknown.get(variant_id)
        if before is None or before[4] < change[4]:
            self._unknown[variant_id] = change
            self._is_wanted.set()

    # --- Snapshots ---

    def _snapshot(self, name: str) -> bytes | None:
        """A channel's snapshot, if all of it is known."""
        frame = self._snapshots.get(name)
        if frame is None:
            levels = self._levels_of(name)
            if levels is None:
                return None
            data: dict[str, Any] = {"levels": [level.shown() for level in levels]}
            if name == INVENTORY:
                data["complete"] = self._is_complete
            frame = self._snapshots[name] = wire.message(SNAPSHOT, name, data)
        return frame

    def _levels_of(self, name: str) -> list[Level] | None:
        if name == INVENTORY:
            ids = self._inventory
        elif name.startswith(OF_PRODUCT):
            ids = self._products.get(name.removeprefix(OF_PRODUCT))
        else:
            ids = (name.removeprefix(OF_VARIANT),)
        levels = [self._levels.get(variant_id) for variant_id in ids or ()]
        known = [level for level in levels if level is not None]
        return None if ids is None or len(known) < len(levels) else known

    def _is_ours(self, connection: Connection, name: str) -> bool:
        return connection.app.id == self._hub.app.id and (
            name == INVENTORY or name.startswith((OF_PRODUCT, OF_VARIANT))
        )

    def _watched(self) -> list[str]:
        return [name for name in self._hub.channels if name == INVENTORY or name.startswith((OF_PRODUCT, OF_VARIANT))]

    def _mark_stale(self, name: str, *, for_all: bool) -> None:
        if name in self._hub.channels:
            self._stale[name] = self._stale.get(name, False) or for_all
            self._is_wanted.set()
        elif name.startswith(OF_VARIANT):
            # Nobody looks at it now; who does next has it read.
            self._snapshots.pop(name, None)
            level = self._levels.get(name.removeprefix(OF_VARIANT))
            if level is not None and not any(channel in self._hub.channels for channel in level.channels[1:]):
                del self._levels[level.variant_id]
        else:
            self._snapshots.pop(name, None)
            if name == INVENTORY:
                self._inventory = None
            self._products.pop(name.removeprefix(OF_PRODUCT), None)

    def _let_go(self) -> None:
        channels = self._hub.channels
        for level in list(self._levels.values()):
            if not any(name in channels for name in level.channels[1:]) and level.variant_id not in self._held_back:
                del self._levels[level.variant_id]
                for name in level.channels:
                    self._snapshots.pop(name, None)
                self._products.pop(level.product_id, None)
        self._inventory = None

    # --- Reading ---

    async def _run(self) -> None:
        backoff = 0.05
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            try:
                while self._waiting or self._stale or self._unknown or self._unchecked:
                    await self._read_some()
                    await asyncio.sleep(_PAUSE_SECONDS if self._stale and not self._waiting else 0)
                backoff = 0.05
            except Exception as error:
                _log.warning("realtime cannot read the stock", error=first_line(error))
                self._is_wanted.set()
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def _read_some(self) -> None:
        """Read some of what has to be read, those first who wait. What fails is still to be read."""
        names = [*self._waiting, *(name for name in self._stale if name not in self._waiting)][:AT_A_TIME]
        # Whatever happens from now on has to be read again.
        waiting = {name: self._waiting.pop(name, set()) for name in names}
        for_all = {name: self._stale.pop(name, None) for name in names}
        unknown = _some_of(self._unknown)
        checked = _some_of(self._unchecked)
        self._reads_products = any(name.startswith(OF_PRODUCT) for name in names)
        try:
            of_variants, of_products, first = await self._read(names, {*unknown, *checked})
        except BaseException:
            for name in names:
                if still := {connection for connection in waiting[name] if name in connection.channels}:
                    self._waiting.setdefault(name, set()).update(still)
                if for_all[name] is not None:
                    self._stale[name] = self._stale.get(name, False) or bool(for_all[name])
            self._unknown = unknown | self._unknown
            self._unchecked = checked | self._unchecked
            raise
        finally:
            self._reads_products = False
        for variant_id, change in unknown.items():
            self._unknown_was_read(variant_id, change, of_variants)
        changed = self._take_in(names, [*of_variants, *of_products, *first])
        for name in names:
            has_changed = self._was_read(name, of_variants, of_products, first) or name in changed
            self._send_snapshot(name, waiting[name], for_all=bool(for_all[name]) or has_changed)

    async def _read(
        self, names: Collection[str], more: Collection[str]
    ) -> tuple[list[Level], list[Level], list[Level]]:
        most = self._server.settings.snapshot_levels
        variants = {id_ for name in names if (id_ := _id_in(name, OF_VARIANT))} | {UUID(text) for text in more}
        of_variants, of_products, first = await self._server.loop.run_in_executor(
            None,
            partial(
                read_levels,
                self._server.engine,
                variants=variants,
                products={id_ for name in names if (id_ := _id_in(name, OF_PRODUCT))},
                first=most + 1 if INVENTORY in names and most else 0,
                now=self._server.clock.now(),
            ),
        )
        if INVENTORY in names:
            self._is_complete = most > 0 and len(first) <= most
        return of_variants, of_products, first if self._is_complete else []

    def _take_in(self, names: Collection[str], levels: Iterable[Level]) -> set[str]:
        """Make what was read what is known; the channels to which something other than a movement has happened.

        Those that show a variant anew are among them, as far as they are being read.
        """
        changed: set[str] = set()
        shown: set[str] = set()
        for read in levels:
            known = self._levels.get(read.variant_id)
            if known is None:
                # Nothing of it was told yet: what a snapshot shows is what the next event comes after.
                read.told = read.quantity
                self._levels[read.variant_id] = read
                shown.update(read.channels)
                continue
            if known.facts() != read.facts():
                known.product_id, known.sku, known.policy, known.allow_backorder, known.threshold = (
                    read.product_id, read.sku, read.policy, read.allow_backorder, read.threshold,
                )  # fmt: skip
                changed.update(known.channels)
            if read.version > known.version:
                self.hear([[read.variant_id, read.reason, read.on_hand, read.reserved, read.version, read.at]])
        changed |= shown.intersection(names)
        for name in changed:
            self._snapshots.pop(name, None)
            if name not in names:
                self._mark_stale(name, for_all=True)
        return changed

    def _unknown_was_read(self, variant_id: str, change: Change, levels: Iterable[Level]) -> None:
        """A variant whose change was heard before it was known: now the change can be told."""
        level = next((level for level in levels if level.variant_id == variant_id), None)
        if level is None or variant_id in self._levels:
            return
        if change[4] >= level.version:
            level.reason, level.on_hand, level.reserved, level.version, level.at = change[1:]
        self._levels[variant_id] = level
        self._has_changed(level)

    def _was_read(self, name: str, of_variants: list[Level], of_products: list[Level], first: list[Level]) -> bool:
        """Note which variants a channel has; whether there are others now than before."""
        if name == INVENTORY:
            before, self._inventory = self._inventory, tuple(level.variant_id for level in first)
            has_changed = before is not None and before != self._inventory
        elif name.startswith(OF_PRODUCT):
            product_id = name.removeprefix(OF_PRODUCT)
            known = self._products.get(product_id)
            ids = tuple(level.variant_id for level in of_products if level.product_id == product_id)
            if ids or name in self._hub.channels:
                self._products[product_id] = ids
            else:
                self._products.pop(product_id, None)
            has_changed = known is not None and known != ids
        else:
            variant_id = name.removeprefix(OF_VARIANT)
            # It is not there, or not to be seen any more.
            is_gone = not any(level.variant_id == variant_id for level in of_variants)
            has_changed = is_gone and self._levels.pop(variant_id, None) is not None
        if has_changed:
            self._snapshots.pop(name, None)
        return has_changed

    def _send_snapshot(self, name: str, waiting: Iterable[Connection], *, for_all: bool) -> None:
        """To those who wait for it; or to all, if they may have missed something."""
        channel = self._hub.channels.get(name)
        if channel is None:
            return
        frame = self._snapshot(name) or wire.message(SNAPSHOT, name, {"levels": []})
        if for_all:
            self._server.delivery.send(channel, frame, key=(name, SNAPSHOT), is_whole=True)
            self._server.meters.resynced()
            return
        for connection in waiting:
            if connection in channel.subscribers:
                connection.send(frame, (name, SNAPSHOT))


def _some_of(table: dict[str, Any]) -> dict[str, Any]:
    """Up to so many of its entries, which are taken out."""
    return {key: table.pop(key) for key in list(table)[:AT_A_TIME]}


def _id_in(name: str, prefix: str) -> UUID | None:
    """The id in a channel's name, if it is one and written the way we write it."""
    if not name.startswith(prefix):
        return None
    try:
        id_ = UUID(name.removeprefix(prefix))
    except ValueError:
        return None
    return id_ if name == prefix + str(id_) else None


def _text(data: dict[str, Any]) -> str:
    return orjson.dumps(data).decode()
