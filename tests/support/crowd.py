"""A crowd of buyers, each with a connection of its own, who do at random what buyers do.

Everything random comes from one seed. What the crowd was told by the shop is kept, for the audit to hold against it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from commerce_core.payments.provider import ManualProvider
from commerce_core.testing import WEBHOOK_SECRET
from support.http import Answer, BrokenConnection, Browser

API = "/api/v1"
TRY_AGAIN_SECONDS = 0.1
# What each request may be answered; anything else is a finding.
EXPECTED = {
    "hold": {201, 409},
    "extend": {200, 409},
    "release": {204, 409},
    "order": {201, 409},
    "show": {200},
    "cancel": {200, 409},
    "webhook": {200},
}
# What becomes of a hold, and how often. Whoever "keeps" does nothing more: the hold, or the order, is left to lapse.
FATES = {
    "release": 15,
    "keep hold": 15,
    "order, pay": 30,
    "order, fail, pay": 10,
    "order, pay late": 5,
    "order, cancel": 15,
    "order, keep": 10,
}


@dataclass
class Told:
    """What the shop has told the crowd."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    unavailable: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    holds: dict[UUID, tuple[UUID, int]] = field(default_factory=dict)
    orders: dict[UUID, UUID] = field(default_factory=dict)
    paid: dict[UUID, str] = field(default_factory=dict)
    receipts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        return sum(self.statuses.values()) + self.unavailable + self.broken.total()

    def __str__(self) -> str:
        answers = ", ".join(f"{what} {status}: {count}" for (what, status), count in sorted(self.statuses.items()))
        return f"{answers}; 503: {self.unavailable}, broken connections: {dict(self.broken)}"


@dataclass
class Crowd:
    """`buyers` of them on the shop's `ports`, after some of `variants` (id to weight).

    A crowd that `insists` repeats a request, with its idempotency key, until it is answered by something else than 503
    or a broken connection. One that does not takes these for findings. Told that it is `going_home`, nobody begins
    another visit.
    """

    seed: int
    buyers: int
    ports: Sequence[int]
    variants: Mapping[UUID, int]
    insists: bool = False
    keep_alive: bool = True
    visits: int = 2
    largest: int = 4
    fates: Mapping[str, int] = field(default_factory=lambda: FATES)
    told: Told = field(default_factory=Told)
    going_home: bool = False

    def run(self) -> Told:
        """Everybody connects, then everybody shops at once."""
        print(f"seed {self.seed}")
        asyncio.run(self._run())
        print(self.told)
        return self.told

    async def _run(self) -> None:
        buyers = [Buyer(self, number) for number in range(self.buyers)]
        try:
            await asyncio.gather(*(buyer.browser.connect() for buyer in buyers))
            # Should one of them stumble, the others stop, too.
            async with asyncio.TaskGroup() as shopping:
                for buyer in buyers:
                    shopping.create_task(buyer.shop())
        finally:
            for buyer in buyers:
                buyer.browser.close()


class Buyer:
    def __init__(self, crowd: Crowd, number: int) -> None:
        self.random = random.Random(f"{crowd.seed}:{number}")
        self.crowd = crowd
        self.told = crowd.told
        self.browser = Browser(self.random.choice(crowd.ports), keep_alive=crowd.keep_alive)
        self.headers = {"X-Cart-Token": hashlib.sha256(self.random.randbytes(16)).hexdigest()}

    async def shop(self) -> None:
        for _ in range(self.crowd.visits):
            if self.crowd.going_home:
                return
            variant_id = self._choose(self.crowd.variants)
            hold_id = await self.hold(variant_id, self.random.randint(1, self.crowd.largest))
            if hold_id is None:
                continue
            for _ in range(self.random.choice([0, 0, 1, 2])):
                await self.ask("extend", "POST", f"/holds/{hold_id}/extend")
            fate = self._choose(self.crowd.fates)
            if fate == "release":
                await self.ask("release", "DELETE", f"/holds/{hold_id}")
            elif fate.startswith("order"):
                await self.order(hold_id, fate)

    async def hold(self, variant_id: UUID, quantity: int) -> UUID | None:
        answer = await self.ask("hold", "POST", "/holds", {"variant_id": str(variant_id), "quantity": quantity})
        if answer.status != 201:
            return None
        hold_id = UUID(answer.body["id"])
        self.told.holds[hold_id] = (variant_id, quantity)
        return hold_id

    async def order(self, hold_id: UUID, fate: str) -> None:
        answer = await self.ask("order", "POST", "/orders", {"hold_id": str(hold_id)})
        if answer.status != 201:
            return
        order_id = UUID(answer.body["id"])
        self.told.orders[order_id] = hold_id
        if fate == "order, cancel":
            await self.ask("cancel", "POST", f"/orders/{order_id}/cancel")
        if fate == "order, fail, pay":
            await self.webhook(order_id, "failed")
        if fate == "order, pay late":
            while await self.is_pending(order_id):
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        if "pay" in fate:
            await self.webhook(order_id, "paid")

    async def is_pending(self, order_id: UUID) -> bool:
        answer = await self.ask("show", "GET", f"/orders/{order_id}")
        return answer.status == 200 and bool(answer.body["status"] == "pending")

    async def webhook(self, order_id: UUID, status: str) -> None:
        """The provider tells twice: at the same time on another connection, or one after the other."""
        event_id = f"evt_{order_id}_{status}"
        body = json.dumps({"event_id": event_id, "order_id": str(order_id), "status": status}).encode()
        signature = {"X-Webhook-Signature": "sha256=" + ManualProvider.signature(WEBHOOK_SECRET, body)}
        provider = Browser(self.random.choice(self.crowd.ports), keep_alive=self.crowd.keep_alive)
        deliveries = [
            self._insist("webhook", browser, "POST", "/payments/webhook", body, signature)
            for browser in (self.browser, provider)
        ]
        if self.random.random() < 0.5:
            answers: Iterable[Answer] = await asyncio.gather(*deliveries)
        else:
            answers = [await delivery for delivery in deliveries]
        provider.close()
        self.told.receipts[event_id] = [answer.body for answer in answers if answer.status == 200]
        if status == "paid":
            self.told.paid[order_id] = event_id

    async def ask(self, what: str, method: str, path: str, body: Any = None) -> Answer:
        headers = dict(self.headers)
        if method == "POST":
            headers["Idempotency-Key"] = f"{self.random.getrandbits(64):x}"
        encoded = b"" if body is None else json.dumps(body).encode()
        return await self._insist(what, self.browser, method, path, encoded, headers)

    async def _insist(
        self, what: str, browser: Browser, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        while True:
            try:
                answer = await browser.send(method, API + path, body, headers)
            except BrokenConnection as error:
                self.told.broken[str(error).partition(": ")[2]] += 1
                if not self.crowd.insists:
                    self.told.unexpected.append(str(error))
                    return Answer(0, None)
            else:
                under_way = answer.status == 409 and answer.body["type"] == "/problems/idempotency-key-in-use"
                if not self.crowd.insists or not (answer.status == 503 or under_way):
                    self.told.statuses[what, answer.status] += 1
                    if answer.status not in EXPECTED[what]:
                        self.told.unexpected.append(f"{what}: {answer}")
                    return answer
                self.told.unavailable += answer.status == 503
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    def _choose(self, weights: Mapping[Any, int]) -> Any:
        return self.random.choices(list(weights), list(weights.values()))[0]
