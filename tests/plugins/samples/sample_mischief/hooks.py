import contextlib
import time
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from commerce_core.plugin import ExtensionField, HealthCheck, Section, hookimpl


class Settings(Section):
    hook: str = "none"
    how: str = "raise"


def misbehave(ctx, hook):
    own = ctx.settings_of("mischief")
    if own.hook != hook:
        return None
    if own.how == "raise":
        raise RuntimeError("a secret of the plugin")
    if own.how == "slow":
        end = time.perf_counter() + 0.055
        while time.perf_counter() < end:
            pass
    elif own.how == "chatty":
        for _ in range(4):
            ctx.session.execute(text("SELECT 1"))
    elif own.how == "swallow":
        with contextlib.suppress(DBAPIError):
            ctx.session.execute(text("SELECT 1 / 0"))
    elif own.how == "savepoint":
        with contextlib.suppress(DBAPIError), ctx.savepoint():
            ctx.session.execute(text("SELECT 1 / 0"))
    return own.how


@hookimpl
def commerce_authenticate(ctx):
    return "somebody" if misbehave(ctx, "authenticate") == "nonsense" else None


@hookimpl
def commerce_principals(ctx):
    misbehave(ctx, "principals")
    return []


@hookimpl
def commerce_hold_duration(ctx, lines):
    return timedelta(days=-1) if misbehave(ctx, "hold_duration") == "nonsense" else None


@hookimpl
def commerce_validate_cart(ctx, cart, stage):
    if misbehave(ctx, "validate_cart") == "nonsense":
        yield "no problem"


@hookimpl
def commerce_order_placing(ctx, order):
    misbehave(ctx, "order_placing")


@hookimpl
def commerce_order_transition(ctx, order, machine, old, new):
    misbehave(ctx, "order_transition")


@hookimpl
def commerce_order_fulfilling(ctx, order, units):
    misbehave(ctx, "order_fulfilling")


@hookimpl
def commerce_register_extension_fields():
    def load(ctx, ids):
        misbehave(ctx, "field")
        return {}

    return [ExtensionField(resource="order", name="mood", load_many=load)]


@hookimpl
def commerce_register_health_checks(settings):
    def check():
        if settings.hook == "health":
            raise RuntimeError("out of order")

    return [HealthCheck(name="mood", check=check, critical=True)]
