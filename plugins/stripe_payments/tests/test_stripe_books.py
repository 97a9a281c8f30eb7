"""Comparing the books with Stripe's, the doctor, and the commands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from commerce_stripe_payments.doctor import examine
from commerce_stripe_payments.models import StripeDifference
from commerce_stripe_payments.reconcile import compare, keep, reconcile_daily
from commerce_stripe_payments.webhooks import handlers
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from stripe_shop import API, Shop
from stripe_signing import SETTINGS

from commerce_core.cli.main import main
from commerce_core.database import transaction
from commerce_core.jobs.runner import run_due

pytestmark = pytest.mark.commerce(plugins=["stripe"], settings=SETTINGS)


def differences(shop: Shop) -> list[str]:
    """Of the last days, as the daily job finds and keeps them."""
    now = shop.clock.now() + timedelta(hours=1)
    report = compare(shop.stripe, since=now - timedelta(days=3), now=now)
    with transaction(shop.engine) as session:
        keep(session, report, now=now)
    return sorted(difference.kind for difference in report.differences)


def execute(shop: Shop, statement: str) -> None:
    with shop.engine.begin() as connection:
        connection.execute(text(statement))


def test_books_that_agree_have_no_differences(shop: Shop) -> None:
    order = shop.buy()
    shop.refund(order, 500)
    shop.work()
    shop.tell()
    shop.order()
    assert differences(shop) == []


def test_each_difference_is_found_kept_once_and_resolved(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    assert differences(shop) == ["paid-there-only"]
    assert differences(shop) == ["paid-there-only"]
    with Session(shop.engine) as session:
        [row] = session.scalars(select(StripeDifference)).all()
        assert (row.reference, row.resolved_at) == (shop.intent_id(order), None)
    shop.tell()
    shop.clock.tick(minutes=1)
    assert differences(shop) == []
    with Session(shop.engine) as session:
        assert session.scalars(select(StripeDifference)).one().resolved_at is not None


def test_what_nobody_has_put_right_stays_open_and_the_daily_job_goes_back_to_it(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    assert differences(shop) == ["paid-there-only"]
    listed = f"{API}/admin/stripe/differences"
    [shown] = shop.staff.get(listed).json["data"]
    assert (shown["kind"], shown["reference"]) == ("paid-there-only", shop.intent_id(order))
    shop.guest().get(listed, status=401)
    shop.clock.tick(days=10)
    assert differences(shop) == [], "the last days alone"
    assert len(shop.staff.get(listed).json["data"]) == 1, "nobody has looked at it"
    with transaction(shop.engine) as session:
        reconcile_daily.enqueue(session, now=shop.clock.now())
    execute(shop, "UPDATE orders SET expires_at = NULL")
    run_due(shop.application.registry, shop.engine)
    [shown] = shop.staff.get(listed).json["data"]
    assert shown["last_seen_at"] > shown["first_seen_at"]
    shop.tell()
    shop.clock.tick(minutes=1)
    with transaction(shop.engine) as session:
        reconcile_daily.enqueue(session, now=shop.clock.now())
    run_due(shop.application.registry, shop.engine)
    assert shop.staff.get(listed).json["data"] == []
    [shown] = shop.staff.get(f"{listed}?resolved=true").json["data"]
    assert shown["resolved_at"] is not None


def test_what_is_known_on_one_side_only_is_told(shop: Shop) -> None:
    order = shop.buy()
    shop.fake.refund(shop.intent_id(order), 100)
    assert differences(shop) == ["refunded-there-only"]
    shop.tell()
    refund = shop.refund(order, 200)
    shop.work()
    assert differences(shop) == []
    execute(shop, "UPDATE stripe_refund SET status = 'pending', amount = amount + 1 WHERE NOT is_external")
    assert differences(shop) == ["refund-amount"]
    made = next(found for found in shop.fake.client().v1.refunds.list().data if found.amount == 200)
    shop.fake.world.remove(shop.fake.world.objects[made.id])
    assert differences(shop) == ["refunded-here-only"]
    assert refund["id"]
    shop.fake.world.remove(shop.fake.world.objects[shop.intent_id(order)])
    assert "paid-here-only" in differences(shop)


def test_another_amount_is_told(shop: Shop) -> None:
    order = shop.buy()
    shop.fake.world.objects[shop.intent_id(order)]["amount_received"] = 5
    assert differences(shop) == ["amount"]
    metadata = {"commerce_site": str(shop.stripe.site)}
    shop.fake.client().v1.payment_intents.create({"amount": 500, "currency": "usd", "metadata": metadata})
    shop.fake.client().v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert differences(shop) == ["amount", "unknown-intent"]


def test_the_daily_job_compares(shop: Shop) -> None:
    order = shop.order()
    shop.pay(order)
    shop.clock.set(shop.clock.now().replace(hour=0, minute=0, second=1) + timedelta(days=1))
    execute(shop, "UPDATE orders SET expires_at = NULL")
    shop.work()
    with Session(shop.engine) as session:
        assert [row.kind for row in session.scalars(select(StripeDifference))] == ["paid-there-only"]


def findings(shop: Shop) -> dict[str, str]:
    return {finding.text.split(":")[0] + " " + finding.level: finding.text for finding in examine(shop.stripe)}


def test_the_doctor_finds_what_does_not_fit(shop: Shop) -> None:
    client = shop.fake.client()
    for endpoint in client.v1.webhook_endpoints.list().data:
        client.v1.webhook_endpoints.delete(endpoint.id)
    assert "no endpoint ends in /webhooks/stripe" in findings(shop)["webhooks bad"]
    made: Any = {
        "url": "https://shop.example/webhooks/stripe",
        "enabled_events": ["payment_intent.succeeded"],
        "api_version": "2024-06-20",
    }
    endpoint = client.v1.webhook_endpoints.create(made)
    found = findings(shop)
    assert "does not tell of charge.captured" in found["webhooks bad"]
    assert "2024-06-20" in found["webhooks warn"]
    client.v1.webhook_endpoints.delete(endpoint.id)
    made |= {"enabled_events": sorted(handlers.all_handlers()), "api_version": "2026-10-28.endive"}
    client.v1.webhook_endpoints.create(made)
    found = findings(shop)
    assert {key for key in found if key.endswith("bad")} == set()
    assert found["webhooks ok"].endswith("tells of everything that is needed")
    shop.fake.go_wrong("GET /v1/account", status=401)
    assert "not accepted" in findings(shop)["account bad"]
    shop.fake.go_wrong("GET /v1/account", "cut")
    assert "cannot be asked" in findings(shop)["account bad"]


def test_the_commands(shop: Shop, tmp_path: Path, database_url: str) -> None:
    config = tmp_path / "shop.ini"
    lines = {**SETTINGS, "stripe.api_base": shop.fake.url, "commerce.plugins": "stripe", "log.level": "error"}
    lines |= {"commerce.environment": "development", "sqlalchemy.url": database_url.replace("%", "%%")}
    given = "\n".join(f"{key} = {value}" for key, value in lines.items())
    config.write_text(f"[app:main]\nuse = egg:commerce-core\n{given}\n")

    def run(*arguments: str, fails: bool = False) -> str:
        result = CliRunner().invoke(main, ["stripe", *arguments, str(config)])
        assert (result.exit_code != 0) is fails, result.output
        return result.output

    shop.buy()
    assert "3 of 3 events would be used again" in run("replay", "--since", "2020-01-01", "--dry-run")
    assert "1 of 1 events will be used again" in run("replay", "--type", "charge.*")
    assert "Say which" in run("replay", fails=True)
    shop.pay(shop.order())
    shop.fake.deliver(is_lost=True)
    assert "3 events would be filed" in run("catch-up", "--dry-run")
    assert "3 events were filed" in run("catch-up")
    assert "payment_intent.succeeded" in run("events", "--state", "received")
    assert run("events") == ""
    assert "no differences" in run("reconcile") or "agree with Stripe" in run("reconcile")
    assert "webhooks" in run("doctor", fails=True)
    shop.fake.go_wrong("*", "cut", times=10)
    assert "Stripe cannot be asked: APIConnectionError" in run("catch-up", fails=True)
