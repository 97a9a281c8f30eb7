"""The fake's own addresses: operations at `/_fake/...`, and the page of a bank that wants to see its customer."""

from __future__ import annotations

import dataclasses
import html
import json
from typing import Any
from urllib.parse import parse_qs

from commerce_stripe_payments.testing.cards import ALL
from commerce_stripe_payments.testing.failures import Failure, Thing
from commerce_stripe_payments.testing.idempotency import Answer
from commerce_stripe_payments.testing.outbox import Delivery
from commerce_stripe_payments.testing.outside import OPERATIONS, Outside
from commerce_stripe_payments.testing.shapes import render

_JSON = (("Content-Type", "application/json"),)
_HTML = (("Content-Type", "text/html; charset=utf-8"),)


class Control:
    """Everything that is not Stripe's API."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def answer(self, method: str, path: str, body: bytes, query: str) -> Answer:
        try:
            kind, _, rest = path.removeprefix("/").partition("/")
            if kind == "_fake" and method == "POST":
                return self._operate(rest, json.loads(body or b"{}"))
            if kind == "_fake" and method == "GET" and rest == "deliveries":
                return self._json([self._shown(delivery) for delivery in self.outside.outbox.deliveries])
            if kind == "authenticate":
                return self._authenticate(method, rest, body)
            if kind == "pay":
                return self._pay(method, rest, body)
        except Failure as failure:
            return self._json({"error": failure.error}, failure.status)
        except (TypeError, ValueError) as error:
            return self._json({"error": {"message": str(error)}}, 400)
        return self._json({"error": {"message": "There is nothing here."}}, 404)

    def _operate(self, name: str, arguments: Thing) -> Answer:
        if name not in OPERATIONS:
            return self._json({"error": {"message": f"The operations are {', '.join(OPERATIONS)}."}}, 404)
        return self._json(getattr(self.outside, name)(**arguments))

    def _authenticate(self, method: str, id: str, body: bytes) -> Answer:
        """What a browser sees of 3-D Secure."""
        world = self.outside.world
        with world.lock:
            intent = world.objects.get(id) or world.find("payment_intent", id)
            back = ((intent["next_action"] or {}).get("redirect_to_url") or {}).get("return_url")
        if method == "GET":
            return _page(
                f"Your bank asks: is this payment yours? <small>{html.escape(id)}</small>",
                {"yes": "Yes, it is mine", "no": "No"},
            )
        answer = parse_qs(body.decode()).get("answer", ["no"])[0]
        done = self.outside.authenticate(id, succeeds=answer == "yes")
        if back is None:
            return _page(f"Done: {html.escape(done['status'])}. You can close this page.", {})
        kind = done["object"]
        joint = "&" if "?" in back else "?"
        address = f"{back}{joint}{kind}={id}&{kind}_client_secret={done['client_secret']}"
        outcome = "failed" if done["status"] == "requires_payment_method" else "succeeded"
        return Answer(303, b"", (("Location", f"{address}&redirect_status={outcome}"),))

    def _pay(self, method: str, id: str, body: bytes) -> Answer:
        """What a browser sees of a checkout session: the test cards, each a button."""
        world = self.outside.world
        with world.lock:
            session = world.find("checkout.session", id)
            amount = f"{session['amount_total'] or 0} {session['currency'].upper()} (in its smallest unit)"
        if method == "GET" and session["status"] == "open":
            cards = {instrument.name: instrument.name for instrument in ALL if instrument.type == "card"}
            return _page(f"Pay {amount} with", cards)
        if method == "POST" and session["status"] == "open":
            self.outside.finish_checkout(id, parse_qs(body.decode()).get("answer", ["pm_card_visa"])[0])
        if session["status"] == "complete":
            back = (session["success_url"] or world.url).replace("{CHECKOUT_SESSION_ID}", id)
            return Answer(303, b"", (("Location", back),))
        with world.lock:
            intent = world.objects.get(session["payment_intent"] or "", {})
        if intent.get("status") == "requires_action":
            return Answer(303, b"", (("Location", f"/authenticate/{intent['id']}"),))
        if session["status"] == "open":
            return _page("The bank has said no. Go back, and take another card.", {})
        return _page(f"This session is {session['status']}.", {})

    def _json(self, value: Any, status: int = 200) -> Answer:
        with self.outside.world.lock:
            return Answer(status, json.dumps(self._shown(value), indent=2, default=str).encode() + b"\n", _JSON)

    def _shown(self, value: Any) -> Any:
        world = self.outside.world
        if isinstance(value, list):
            return [self._shown(item) for item in value]
        if isinstance(value, Delivery):
            return {
                "event": value.event["id"],
                "type": value.event["type"],
                "endpoint": value.endpoint.id,
                "tries": value.tries,
                "status": value.status,
            }
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            plain = (str, int, float, bool, tuple, type(None))
            return {name: field for name, field in fields.items() if isinstance(field, plain)}
        return render(world, value, world.api_version)


def _page(text: str, buttons: dict[str, str]) -> Answer:
    shown = "".join(
        f'<button name="answer" value="{html.escape(value)}">{html.escape(label)}</button> '
        for value, label in buttons.items()
    )
    page = (
        '<!doctype html><meta charset="utf-8"><title>Fake Stripe</title>'
        '<body style="font: 1.1rem system-ui; max-width: 34rem; margin: 4rem auto">'
        "<p><strong>This is a fake Stripe. No money moves.</strong></p>"
        f'<p>{text}</p><form method="post">{shown}</form>'
    )
    return Answer(200, page.encode(), _HTML)
