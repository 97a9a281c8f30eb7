"""Looking ahead: what a draft would do, and what the rules can do together."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from commerce_core.api.endpoints import api_view
from commerce_core.api.problems import InvalidInput, NotFound
from commerce_core.api.schemas import Input, Output, Query
from commerce_core.money import Money
from commerce_core.pricing.quote import Quote
from commerce_core.pricing.rules import AmountTooLarge, PriceRuleFailed
from commerce_pricing_rules import conflicts, preview
from commerce_pricing_rules.calculation import applied_rules, rejected_rules
from commerce_pricing_rules.permissions import READ
from commerce_pricing_rules.schemas import Code, RuleIn, Time
from commerce_pricing_rules.values import Key, Name, Units


class CartItemIn(Input):
    variant_id: Key
    quantity: Units = 1


class CartIn(Input):
    """A cart that somebody might have."""

    items: list[CartItemIn] = Field(min_length=1, max_length=100)
    coupons: list[Code] = Field(default=[], max_length=20)
    customer_id: Key | None = None
    tier: Name | None = Field(default=None, description="A customer of this group; without either, a guest.")
    channel: Name | None = None
    at: Time | None = Field(default=None, description="When; now if left out.")


class PreviewIn(Input):
    rule: RuleIn
    replaces: Key | None = Field(default=None, description="The rule of which this is another version.")
    cart: CartIn | None = None
    orders: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0, description="On how many of the last orders to try it.", examples=[100]
    )


class Priced(Output):
    subtotal: Money
    discount_total: Money
    shipping_total: Money
    total: Money
    applied_rules: list[dict[str, Any]] = Field(examples=[[]])
    rejected_rules: list[dict[str, Any]] = Field(examples=[[]])

    @classmethod
    def of(cls, quote: Quote, locale: str) -> Priced:
        names = ("subtotal", "discount_total", "shipping_total", "total")
        return cls(
            **{name: Money.of(getattr(quote, name), quote.currency, locale) for name in names},
            applied_rules=applied_rules(quote.trace),
            rejected_rules=rejected_rules(quote.trace),
        )


class CartPreview(Output):
    before: Priced
    after: Priced


class OrderEffectOut(Output):
    order_id: UUID
    number: str
    before: Money = Field(description="What its goods would have cost by the rules of now.")
    after: Money


class CurrencyEffect(Output):
    before: Money
    after: Money


class OrdersPreview(Output):
    """What the goods of past orders would have cost, by the rules of now and with the draft."""

    orders: int
    changed: int
    totals: list[CurrencyEffect]
    most_changed: list[OrderEffectOut]


class PreviewOut(Output):
    cart: CartPreview | None
    orders: OrdersPreview | None


class ConflictQuery(Query):
    limit: int = Field(default=20, ge=1, le=500, description="How many of the lowest prices.")
    after: UUID | None = Field(
        default=None, description="Look at the variants after this one: `next` of the answer before."
    )


class RuleName(Output):
    rule_id: UUID
    name: str


class LowestPrice(Output):
    variant_id: UUID
    sku: str
    base_price: Money
    lowest_price: Money = Field(description="Of a unit, rounded up.")
    percent_left: int
    quantity: int = Field(description="From how many units on it comes to that.")
    rules: list[RuleName]


class ConflictReport(Output):
    pairs: list[list[RuleName]] = Field(description="Rules that can apply to one line together; up to 1,000 pairs.")
    all_pairs: bool = Field(description="Whether these are all pairs that there are.")
    lowest_prices: list[LowestPrice] = Field(
        description="Where all that can come together does, lowest first; of up to 500 variants at a time, "
        "fewer with very many rules."
    )
    variants: int = Field(description="How many variants were looked at.", examples=[500])
    next: UUID | None = Field(description="If there are more: ask again with this as `after`.")


@api_view(
    route_name="pricing_admin_preview",
    request_method="POST",
    permission=READ,
    body=PreviewIn,
    returns=PreviewOut,
    keyed=False,  # it changes nothing
    audited=False,
    problems=(NotFound, PriceRuleFailed, AmountTooLarge),
)
def preview_rule(request: Any, body: PreviewIn) -> PreviewOut:
    """What a draft would do to a cart, and what the last orders would have cost with it. Nothing is saved."""
    book = request.registry.pricing_rulebook
    if body.orders > book.settings.preview_orders:
        most = f"must be at most {book.settings.preview_orders}"
        raise InvalidInput.field("orders", "less_than_equal", most)
    now = book.now(request.db, request.now)
    if body.replaces is not None and now.find(body.replaces) is None:
        raise NotFound("There is no such active rule to be replaced.")
    _, with_draft = preview.draft(body.rule, now, body.replaces)
    cart = orders = None
    if body.cart is not None:
        given = body.cart
        setting = preview.Setting(
            now=given.at or request.now,
            customer_id=given.customer_id,
            tier=given.tier,
            channel=given.channel,
            coupons=tuple(code.upper() for code in given.coupons),
        )
        items = [preview.CartItem(item.variant_id, item.quantity) for item in given.items]
        before, after = preview.try_on_cart(
            request.db, request.registry.pricing, book, (now, with_draft), items, setting
        )
        cart = CartPreview(before=Priced.of(before, request.locale), after=Priced.of(after, request.locale))
    if body.orders:
        effects = preview.try_on_orders(request.db, book, now, with_draft, number=body.orders)
        orders = _present_effects(effects, request.locale)
    return PreviewOut(cart=cart, orders=orders)


@api_view(
    route_name="pricing_admin_conflicts",
    request_method="GET",
    permission=READ,
    query=ConflictQuery,
    returns=ConflictReport,
)
def report_conflicts(request: Any, query: ConflictQuery) -> ConflictReport:
    """Which rules can come together, and how low that can bring a price."""
    book = request.registry.pricing_rulebook
    ruleset = book.now(request.db, request.now)
    lowest = conflicts.lowest_prices(request.db, book, ruleset, request.now, limit=query.limit, after=query.after)
    pairs, are_all = conflicts.pairs(ruleset, request.now)
    return ConflictReport(
        pairs=[[_name(rule) for rule in pair] for pair in pairs],
        all_pairs=are_all,
        variants=lowest.looked_at,
        next=lowest.next,
        lowest_prices=[
            LowestPrice(
                variant_id=each.item.variant_id,
                sku=each.item.sku,
                base_price=Money.of(each.base, each.currency, request.locale),
                lowest_price=Money.of(each.lowest, each.currency, request.locale),
                percent_left=each.lowest * 100 // each.base,
                quantity=each.quantity,
                rules=[_name(rule) for rule in each.rules],
            )
            for each in lowest.found
        ],
    )


def _present_effects(effects: Any, locale: str) -> OrdersPreview:
    found = preview.summed_up(effects)
    return OrdersPreview(
        orders=found["orders"],
        changed=found["changed"],
        totals=[
            CurrencyEffect(
                before=Money.of(each["before"], each["currency"], locale),
                after=Money.of(each["after"], each["currency"], locale),
            )
            for each in found["totals"]
        ],
        most_changed=[
            OrderEffectOut(
                order_id=each.order_id,
                number=each.number,
                before=Money.of(each.before, each.currency, locale),
                after=Money.of(each.after, each.currency, locale),
            )
            for each in found["most_changed"]
        ],
    )


def _name(rule: Any) -> RuleName:
    return RuleName(rule_id=rule.id, name=rule.name)
