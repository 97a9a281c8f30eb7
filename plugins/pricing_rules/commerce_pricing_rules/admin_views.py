"""Rules, coupons, price lists and their history over REST, for staff."""

from __future__ import annotations

from typing import Any

from commerce_core.api.endpoints import api_view, path_id, validated
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import CursorQuery, cursor_list_of
from commerce_core.orders.models import Order
from commerce_pricing_rules import queries, service
from commerce_pricing_rules.calculation import applied_rules, rejected_rules
from commerce_pricing_rules.definitions import RuleDefinition, plain_of
from commerce_pricing_rules.models import PricingCoupon, PricingList, PricingRule
from commerce_pricing_rules.permissions import MANAGE, READ
from commerce_pricing_rules.schemas import (
    ChangeList,
    ChangeOut,
    ChangeQuery,
    CouponCodes,
    CouponIn,
    CouponList,
    CouponOut,
    CouponPatch,
    CouponQuery,
    CouponsIn,
    OrderTrace,
    PriceListIn,
    PriceListList,
    PriceListOut,
    PriceListPatch,
    PriceOut,
    Prices,
    PricesIn,
    RuleIn,
    RuleList,
    RuleOut,
    RulePatch,
    RuleQuery,
)

# --- Rules ---


@api_view(route_name="pricing_admin_rules", request_method="GET", permission=READ, query=RuleQuery, returns=RuleList)
def list_rules(request: Any, query: RuleQuery) -> Any:
    """Rules, newest first."""
    found, more = queries.list_rules(request.db, active=query.active, before=query.after, limit=query.limit)
    rows = [RuleOut.of_row(rule) for rule in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="pricing_admin_rules",
    request_method="POST",
    permission=MANAGE,
    body=RuleIn,
    returns=RuleOut,
    status=201,
    versioned=True,
    problems=(service.TooManyRules,),
)
def create_rule(request: Any, body: RuleIn) -> Any:
    """Add a rule. Active, it counts at once, in every process."""
    rule = service.add_rule(request.db, body, actor=request.actor.name, now=request.now)
    return _audited_rule(request, "create", None, rule)


@api_view(
    route_name="pricing_admin_rule",
    request_method="GET",
    permission=READ,
    returns=RuleOut,
    versioned=True,
    problems=(NotFound,),
)
def show_rule(request: Any) -> Any:
    """One rule."""
    return RuleOut.of_row(service.get_rule(request.db, path_id(request)))


@api_view(
    route_name="pricing_admin_rule",
    request_method="PATCH",
    permission=MANAGE,
    body=RulePatch,
    returns=RuleOut,
    versioned=True,
    problems=(NotFound, service.TooManyRules),
)
def change_rule(request: Any, body: RulePatch) -> Any:
    """Change what is given of a rule, each field as a whole: `{"active": false}`."""
    rule = _locked_rule(request)
    before = RuleOut.of_row(rule)
    definition = validated(RuleDefinition, {**plain_of(rule), **body.model_dump(exclude_unset=True)})
    service.change_rule(request.db, rule, definition, actor=request.actor.name, now=request.now)
    return _audited_rule(request, "update", before, rule)


@api_view(route_name="pricing_admin_rule", request_method="DELETE", permission=MANAGE, status=204, versioned=True)
def delete_rule(request: Any) -> None:
    """Delete a rule. It applies to nothing more; the orders that it was applied to stay as they are."""
    rule = _locked_rule(request)
    before = RuleOut.of_row(rule)
    service.delete_rule(request.db, rule, actor=request.actor.name, now=request.now)
    request.audit("pricing-rule.delete", f"pricing-rule:{rule.id}", before=before)


@api_view(
    route_name="pricing_admin_history", request_method="GET", permission=READ, query=ChangeQuery, returns=ChangeList
)
def show_history(request: Any, query: ChangeQuery) -> Any:
    """What was changed, when and by whom, newest first; of one thing with `subject`."""
    found, more = queries.list_changes(request.db, subject=query.subject, before=query.after, limit=query.limit)
    rows = [ChangeOut.of(change) for change in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="pricing_admin_order_trace",
    request_method="GET",
    permission=READ,
    returns=OrderTrace,
    problems=(NotFound,),
)
def show_order_trace(request: Any) -> Any:
    """Why an order cost what it did: every rule that was tried when it was placed, and what came of it."""
    order = request.db.get(Order, path_id(request))
    if order is None:
        raise NotFound("There is no such order.")
    return OrderTrace(
        order_id=order.id,
        number=order.number,
        currency=order.currency,
        total=order.total,
        applied_rules=applied_rules(order.trace),
        rejected_rules=rejected_rules(order.trace),
        trace=order.trace,
    )


def _locked_rule(request: Any) -> PricingRule:
    rule = service.get_rule(request.db, path_id(request), lock=True)
    request.check_version(rule.version)
    return rule


def _audited_rule(request: Any, what: str, before: Any, rule: PricingRule) -> Any:
    after = RuleOut.of_row(rule)
    request.audit(f"pricing-rule.{what}", f"pricing-rule:{rule.id}", before=before, after=after)
    return after


# --- Coupons ---


@api_view(
    route_name="pricing_admin_coupons", request_method="GET", permission=READ, query=CouponQuery, returns=CouponList
)
def list_coupons(request: Any, query: CouponQuery) -> Any:
    """Coupons, newest first."""
    found, more = queries.list_coupons(
        request.db, campaign=query.campaign, code=query.code, before=query.after, limit=query.limit
    )
    uses = queries.uses_of(request.db, [coupon.id for coupon in found])
    rows = [CouponOut.of(coupon, uses.get(coupon.id, 0)) for coupon in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="pricing_admin_coupons",
    request_method="POST",
    permission=MANAGE,
    body=CouponIn,
    returns=CouponOut,
    status=201,
    versioned=True,
    problems=(service.CouponExists,),
)
def create_coupon(request: Any, body: CouponIn) -> Any:
    """Add a coupon. What it is worth, rules say that have it, or its campaign, among their conditions."""
    coupon = service.add_coupon(request.db, body.model_dump(), actor=request.actor.name, now=request.now)
    return _audited_coupon(request, "create", None, coupon)


@api_view(
    route_name="pricing_admin_coupons_generate",
    request_method="POST",
    permission=MANAGE,
    body=CouponsIn,
    returns=CouponCodes,
    status=201,
)
def generate_coupons(request: Any, body: CouponsIn) -> CouponCodes:
    """Add many coupons at once, with codes that nobody guesses; each is good for one order unless you say otherwise."""
    given = body.model_dump(exclude={"campaign", "number", "prefix"})
    codes = service.generate_coupons(
        request.db,
        body.campaign,
        body.number,
        given,
        prefix=body.prefix.upper(),
        actor=request.actor.name,
        now=request.now,
    )
    request.audit("pricing-coupon.generate", f"pricing-campaign:{body.campaign}", after={"number": len(codes)})
    return CouponCodes(campaign=body.campaign, codes=codes)


@api_view(
    route_name="pricing_admin_coupon",
    request_method="GET",
    permission=READ,
    returns=CouponOut,
    versioned=True,
    problems=(NotFound,),
)
def show_coupon(request: Any) -> CouponOut:
    """One coupon."""
    return _shown_coupon(request, service.get_coupon(request.db, path_id(request)))


@api_view(
    route_name="pricing_admin_coupon",
    request_method="PATCH",
    permission=MANAGE,
    body=CouponPatch,
    returns=CouponOut,
    versioned=True,
    problems=(NotFound,),
)
def change_coupon(request: Any, body: CouponPatch) -> Any:
    """Change what is given of a coupon. `{"active": false}` takes it out of use."""
    coupon = service.get_coupon(request.db, path_id(request), lock=True)
    request.check_version(coupon.version)
    before = _shown_coupon(request, coupon)
    changes = body.model_dump(exclude_unset=True)
    service.change_coupon(request.db, coupon, changes, actor=request.actor.name, now=request.now)
    return _audited_coupon(request, "update", before.model_dump(), coupon)


def _shown_coupon(request: Any, coupon: PricingCoupon) -> CouponOut:
    return CouponOut.of(coupon, queries.uses_of(request.db, [coupon.id]).get(coupon.id, 0))


def _audited_coupon(request: Any, what: str, before: Any, coupon: PricingCoupon) -> CouponOut:
    after = _shown_coupon(request, coupon)
    request.audit(f"pricing-coupon.{what}", f"pricing-coupon:{coupon.id}", before=before, after=after.model_dump())
    return after


# --- Price lists ---


@api_view(
    route_name="pricing_admin_lists", request_method="GET", permission=READ, query=CursorQuery, returns=PriceListList
)
def list_lists(request: Any, query: CursorQuery) -> Any:
    """Price lists, newest first."""
    found, more = queries.list_lists(request.db, before=query.after, limit=query.limit)
    rows = [PriceListOut.of(each) for each in found]
    return cursor_list_of(request.path, query, rows, found[-1].id if more else None)


@api_view(
    route_name="pricing_admin_lists",
    request_method="POST",
    permission=MANAGE,
    body=PriceListIn,
    returns=PriceListOut,
    status=201,
    versioned=True,
)
def create_list(request: Any, body: PriceListIn) -> Any:
    """Add a price list, still empty."""
    made = service.add_list(request.db, body.model_dump(), actor=request.actor.name, now=request.now)
    return _audited_list(request, "create", None, made)


@api_view(
    route_name="pricing_admin_list",
    request_method="GET",
    permission=READ,
    returns=PriceListOut,
    versioned=True,
    problems=(NotFound,),
)
def show_list(request: Any) -> PriceListOut:
    """One price list."""
    return PriceListOut.of(service.get_list(request.db, path_id(request)))


@api_view(
    route_name="pricing_admin_list",
    request_method="PATCH",
    permission=MANAGE,
    body=PriceListPatch,
    returns=PriceListOut,
    versioned=True,
    problems=(NotFound,),
)
def change_list(request: Any, body: PriceListPatch) -> Any:
    """Change what is given of a price list. Its currency stays."""
    made = _locked_list(request)
    before = PriceListOut.of(made)
    changes = body.model_dump(exclude_unset=True)
    service.change_list(request.db, made, changes, actor=request.actor.name, now=request.now)
    return _audited_list(request, "update", before.model_dump(), made)


@api_view(route_name="pricing_admin_list", request_method="DELETE", permission=MANAGE, status=204, versioned=True)
def delete_list(request: Any) -> None:
    """Delete a price list, with its prices."""
    made = _locked_list(request)
    before = PriceListOut.of(made)
    service.delete_list(request.db, made, actor=request.actor.name, now=request.now)
    request.audit("pricing-list.delete", f"pricing-list:{before.id}", before=before.model_dump())


@api_view(
    route_name="pricing_admin_list_prices",
    request_method="GET",
    permission=READ,
    query=CursorQuery,
    returns=Prices,
    problems=(NotFound,),
)
def show_prices(request: Any, query: CursorQuery) -> Any:
    """A list's prices, by variant; `limit` counts variants."""
    made = service.get_list(request.db, path_id(request))
    found, more = queries.list_prices(request.db, made.id, after=query.after, limit=query.limit)
    rows = [PriceOut.of(price) for price in found]
    return cursor_list_of(request.path, query, rows, found[-1].variant_id if more else None)


@api_view(
    route_name="pricing_admin_list_prices",
    request_method="PATCH",
    permission=MANAGE,
    body=PricesIn,
    returns=PriceListOut,
    versioned=True,
    problems=(NotFound,),
)
def set_prices(request: Any, body: PricesIn) -> Any:
    """Put prices into a list, up to 1,000 at a time, all or none; those that are not named stay."""
    made = _locked_list(request)
    prices = [price.model_dump() for price in body.prices]
    service.set_prices(request.db, made, prices, actor=request.actor.name, now=request.now)
    after = PriceListOut.of(made)
    request.audit("pricing-list.prices", f"pricing-list:{made.id}", after={"prices": len(prices)})
    return after


def _locked_list(request: Any) -> PricingList:
    made = service.get_list(request.db, path_id(request), lock=True)
    request.check_version(made.version)
    return made


def _audited_list(request: Any, what: str, before: Any, made: PricingList) -> PriceListOut:
    after = PriceListOut.of(made)
    request.audit(f"pricing-list.{what}", f"pricing-list:{made.id}", before=before, after=after.model_dump())
    return after
