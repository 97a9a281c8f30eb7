"""A payment provider that keeps accounts like a real one, and misbehaves like a real one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from commerce_core.payments.models import Payment
from commerce_core.payments.provider import Closing, OpenPayment, ProviderEvent, RefundRequest, RefundResult


class BankAway(Exception):
    """It could not be reached, or did not answer in time."""


class Bank:
    """Gives money back once per idempotency key. `mood` is how it treats the next requests.

    `well`: does it. `slow`: does it, but the answer is lost. `away`: does nothing. `later`: tells by a webhook.
    `no`: declines, and remembers that for the key.
    """

    code = "bank"
    refunds_at_once = False
    closes_payments = True

    def __init__(self) -> None:
        self.mood = "well"
        self.calls: list[RefundRequest] = []
        self.given_back: dict[str, int] = {}
        self._answers: dict[str, RefundResult] = {}
        # What it says of payments that are to be closed, and which ones it was asked about.
        self.closing = Closing("closed")
        self.closed: list[OpenPayment] = []
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        return sum(self.given_back.values())

    def client_data(self, payment: Payment) -> dict[str, Any]:
        return {}

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        pass

    def read(self, payload: Any) -> ProviderEvent:
        raise NotImplementedError

    def refund(self, request: RefundRequest) -> RefundResult:
        with self._lock:
            self.calls.append(request)
            if self.mood == "away":
                raise BankAway("the bank is closed")
            key = request.idempotency_key
            if key not in self._answers:
                self._answers[key] = self._decide(request)
            if self.mood == "slow":
                raise BankAway("no answer in time")
            return self._answers[key]

    def close(self, payment: OpenPayment) -> Closing:
        self.closed.append(payment)
        if self.mood == "away":
            raise BankAway("the bank is closed")
        return self.closing

    def _decide(self, request: RefundRequest) -> RefundResult:
        if self.mood == "no":
            return RefundResult("failed", error="the card is closed")
        self.given_back[request.idempotency_key] = request.amount
        return RefundResult("pending" if self.mood == "later" else "succeeded", reference=f"re-{len(self.given_back)}")
