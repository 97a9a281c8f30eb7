"""The way in for Stripe's webhooks: W1 to W16 of the plugin's README."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commerce_stripe_payments.settings import Settings
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from stripe_signing import SECOND_SECRET, SECRET, SETTINGS, THIN_SECRET, event, signature, thin_event

from commerce_core.database import transaction
from commerce_core.jobs.models import Job
from commerce_core.testing import concurrently, count_sql

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)
BAD = "/problems/stripe/bad-webhook"


def test_w1_only_the_hmac_of_scheme_v1_opens_the_door(sender, events):
    body = json.dumps(event()).encode()
    good = signature(body, SECRET, sender.now)
    stamp, digest = good.split(",v1=")
    sender.post(body, good)
    for header in (
        signature(body, "whsec_wrong", sender.now),
        f"{stamp},v0={digest}",
        f"{stamp},v1={digest.upper()}",
        f"{stamp},v1={digest[:-1]}",
    ):
        assert sender.post(body, header, status=400).json["type"] == BAD
    assert len(events()) == 1


def test_w2_the_signature_is_of_the_raw_bytes(sender, events):
    told = event()
    header = signature(json.dumps(told).encode(), SECRET, sender.now)
    sender.post(json.dumps(told, indent=2).encode(), header, status=400)
    sender.post(json.dumps(told).encode(), header)
    assert len(events()) == 1


def test_w3_a_signature_of_long_ago_or_of_the_future_is_refused(sender):
    body = json.dumps(event()).encode()
    for seconds, status in ((-299, 200), (299, 200), (-301, 400), (302, 400), (10 * 365 * 86_400, 400)):
        sender.post(body, signature(body, SECRET, sender.now + seconds), status=status)


def test_w3_a_second_time_in_the_header_makes_nothing_new_again(sender, events):
    """What was signed long ago, with the time of now beside its own: whoever has seen it once would be let in."""
    body = json.dumps(event()).encode()
    old = signature(body, SECRET, sender.now - 3_600)
    for header in (f"{old},t={int(sender.now)}", f"t={int(sender.now)},{old}"):
        sender.post(body, header, status=400)
    assert events() == []


def test_w4_each_secret_is_tried_while_one_is_rolled(sender, application):
    signed_by = application.registry.stripe.meters.signed_by
    before = [signed_by.labels(place)._value.get() for place in ("0", "1")]
    body = json.dumps(event()).encode()
    first, second = (signature(body, secret, sender.now) for secret in (SECRET, SECOND_SECRET))
    for header in (first, second, f"{first},{second.split(',')[1]}"):
        sender.post(body, header)
    sender.post(body, signature(body, "whsec_third", sender.now), status=400)
    after = [signed_by.labels(place)._value.get() for place in ("0", "1")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


@pytest.mark.parametrize("secrets", ["", " ", ",", "not-a-secret"])
def test_w5_without_a_secret_the_shop_does_not_start(secrets):
    with pytest.raises(ValueError, match="webhook_secrets"):
        Settings(secret_key="sk_test_1", publishable_key="pk_test_1", webhook_secrets=secrets)


@pytest.mark.commerce(settings={**SETTINGS, "stripe.thin_webhook_secrets": ""})
def test_w5_a_door_without_a_secret_is_not_there(sender):
    sender.send(thin_event("v1.charge.succeeded", {"id": "ch_1"}), secret="", path="/webhooks/stripe/thin", status=404)


NO_EVENTS = {
    "invalid UTF-8": b'{"id": "\xff"}',
    "not JSON": b"hello",
    "a list": b"[]",
    "nothing in it": b"{}",
    "nothing at all": b"",
    "a thin event": json.dumps(thin_event("v1.charge.succeeded", {"id": "ch_1"})).encode(),
    "no object": json.dumps(event(data={})).encode(),
    "no data": json.dumps(event(data=None)).encode(),
    "a number as id": json.dumps(event(id=7)).encode(),
    "a zero in the id": json.dumps(event(id="evt_\0")).encode(),
    "a date that never comes": json.dumps(event(created=10**30)).encode(),
    "an id that is too long": json.dumps(event(id="evt_" + "1" * 300)).encode(),
    "no mode": json.dumps(event(livemode="no")).encode(),
}


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
def test_w6_what_is_no_event_is_refused_though_it_is_signed(sender, events, body):
    header = f"t={int(sender.now)},v1={_digest(body, sender.now)}"
    assert sender.post(body, header, status=400).json["type"] == BAD
    assert events() == []


@pytest.mark.parametrize(
    "header",
    [None, "", "garbage", "t=,v1=", "t=x,v1=y", "v1=abc", "t=1=2", "t=1,v1=é", ",,,", f"t={'9' * 400},v1=a", "t=nan"],
)
def test_w6_a_header_that_is_none_is_refused(sender, events, header):
    assert sender.post(json.dumps(event()).encode(), header, status=400).json["type"] == BAD
    assert events() == []


@pytest.mark.parametrize("odd", ["a\0b", "x" * 10_000], ids=["a zero", "long"])
def test_w6_odd_texts_in_an_event_that_is_signed_are_no_error(sender, events, odd):
    sender.send(event(account=odd, api_version=odd, object={"id": odd, "object": "payment_intent"}))
    assert [(row.account, row.api_version, row.object_id) for row in events()] == [("?", None, None)]


@pytest.mark.commerce(settings={**SETTINGS, "stripe.webhook_max_bytes": "2048"})
def test_w7_the_door_takes_small_posts_and_nothing_else(sender, events):
    sender.send(event(padding="x" * 2_048), status=413)
    assert sender.app.get("/webhooks/stripe", status=405)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        body = json.dumps(event()).encode()
        headers = {"Stripe-Signature": signature(body, SECRET, sender.now), "Content-Type": content_type}
        sender.app.request("/webhooks/stripe", method="POST", body=body, headers=headers, status=200)
    with_cookies = sender.send(event())
    assert "Set-Cookie" not in with_cookies.headers
    assert len(events()) == 5


def test_w8_an_unknown_type_is_kept_and_ignored(sender, events, run_jobs):
    sender.send(event("foo.bar"))
    assert [(row.state, row.detail) for row in events()] == [("ignored", "type: nothing is done about such events")]


def test_w9_the_other_mode_is_kept_and_has_no_effect(sender, events, engine):
    sender.send(event(livemode=True))
    assert [(row.state, row.detail) for row in events()] == [("ignored", "mode: this shop is in test mode")]
    assert _jobs(engine) == []


def test_w10_the_event_of_another_account_is_not_ours(sender, events, engine):
    sender.send(event(account="acct_other"))
    sender.send(event(context="acct_other"))
    assert {(row.state, row.detail) for row in events()} == {("ignored", "account: of another account")}
    assert _jobs(engine) == []


def test_w12_the_answer_waits_for_nobody_but_the_database(sender, application, engine):
    """`stripe.api_base` is an address where nobody answers: a call would fail."""
    with count_sql(application.registry.engine) as statements:
        sender.send(event())
    assert [statement.split()[0] for statement in statements] == ["INSERT"]
    assert _jobs(engine) == []


def test_w13_an_event_whose_job_is_lost_gets_another(sender, events, engine, clock, run_jobs):
    """It dies between the answer and the job; and after the job is wanted, the job is lost."""
    sender.send(event())
    with transaction(engine) as session:
        session.execute(text("UPDATE stripe_event SET queued_at = now()"))
    clock.tick(seconds=61)
    run_jobs()
    clock.tick(minutes=1)
    run_jobs()
    assert events()[0].attempts > 0


def test_w14_what_cannot_be_kept_is_not_acknowledged(sender, application, events, monkeypatch):
    told = event()
    with monkeypatch.context() as broken:
        broken.setattr(application.registry, "engine", _broken_engine())
        sender.send(told, status=503)
    assert events() == []
    sender.send(told)
    sender.send(told)
    assert len(events()) == 1


def test_w15_the_answers_tell_nothing(sender):
    assert sender.send(event()).json == {"received": True}
    assert set(sender.post(b"{}", "t=1,v1=2", status=400).json) == {"type", "title", "status", "detail", "instance"}


def test_w16_thin_events_have_a_door_and_a_secret_of_their_own(sender, events):
    told = thin_event("v1.payment_intent.succeeded", {"id": "pi_1", "type": "payment_intent"})
    thin = "/webhooks/stripe/thin"
    sender.send(told, secret=SECRET, path=thin, status=400)
    sender.send(told, secret=THIN_SECRET, path=thin)
    sender.send(event(), secret=THIN_SECRET, path=thin, status=400)
    assert [(row.type, row.object_id, row.is_thin) for row in events()] == [("payment_intent.succeeded", "pi_1", True)]


def test_d1_fifty_deliveries_of_one_event_are_one_event(sender, events, engine, run_jobs):
    told = event()
    answers = concurrently([lambda: sender.send(told).status_code for _ in range(50)])
    assert answers == [200] * 50
    assert len(events()) == 1
    run_jobs()
    assert len(_jobs(engine)) == 1


def test_keys_of_the_wrong_mode_or_kind_keep_the_shop_from_starting():
    good = {"secret_key": "rk_live_1", "publishable_key": "pk_live_1", "webhook_secrets": "whsec_1", "mode": "live"}
    assert Settings(**good).livemode
    for wrong, said in (
        ({"mode": "test"}, "live key"),
        ({"publishable_key": "pk_test_1"}, "test key"),
        ({"secret_key": "pk_live_1"}, "sk_live_"),
        ({"publishable_key": None}, "go together"),
        ({"secret_key": None, "publishable_key": None}, "no secret_key"),
    ):
        with pytest.raises(ValueError, match=said):
            Settings(**good | wrong)


def _digest(body: bytes, at: float) -> str:
    import hashlib
    import hmac

    return hmac.new(SECRET.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()


def _jobs(engine: Any) -> list[Job]:
    with Session(engine) as session:
        return list(session.scalars(select(Job).where(Job.name == "stripe.process_event")))


def _broken_engine() -> Any:
    from sqlalchemy import create_engine

    return create_engine("postgresql+psycopg://nobody@127.0.0.1:9/nothing", connect_args={"connect_timeout": 1})
