"""What things cost, for anybody who asks."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.schemas import Input, Output, Query
from commerce_core.money import Money
from commerce_core.pricing.rules import AmountTooLarge, PriceRuleFailed
from commerce_pricing_rules.calculation import Calculation, Wanted, applied_rules, calculate_each, rejected_rules
from commerce_pricing_rules.schemas import Code
from commerce_pricing_rules.values import Key, Units


class CalculateQuery(Query):
    variant_id: UUID | None = Field(default=None, description="What is to be priced.")
    product_id: UUID | None = Field(default=None, description="Instead: a product with one variant or a default one.")
    quantity: Units = Field(default=1, examples=[3])
    coupon: Code | None = Field(default=None, description="A code to price it with; counts as a try of a code.")
    explain: bool = Field(default=False, description="Answer the rules that do not apply as well, and why.")

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        _check_one(self.variant_id, self.product_id)
        return self


class ItemIn(Input):
    variant_id: Key | None = None
    product_id: Key | None = Field(default=None, description="Instead: a product with one variant or a default one.")
    quantity: Units = Field(default=1, examples=[3])

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        _check_one(self.variant_id, self.product_id)
        return self


class BatchIn(Input):
    items: list[ItemIn] = Field(min_length=1, max_length=100, description="Each is priced on its own.")
    coupons: list[Code] = Field(
        default=[], max_length=20, description="Codes to price them with; each counts as a try of a code."
    )
    explain: bool = Field(default=False, description="Answer the rules that do not apply as well, and why.")


class AppliedRule(Output):
    rule_id: UUID
    name: str
    type: str
    discount: Money


class RejectedRule(Output):
    rule_id: UUID
    name: str
    type: str
    reason: str = Field(examples=["min-quantity"])
    wanted: Any = Field(description="What was compared, and with what.", examples=[3])
    found: Any = Field(examples=[2])
    stopped_by: UUID | None = Field(description="The rule that was there before.")


class CalculationOut(Output):
    """What so many units cost on their own: without delivery, and with taxes or without, as prices are in this shop."""

    variant_id: UUID
    currency: str
    quantity: int
    base_price: Money = Field(description="Of a unit, before discounts.")
    final_price: Money = Field(description="Of a unit, rounded where `total_final` does not part evenly.")
    total_base: Money
    total_final: Money
    savings: Money
    savings_percentage: str = Field(examples=["15.00"])
    applied_rules: list[AppliedRule]
    rejected_rules: list[RejectedRule] | None = Field(description="With `explain`; else null.")

    @classmethod
    def of(cls, calculation: Calculation, locale: str, *, explain: bool) -> Self:
        def money(amount: int) -> Money:
            return Money.of(amount, calculation.currency, locale)

        trace = calculation.quote.trace
        return cls(
            variant_id=calculation.offer.item.variant_id,
            currency=calculation.currency,
            quantity=calculation.quantity,
            base_price=money(calculation.base_price),
            final_price=money(calculation.final_price),
            total_base=money(calculation.total_base),
            total_final=money(calculation.total_final),
            savings=money(calculation.savings),
            savings_percentage=calculation.savings_percentage,
            applied_rules=[
                AppliedRule(**{**rule, "discount": money(rule["discount"])})
                for rule in applied_rules(trace)
                if rule["type"] != "free_shipping"
            ],
            rejected_rules=[
                RejectedRule.model_validate({name: rule[name] for name in RejectedRule.model_fields})
                for rule in rejected_rules(trace)
            ]
            if explain
            else None,
        )


class BatchTotals(Output):
    """Of all items in one currency."""

    currency: str
    subtotal: Money = Field(description="Before discounts.")
    total: Money
    savings: Money


class BatchOut(Output):
    items: list[CalculationOut]
    totals: list[BatchTotals] = Field(description="One for each currency there is.")


@api_view(
    route_name="pricing_calculate",
    request_method="GET",
    permission=Permission.PUBLIC,
    query=CalculateQuery,
    returns=CalculationOut,
    problems=(PriceRuleFailed, AmountTooLarge),
)
def calculate(request: Any, query: CalculateQuery) -> CalculationOut:
    """What so many units cost you now, and which rules make it so."""
    wanted = Wanted(query.quantity, query.variant_id, query.product_id)
    codes = [] if query.coupon is None else [query.coupon]
    [found] = _calculate(request, [wanted], codes, explain=query.explain)
    return CalculationOut.of(found, request.locale, explain=query.explain)


@api_view(
    route_name="pricing_calculate_batch",
    request_method="POST",
    permission=Permission.PUBLIC,
    body=BatchIn,
    returns=BatchOut,
    keyed=False,  # it changes nothing
    problems=(PriceRuleFailed, AmountTooLarge),
)
def calculate_batch(request: Any, body: BatchIn) -> BatchOut:
    """What each of up to 100 items costs on its own, and all of them together."""
    wanted = [Wanted(item.quantity, item.variant_id, item.product_id) for item in body.items]
    found = _calculate(request, wanted, body.coupons, explain=body.explain)
    totals = []
    for currency in dict.fromkeys(each.currency for each in found):
        of_currency = [each for each in found if each.currency == currency]
        subtotal, total = sum(each.total_base for each in of_currency), sum(each.total_final for each in of_currency)
        amounts = {"subtotal": subtotal, "total": total, "savings": subtotal - total}
        money = {name: Money.of(amount, currency, request.locale) for name, amount in amounts.items()}
        totals.append(BatchTotals(currency=currency, **money))
    return BatchOut(
        items=[CalculationOut.of(each, request.locale, explain=body.explain) for each in found], totals=totals
    )


def _calculate(request: Any, wanted: list[Wanted], codes: list[str], *, explain: bool) -> list[Calculation]:
    for _ in codes:
        request.limits.hit("coupon")  # otherwise codes could be guessed here
    registry = request.registry
    return calculate_each(
        request.db,
        registry.pricing,
        registry.pricing_rulebook,
        wanted,
        buyer=request.buyer,
        now=request.now,
        coupons=tuple(dict.fromkeys(code.upper() for code in codes)),
        explain=explain,
    )


def _check_one(variant_id: UUID | None, product_id: UUID | None) -> None:
    if (variant_id is None) == (product_id is None):
        raise PydanticCustomError("one_of", "needs either a variant_id or a product_id")
