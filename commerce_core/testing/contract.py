"""What every plugin must keep to, as suites of tests to subclass. They need `pytest -p commerce_core.testing`.

    from commerce_core.testing.contract import PluginContract

    class TestContract(PluginContract):
        plugin = "loyalty"
        plugin_settings = {"loyalty.units_per_point": "50"}

Each suite's docstring says what a subclass has to give. What fails names what is wrong, not where the suite looked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4, uuid5

import pytest
from pyramid.interfaces import IRoutesMapper
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core import migrations
from commerce_core.accounts.permissions import PERMISSIONS_OF_ROLE, Permission
from commerce_core.api.endpoints import Endpoint
from commerce_core.api.problems import Problem
from commerce_core.application import check_plugins, close, make_application
from commerce_core.database import Base, transaction
from commerce_core.events import Event, emit
from commerce_core.payments.provider import InvalidSignature, PaymentProvider, RefundRequest
from commerce_core.plugin import Plugin
from commerce_core.plugins.loading import installed, owners_declared
from commerce_core.plugins.mistakes import BrokenPlugins
from commerce_core.pricing.basket import Basket, Buyer, Destination, Item
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.service import browse, quote_basket
from commerce_core.settings import CoreSettings, SettingsError
from commerce_core.testing import SignedIn, StoppedClock, assert_stock_adds_up, count_sql, make_settings

__all__ = ["PaymentProviderContract", "PluginContract", "PriceRuleContract", "SubscriberContract", "assert_adds_up"]

API = "/api/v1"
NOWHERE = "postgresql://not-needed"
_NAMESPACE = UUID("8e0a6f3c-6f0e-4b59-9d55-2f3e7a1f9c11")


class _OfOnePlugin:
    """A shop with the plugin, and with those that it requires."""

    plugin: ClassVar[str]
    plugin_settings: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def settings(self, database_url: str) -> CoreSettings:
        return self.settings_of_shop(database_url, with_required(self.plugin))

    def settings_of_shop(self, url: str, plugins: Sequence[str]) -> CoreSettings:
        """A shop with these plugins, in this order."""
        listed = {"commerce.plugins": " ".join(plugins)} if plugins else {}
        return make_settings(url, {**listed, **(self.plugin_settings if self.plugin in plugins else {})})

    def declaration(self) -> Plugin:
        plugin: Plugin = installed()[self.plugin].load()
        return plugin


class PluginContract(_OfOnePlugin):
    """For every plugin: `plugin` is its name, `plugin_settings` what it cannot do without."""

    def test_it_can_be_loaded_and_says_what_it_is(self, settings: CoreSettings) -> None:
        host = check_plugins(settings)
        assert self.plugin in [plugin.name for plugin in host.plugins]
        assert self.declaration().name == self.plugin, "the entry point and the plugin have different names"

    def test_it_can_be_listed_before_and_after_every_other(self) -> None:
        """Whatever else is installed here and can do without settings."""
        required = with_required(self.plugin)
        for other in installed():
            if other in required or self.plugin in with_required(other):
                continue
            beside = [name for name in with_required(other) if name not in required]
            try:
                self._check([*required[:-1], *beside])
            except (BrokenPlugins, SettingsError):
                continue  # that one cannot, even without this plugin
            for plugins in ([*required, *beside], [*required[:-1], *beside, self.plugin]):
                self._check(plugins)

    def test_a_setting_that_it_does_not_know_keeps_the_shop_from_starting(self) -> None:
        names = {"commerce.plugins": " ".join(with_required(self.plugin)), f"{self.plugin}.no_such_setting": "1"}
        with pytest.raises((BrokenPlugins, SettingsError), match="no_such_setting"):
            check_plugins(make_settings(NOWHERE, {**self.plugin_settings, **names}))

    def test_the_reference_of_the_api_has_its_endpoints(self, application: Any) -> None:
        paths = TestApp(application).get(f"{API}/openapi.json").json["paths"]
        for endpoint, pattern in self._endpoints(application):
            if pattern.startswith(API):
                assert endpoint.method.lower() in paths[pattern], f"{endpoint.method} {pattern} is not in the reference"

    def test_every_endpoint_names_a_permission_that_there_is(self, application: Any) -> None:
        known = {*Permission, *application.registry.plugin_permissions}
        unknown = [(e.method, pattern) for e, pattern in self._endpoints(application) if e.permission not in known]
        assert not unknown, f"these name no permission that there is: {unknown}"

    def test_who_may_not_is_refused_everywhere(self, application: Any, sign_in: Callable[..., SignedIn]) -> None:
        """A guest is told to sign in, a customer that it is not theirs; nobody meets an error of the shop's."""
        customer = sign_in("customer").client
        added = application.registry.plugin_permissions
        for endpoint, pattern in self._endpoints(application):
            path = re.sub(r"{[^}]*}", str(uuid4()), pattern)
            for who, app, role in (("a guest", TestApp(application), None), ("a customer", customer, "customer")):
                if endpoint.permission in PERMISSIONS_OF_ROLE[role] | added.of_role(role):
                    continue
                response = app.request(path, method=endpoint.method, body=b"{}", headers=_JSON, status="*")
                wanted = 401 if role is None else 403
                assert response.status_int == wanted, f"{who}: {endpoint.method} {path}: {response.status}"

    def test_its_tables_are_its_own_and_let_the_core_delete(self) -> None:
        owner = self._owner()
        if owner is None:
            return
        owner.import_models()
        assert migrations.foreign_types(Base.metadata, self.plugin) == []
        requires = self.declaration().requires
        assert migrations.forbidden_foreign_keys(Base.metadata, self.plugin, requires) == []

    def test_its_migrations_make_what_its_models_say_and_can_be_purged_and_made_again(self, own_engine: Engine) -> None:
        owner = self._owner()
        if owner is None:
            return
        others = owners_declared(self.settings_of_shop(NOWHERE, with_required(self.plugin)))
        for _ in range(2):
            migrations.upgrade(own_engine, others)
            with own_engine.connect() as connection:
                assert migrations.drift(connection, owner) == []
                assert migrations.drift(connection, migrations.CORE) == []
            migrations.purge(own_engine, self.plugin, owner)
            with own_engine.connect() as connection:
                assert migrations.table_sizes(connection, self.plugin) == []

    def test_the_shop_sells_with_it_and_the_order_outlives_it(
        self,
        application: Any,
        engine: Engine,
        database_url: str,
        clock: StoppedClock,
        make_variant: Callable[..., UUID],
        sign_in: Callable[..., SignedIn],
    ) -> None:
        staff = sign_in("staff").client
        order = buy(application, make_variant())
        told = staff.get(f"{API}/admin/orders/{order['id']}").json
        assert_stock_adds_up(engine)
        without = make_application(self.settings_of_shop(database_url, with_required(self.plugin)[:-1]), clock=clock)
        try:
            bereft = TestApp(without)
            bereft.authorization = staff.authorization
            still = bereft.get(f"{API}/admin/orders/{order['id']}").json
            assert {**still, "extensions": None} == {**told, "extensions": None}
            assert buy(without, make_variant())["total"]
        finally:
            close(without.registry)

    def _check(self, plugins: Sequence[str]) -> None:
        check_plugins(self.settings_of_shop(NOWHERE, plugins))

    def _owner(self) -> migrations.Owner | None:
        owners = owners_declared(self.settings_of_shop(NOWHERE, with_required(self.plugin)))
        return next((owner for owner in owners if owner.name == self.plugin), None)

    def _endpoints(self, application: Any) -> list[tuple[Endpoint, str]]:
        """Those that the plugin has, each with its address."""
        package = self.declaration().module.partition(".")[0]
        routes = application.registry.getUtility(IRoutesMapper).get_routes()
        patterns = {route.name: "/" + route.pattern.lstrip("/") for route in routes}
        return [
            (endpoint, patterns[endpoint.route_name])
            for endpoint in application.registry.endpoints
            if endpoint.function.__module__.partition(".")[0] == package
        ]


class PriceRuleContract(_OfOnePlugin):
    """For plugins that make prices. Set `coupons` to some that matter, and `buyer` to one for whom prices differ."""

    coupons: ClassVar[tuple[str, ...]] = ()
    buyer: ClassVar[Buyer] = Buyer()

    def test_a_quote_adds_up_in_every_currency(self, application: Any, engine: Engine) -> None:
        for currency in ("USD", "JPY", "KWD"):
            quote = self.quote(application, engine, self.basket(7, currency))
            assert_adds_up(quote)
            assert isinstance(quote.total, int)

    def test_the_same_is_quoted_again_and_whatever_order_the_rules_came_in(
        self, application: Any, engine: Engine
    ) -> None:
        """Within a stage, rules may not depend on who was registered first."""
        basket = self.basket(5)
        first, again = (self.quote(application, engine, basket) for _ in range(2))
        pricing = application.registry.pricing
        turned = list(reversed(pricing.rules))
        turned.sort(key=lambda rule: (rule.stage, rule.order))
        with Session(engine) as session:
            other = quote_basket(session, type(pricing)(tuple(turned), pricing.prices_include_tax), basket)
        assert (first.total, again.total) == (other.total, other.total)
        assert [line.net for line in first.lines] == [line.net for line in other.lines]

    def test_a_longer_basket_takes_no_more_statements(self, application: Any, engine: Engine) -> None:
        counts = []
        for lines in (1, 30):
            with count_sql(engine) as statements:
                self.quote(application, engine, self.basket(lines))
            counts.append(len(statements))
        assert counts[0] == counts[1], "a rule asks the database once for each line"

    def test_a_product_page_and_a_list_show_the_same_price(self, application: Any, engine: Engine) -> None:
        basket = self.basket(6, quantity=1)
        with Session(engine) as session:
            pricing = application.registry.pricing

            def shown(items: Sequence[Item]) -> dict[UUID, int]:
                lines = browse(session, pricing, items, currency=basket.currency, now=basket.now, buyer=basket.buyer)
                return {key: line.unit_amount for key, line in lines.items()}

            together = shown(basket.items)
            assert together == {key: price for item in basket.items for key, price in shown([item]).items()}

    def basket(self, lines: int, currency: str = "USD", *, quantity: int | None = None) -> Basket:
        """One with so many lines, of one to three units each."""
        return Basket(
            currency=currency,
            items=tuple(
                Item(
                    key=uuid5(_NAMESPACE, f"line {number}"),
                    variant_id=uuid5(_NAMESPACE, f"variant {number}"),
                    product_id=uuid5(_NAMESPACE, f"product {number}"),
                    category_id=None,
                    brand_id=None,
                    sku=f"SKU-{number}",
                    name=f"Thing {number}",
                    quantity=quantity or 1 + number % 3,
                    unit_amount=1_001 * number,
                    attributes={},
                    weight_grams=100,
                    tax_class="standard",
                )
                for number in range(1, lines + 1)
            ),
            now=datetime(2026, 3, 4, 15, tzinfo=UTC),
            buyer=self.buyer,
            destination=Destination(country="US", region="CA"),
            coupons=self.coupons,
        )

    def quote(self, application: Any, engine: Engine, basket: Basket) -> Quote:
        with transaction(engine) as session:
            return quote_basket(session, application.registry.pricing, basket)


class PaymentProviderContract:
    """For ways to pay. A subclass has a fixture `provider`, and makes a webhook with `webhook(order_id, status)`."""

    @pytest.fixture
    def provider(self) -> PaymentProvider:
        raise NotImplementedError("give a fixture `provider`")

    def webhook(self, provider: PaymentProvider, order_id: UUID, status: str) -> tuple[Mapping[str, str], bytes, Any]:
        """Headers, body and the body's JSON of what the provider would send of an order that is `paid` or `failed`."""
        raise NotImplementedError

    def test_a_webhook_that_it_has_not_signed_is_refused(self, provider: PaymentProvider) -> None:
        headers, body, _ = self.webhook(provider, uuid4(), "paid")
        provider.verify(headers, body)
        for forged_headers, forged in (({}, body), (headers, body + b" "), (dict.fromkeys(headers, "x"), body)):
            with pytest.raises(InvalidSignature):
                provider.verify(forged_headers, forged)

    def test_a_webhook_says_which_order_it_is_about_and_the_same_event_again(self, provider: PaymentProvider) -> None:
        order_id = uuid4()
        for status in ("paid", "failed"):
            _, _, payload = self.webhook(provider, order_id, status)
            first, again = provider.read(payload), provider.read(payload)
            assert (first.order_id, first.status, first.provider) == (order_id, status, provider.code)
            assert first.event_id == again.event_id
            assert first.event_id

    def test_a_webhook_that_makes_no_sense_is_a_problem_of_the_sender(self, provider: PaymentProvider) -> None:
        unreadable: tuple[Any, ...] = ({}, [], None, "x", {"id": 7})
        for rubbish in unreadable:
            with pytest.raises(Problem) as raised:
                provider.read(rubbish)
            assert 400 <= raised.value.status < 500

    def test_the_same_refund_asked_for_twice_is_given_once(self, provider: PaymentProvider) -> None:
        request = RefundRequest(
            id=uuid4(),
            idempotency_key=f"refund-{uuid4()}",
            order_id=uuid4(),
            payment_id=uuid4(),
            payment_reference=self.payment_reference(provider),
            amount=500,
            currency="USD",
            reason="a test",
        )
        assert provider.refund(request) == provider.refund(request)

    def payment_reference(self, provider: PaymentProvider) -> str | None:
        """Names a payment at the provider of at least 500 minor units of USD."""
        return None


class SubscriberContract(_OfOnePlugin):
    """For durable subscribers, which may be told of a thing twice: the job's process may die before it has said so.

    A subclass makes an event, and says what has come of it.
    """

    @pytest.fixture
    def an_event(self) -> Event:
        """An event that the subscriber does something about."""
        raise NotImplementedError("give a fixture `an_event`")

    def effects(self, session: Session) -> Any:
        """Everything that the subscriber has done, to be compared."""
        raise NotImplementedError

    def test_an_event_told_twice_counts_once(
        self, application: Any, engine: Engine, an_event: Event, run_jobs: Callable[[], int]
    ) -> None:
        seen = []
        with Session(engine) as session:
            before = self.effects(session)
        for _ in range(2):
            with transaction(engine) as session:
                emit(session, an_event)
            run_jobs()
            with Session(engine) as session:
                seen.append(self.effects(session))
        assert seen[0] != before, "the event has had no effect"
        assert seen[1] == seen[0], "the event counted twice"

    def test_a_transaction_that_rolled_back_tells_nothing(
        self, application: Any, engine: Engine, an_event: Event, run_jobs: Callable[[], int]
    ) -> None:
        with Session(engine) as session:
            before = self.effects(session)
            emit(session, an_event)
            session.rollback()
        run_jobs()
        with Session(engine) as session:
            assert self.effects(session) == before


_JSON = {"Content-Type": "application/json"}


def assert_adds_up(quote: Quote) -> None:
    """Everything that a quote promises of its sums."""
    added_tax = 0 if quote.prices_include_tax else quote.tax_total
    assert quote.total == (quote.subtotal - quote.discount_total + quote.shipping_total + quote.fee_total + added_tax)
    assert quote.subtotal == sum(line.unit_amount * line.quantity for line in quote.lines)
    assert quote.discount_total == sum(line.discount_total for line in quote.lines)
    assert quote.subtotal + sum(a.amount for a in quote.adjustments if not a.included) == quote.total
    by_kind = {
        kind: sum(a.amount for a in quote.adjustments if a.kind == kind)
        for kind in ("discount", "shipping", "fee", "tax", "rounding")
    }
    assert by_kind["discount"] == -quote.discount_total
    assert by_kind["shipping"] == quote.shipping_total
    assert by_kind["fee"] + by_kind["rounding"] == quote.fee_total
    assert by_kind["tax"] == quote.tax_total
    assert all(a.included == (a.kind == "tax" and quote.prices_include_tax) for a in quote.adjustments)
    for line in quote.lines:
        of_line = [a for a in quote.adjustments if a.key == line.key]
        assert line.discount_total == -sum(a.amount for a in of_line if a.kind == "discount")
        assert line.tax_total == sum(a.amount for a in of_line if a.kind == "tax")
        assert min(line.unit_amount, line.discount_total, line.tax_total, line.net) >= 0
    assert min(quote.subtotal, quote.shipping_total, quote.tax_total, quote.total) >= 0


def with_required(name: str) -> list[str]:
    """A plugin's name after the names of those that it requires, in an order in which they can be listed."""
    found: list[str] = []
    if name not in installed():
        raise LookupError(f"no plugin {name!r} is installed here: pip install -e .")
    for required in installed()[name].load().requires:
        found += [each for each in with_required(required) if each not in found]
    return [*found, name]


def buy(application: Any, variant_id: UUID) -> Any:
    """An order of one unit, by a guest, out of a cart; unpaid."""
    guest = TestApp(application, extra_environ={"HTTP_X_CART_TOKEN": f"a-guest-of-the-contract-{uuid4()}"})
    guest.post_json(f"{API}/cart/lines", {"variant_id": str(variant_id), "quantity": 1})
    order = {
        "cart": True,
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "shipping_address": {"name": "Ada Lovelace", "line1": "1 Main St", "city": "Springfield", "country": "US"},
    }
    return guest.post_json(f"{API}/orders", order, status=201).json
