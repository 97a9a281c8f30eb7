"""The WSGI application: keys, versions, idempotency, faults, and then the endpoint."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from commerce_stripe_payments.testing.billing.time import catch_up
from commerce_stripe_payments.testing.control import Control
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.faults import Fault, Faults
from commerce_stripe_payments.testing.forms import decode
from commerce_stripe_payments.testing.idempotency import Answer, Idempotency
from commerce_stripe_payments.testing.router import Call, Route, find_route
from commerce_stripe_payments.testing.shapes import render
from commerce_stripe_payments.testing.world import World

CONNECTION = "commerce.fake_stripe.connection"
"""In the environment: the socket, to be cut."""
_KEY = re.compile(r"(?P<kind>sk|rk|pk)_(?P<mode>test|live)_\w+")


@dataclass
class _Asked:
    """One request to the API."""

    method: str
    path: str
    form: str
    version: str
    request_id: str
    key: str | None
    fault: Fault | None
    is_public: bool = False


class CutShort(Exception):
    """The request gets no answer."""


class Application:
    """Stripe's API, and below `/_fake/` what the world outside does to it."""

    def __init__(self, world: World, faults: Faults, control: Control) -> None:
        self.world = world
        self.faults = faults
        self.control = control
        self.idempotency = Idempotency()
        self.requests: list[Thing] = []

    def __call__(self, environ: Thing, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            if path.startswith("/_fake/") or not path.startswith(("/v1/", "/v2/")):
                answer = self.control.answer(method, path, body, environ.get("QUERY_STRING", ""))
            else:
                answer = self._answer(method, path, body.decode(), environ)
        except CutShort:
            _cut(environ.get(CONNECTION))
            answer = Answer(502, b"")
        reason = "OK" if answer.status < 400 else "Refused"
        start_response(f"{answer.status} {reason}", [*answer.headers, ("Content-Length", str(len(answer.body)))])
        return [answer.body]

    def _answer(self, method: str, path: str, body: str, environ: Thing) -> Answer:
        with self.world.lock:
            request_id = self.world.new_id("req")
        self.requests.append({"method": method, "path": path, "body": body, "request_id": request_id})
        query = environ.get("QUERY_STRING", "")
        asked = _Asked(
            method=method,
            path=path,
            form=body if method == "POST" else query or body,
            version=environ.get("HTTP_STRIPE_VERSION") or self.world.api_version,
            request_id=request_id,
            key=environ.get("HTTP_IDEMPOTENCY_KEY") if method == "POST" and path.startswith("/v1/") else None,
            fault=self.faults.next_for(method, path),
        )
        try:
            asked.is_public = self._check_key(environ)
            self._check_account(environ)
            answer = self._worked(asked)
        except Failure as failure:
            answer = self._failed(failure, asked.version)
        common = (("Request-Id", request_id), ("Stripe-Version", asked.version), ("Content-Type", "application/json"))
        return answer._replace(headers=(*common, *answer.headers))

    def _worked(self, asked: _Asked) -> Answer:
        """The answer, or a fault instead of it, before or after the work."""
        fault = asked.fault
        if fault is not None and fault.when == "before" and fault.kind != "pause":
            # It never gets as far as the keys.
            return self._hit(fault)
        try:
            answer = self._done(asked) if asked.key is None else self._done_once(asked, asked.key)
        except Failure as failure:
            answer = self._failed(failure, asked.version)
        if fault is not None and fault.when == "after":
            return self._hit(fault, answer)
        return answer

    def _done_once(self, asked: _Asked, key: str) -> Answer:
        """Do it and remember the answer, or give the one that is remembered."""
        # The parameters as they came, byte for byte.
        fingerprint = (asked.method, asked.path, hashlib.sha256(asked.form.encode()).hexdigest())
        kept = self.idempotency.begin(key, fingerprint, self.world.now)
        if kept is not None:
            return kept._replace(headers=(*kept.headers, ("Idempotent-Replayed", "true")))
        fault = asked.fault
        answer: Answer | None = None
        try:
            answer = self._done(asked)
            if fault is not None and (fault.when, fault.kind) == ("after", "error"):
                # It failed on the way out: that is what is remembered.
                answer = _error_of(fault)
        except Failure as failure:
            if failure.is_kept:
                answer = self._failed(failure, asked.version)
            raise
        finally:
            self.idempotency.finish(key, answer)
        return answer

    def _done(self, asked: _Asked) -> Answer:
        if asked.fault is not None and asked.fault.when == "before":
            self._hit(asked.fault)  # a pause, with the key in use
        found, ids = find_route(asked.method, asked.path)
        params = _renamed(decode(asked.form), asked.version, found.params.names)
        if asked.is_public:
            self._check_client_secret(found, ids, params)
        given = found.params.check(params)
        expand = given.pop("expand", [])
        call = Call(self.world, given, asked.version, asked.path)
        with self.world.lock:
            catch_up(self.world, None, self.world.now)
            self.world.request = {"id": asked.request_id, "idempotency_key": asked.key}
            try:
                made = found.handler(call, *ids)
            finally:
                self.world.request = {"id": None, "idempotency_key": None}
            shown = render(self.world, made, asked.version, tuple(expand))
        return Answer(200, json.dumps(shown, indent=2).encode())

    def _check_client_secret(self, found: Route, ids: tuple[str, ...], params: Thing) -> None:
        """Browsers may do little, and only with objects whose secret they have been given."""
        if not found.is_public:
            raise Failure("This API call cannot be made with a publishable API key.", status=401, is_kept=False)
        params.pop("key", None)
        secret = params.pop("client_secret", None)
        if secret is None or self.world.objects.get(ids[0], {}).get("client_secret") != secret:
            raise Failure("The client_secret provided does not match any object.", status=401, is_kept=False)

    def _hit(self, fault: Fault, answer: Answer | None = None) -> Answer:
        fault.reached.set()
        if fault.kind == "error":
            return _error_of(fault)
        if fault.kind in ("hang", "pause"):
            fault.released.wait()
        if fault.kind in ("hang", "cut"):
            raise CutShort
        return answer or Answer(200, b"")

    def _failed(self, failure: Failure, version: str) -> Answer:
        with self.world.lock:
            body = {"error": render(self.world, failure.error, version)}
        return Answer(failure.status, json.dumps(body, indent=2).encode(), tuple(failure.headers.items()))

    def _check_key(self, environ: Thing) -> bool:
        """Whether the key is a publishable one. Raises Failure for one that is not of this world."""
        kind, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind == "Basic":
            try:
                given = base64.b64decode(given).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if not given:
            form = environ.get("QUERY_STRING", "")
            given = dict(parse_qsl(form)).get("key", "")
        match = _KEY.fullmatch(given)
        if match is None:
            raise Failure("Invalid API Key provided.", status=401, is_kept=False)
        if (match["mode"] == "live") is not self.world.livemode:
            raise Failure("The key is of the other mode.", status=401, is_kept=False)
        return match["kind"] == "pk"

    def _check_account(self, environ: Thing) -> None:
        account = environ.get("HTTP_STRIPE_ACCOUNT")
        if account not in (None, self.world.account):
            raise Failure(
                f"The provided key does not have access to account '{account}'.",
                status=403,
                code="account_invalid",
                is_kept=False,
            )


def _renamed(params: Thing, version: str, names: frozenset[str]) -> Thing:
    """Before 2026-09-30, `allowed_payment_method_types` of payments was called `payment_method_types`."""
    old, new = "payment_method_types", "allowed_payment_method_types"
    if version[:10] < "2026-09-30" and old in params and new in names and old not in names:
        params[new] = params.pop(old)
    return params


def _error_of(fault: Fault) -> Answer:
    if fault.is_html:
        return Answer(fault.status, b"<html><body>Bad gateway</body></html>", tuple(fault.headers.items()))
    if fault.status == 429:
        error: Thing = {
            "type": "invalid_request_error",
            "code": fault.code or "rate_limit",
            "message": "Too many requests",
        }
    else:
        error = {"type": "api_error", "message": "An unknown error occurred"}
        if fault.code is not None:
            error["code"] = fault.code
    return Answer(fault.status, json.dumps({"error": error}).encode(), tuple(fault.headers.items()))


def _cut(connection: socket.socket | None) -> None:
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
