"""How a stage is settled: which proposals stand, what they come to, and what the trace says of each.

Proposals are taken in an order that does not depend on how the rules were registered (`Proposal.place`), and all of
them on the amounts from before the stage. So the same rules give the same quote, whoever installed them first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import structlog

from commerce_core.api.problems import Problem
from commerce_core.pricing.basket import Basket
from commerce_core.pricing.quote import Adjustment, Proposal, Quote, QuoteLine, Stage
from commerce_core.pricing.rounding import spread_within
from commerce_core.pricing.rules import AmountTooLarge, PriceRule, PriceRuleFailed, Pricing

_log = structlog.get_logger("commerce.pricing")

# What a BIGINT holds. Every sum of a quote stays within it.
LARGEST_AMOUNT = 2**63 - 1


def calculate(
    pricing: Pricing,
    basket: Basket,
    prefetched: Mapping[str, Any] | None = None,
    *,
    browsing: bool = False,
) -> Quote:
    """The quote for a basket. Pure. `prefetched` has what each rule's `prefetch` returned, by the rule's code.

    With `browsing`, only up to CATALOG. Raises PriceRuleFailed or AmountTooLarge.
    """
    quote = Quote(
        basket,
        prices_include_tax=pricing.prices_include_tax,
        browsing=browsing,
        lines=tuple(QuoteLine(item) for item in basket.items),
        _places={item.key: place for place, item in enumerate(basket.items)},
    )
    if len(quote._places) < len(basket.items):
        raise ValueError("two items of the basket have the same key")
    for stage, rules in groupby(pricing.rules, attrgetter("stage")):
        if browsing and stage > Stage.CATALOG:
            break
        for rule in rules:
            _ask(rule, quote, None if prefetched is None else prefetched.get(rule.code))
        _SETTLE[stage](quote)
        _close(quote)
    _check(quote)
    return quote


def _ask(rule: PriceRule, quote: Quote, prefetched: Any) -> None:
    said = len(quote._proposals) + len(quote._notes)
    quote._origin, quote.prefetched, quote._position = rule, prefetched, 0
    try:
        rule.apply(quote)
    except Exception as error:
        raise failed(rule, error) from error
    if len(quote._proposals) + len(quote._notes) == said:
        quote.reject(rule.code, "did-not-apply")
    quote._origin = quote.prefetched = None


def failed(rule: PriceRule, error: Exception) -> Problem:
    """The problem that a client is told; the log is told the rest."""
    _log.error("price rule failed", rule=rule.code, source=rule.source, exc_info=error)
    return PriceRuleFailed(rule)


def _settle_prices(quote: Quote) -> None:
    """BASE: the rule with the highest order is believed, of equals the first in place."""
    proposals = _in_place(quote)
    believed: dict[UUID, Proposal] = {}
    for proposal in proposals:
        key = _key(proposal)
        if key not in believed or proposal.origin.order > believed[key].origin.order:
            believed[key] = proposal
    for proposal in proposals:
        key = _key(proposal)
        if proposal is believed[key]:
            quote._priced.add(key)
            _change(quote, key, unit_amount=proposal.amount)
            _applied(quote, proposal, proposal.amount)
        else:
            _beaten(quote, proposal, believed[key], "replaced")


def _settle_catalog(quote: Quote) -> None:
    """CATALOG: the differences to the price before, added up; never below zero."""
    before = {line.item.key: line.unit_amount for line in quote.lines}
    for proposal in _standing(quote, lambda p: before[_key(p)] - p.amount):
        key = _key(proposal)
        unit = quote.line(key).unit_amount
        asked = proposal.amount - before[key]
        _change(quote, key, unit_amount=max(0, unit + asked))
        _applied(quote, proposal, max(-unit, asked), asked)


def _settle_lines(quote: Quote) -> None:
    """LINE: each line's discounts, together not more than the line."""
    room = {line.item.key: line.net for line in quote.lines}
    for proposal in _standing(quote, lambda p: min(p.amount, quote.line(_key(p)).net)):
        key = _key(proposal)
        taken = min(proposal.amount, room[key])
        room[key] -= taken
        _discount(quote, proposal, {key: taken})
        _applied(quote, proposal, -taken, -proposal.amount)


def _settle_cart(quote: Quote) -> None:
    """CART: each discount spread over its lines by what they cost before the stage, as far as there is room."""
    before = {line.item.key: line.net for line in quote.lines}

    def reach(proposal: Proposal) -> int:
        return min(proposal.amount, sum(before[key] for key in _keys(quote, proposal)))

    for proposal in _standing(quote, reach):
        keys = _keys(quote, proposal)
        room = [quote.line(key).net for key in keys]
        shares = dict(zip(keys, spread_within(proposal.amount, [before[key] for key in keys], room), strict=True))
        _discount(quote, proposal, shares)
        lines = [{"key": str(key), "amount": -share} for key, share in shares.items() if share]
        _applied(quote, proposal, -sum(shares.values()), -proposal.amount, lines=lines)


def _settle_shipping(quote: Quote) -> None:
    """SHIPPING: what is charged, then what is taken off it; together never below zero."""
    standing = _standing(quote, lambda p: p.amount if p.action == "shipping_off" else -p.amount)
    for proposal in standing:
        if proposal.action == "shipping":
            quote.shipping_total += proposal.amount
            _adjust(quote, proposal, "shipping", proposal.amount)
            _applied(quote, proposal, proposal.amount)
    for proposal in standing:
        if proposal.action == "shipping_off":
            taken = min(proposal.amount, quote.shipping_total)
            quote.shipping_total -= taken
            _adjust(quote, proposal, "shipping", -taken)
            asked = taken if proposal.amount == LARGEST_AMOUNT else proposal.amount
            _applied(quote, proposal, -taken, -asked, kind="shipping")


def _settle_fees(quote: Quote) -> None:
    for proposal in _standing(quote, lambda p: -p.amount):
        quote.fee_total += proposal.amount
        _adjust(quote, proposal, "fee", proposal.amount)
        _applied(quote, proposal, proposal.amount)


def _settle_taxes(quote: Quote) -> None:
    """TAX: each tax, unless a rule of the stage exempts from it."""
    proposals = _in_place(quote)
    exemptions = [proposal for proposal in proposals if proposal.action == "exemption"]
    for exemption in exemptions:
        _applied(quote, exemption, 0)
    for proposal in proposals:
        if proposal.action != "tax":
            continue
        exempting = next((e for e in exemptions if e.keys is None or proposal.key in e.keys), None)
        if exempting is not None:
            _beaten(quote, proposal, exempting, "exempt")
            continue
        quote.tax_total += proposal.amount
        if proposal.key is not None:
            _change(quote, proposal.key, tax=proposal.amount)
        _adjust(quote, proposal, "tax", proposal.amount, proposal.key)
        _applied(quote, proposal, proposal.amount)


def _settle_rounding(quote: Quote) -> None:
    """ROUND: added up; the total is never below zero."""
    total = quote.total
    for proposal in _in_place(quote):
        amount = max(proposal.amount, -total)
        total += amount
        quote.fee_total += amount
        _adjust(quote, proposal, "rounding", amount)
        _applied(quote, proposal, amount, proposal.amount)


_SETTLE: dict[Stage, Callable[[Quote], None]] = {
    Stage.BASE: _settle_prices,
    Stage.CATALOG: _settle_catalog,
    Stage.LINE: _settle_lines,
    Stage.CART: _settle_cart,
    Stage.SHIPPING: _settle_shipping,
    Stage.FEE: _settle_fees,
    Stage.TAX: _settle_taxes,
    Stage.ROUND: _settle_rounding,
}


def _in_place(quote: Quote) -> list[Proposal]:
    return sorted(quote._proposals, key=attrgetter("place"))


def _standing(quote: Quote, benefit: Callable[[Proposal], int]) -> list[Proposal]:
    """The proposals that stand. In an exclusive group only the best for the customer does, for each line by itself.

    Of equals the first one in place wins.
    """
    proposals = _in_place(quote)
    best: dict[tuple[Any, ...], Proposal] = {}
    for proposal in proposals:
        if proposal.exclusive_group is not None:
            contest = (proposal.action, proposal.exclusive_group, proposal.key)
            holder = best.get(contest)
            if holder is None or benefit(proposal) > benefit(holder):
                best[contest] = proposal
    standing = []
    for proposal in proposals:
        winner = best.get((proposal.action, proposal.exclusive_group, proposal.key), proposal)
        if winner is proposal:
            standing.append(proposal)
        else:
            _beaten(quote, proposal, winner, "exclusive")
    return standing


def _key(proposal: Proposal) -> UUID:
    assert proposal.key is not None
    return proposal.key


def _keys(quote: Quote, proposal: Proposal) -> list[UUID]:
    """The lines that a cart discount is spread over, in the basket's order."""
    wanted = proposal.keys
    return [line.item.key for line in quote.lines if wanted is None or line.item.key in wanted]


def _change(quote: Quote, key: UUID, *, unit_amount: int | None = None, discount: int = 0, tax: int = 0) -> None:
    place = quote._places[key]
    line = quote.lines[place]
    changed = QuoteLine(
        line.item,
        line.unit_amount if unit_amount is None else unit_amount,
        line.discount_total + discount,
        line.tax_total + tax,
    )
    quote.lines = (*quote.lines[:place], changed, *quote.lines[place + 1 :])


def _discount(quote: Quote, proposal: Proposal, shares: Mapping[UUID, int]) -> None:
    for key, share in shares.items():
        if share:
            _change(quote, key, discount=share)
            _adjust(quote, proposal, "discount", -share, key)


def _adjust(quote: Quote, proposal: Proposal, kind: Any, amount: int, key: UUID | None = None) -> None:
    if amount:
        origin = proposal.origin
        quote.adjustments.append(
            Adjustment(
                kind=kind,
                code=proposal.code,
                label=proposal.label,
                source=origin.source,
                stage=origin.stage,
                order=origin.order,
                amount=amount,
                key=key,
                included=kind == "tax" and quote.prices_include_tax,
            )
        )


def _applied(
    quote: Quote, proposal: Proposal, amount: int, asked: int | None = None, *, kind: str | None = None, **more: Any
) -> None:
    """Trace a proposal that stands: `amount` is what it changed, which may be less than was asked for."""
    entry: dict[str, Any] = {"outcome": "applied", "kind": kind or proposal.action, "label": proposal.label}
    if proposal.key is not None:
        entry["key"] = str(proposal.key)
    entry["amount"] = amount
    if asked is not None and asked != amount:
        entry |= {"outcome": "clamped", "asked": asked}
    quote._note(proposal.origin, proposal.code, proposal.position, entry | more, proposal.details)


def _beaten(quote: Quote, proposal: Proposal, winner: Proposal, reason: str) -> None:
    entry: dict[str, Any] = {"outcome": "rejected", "reason": reason, "beaten_by": winner.code}
    if proposal.exclusive_group is not None and reason == "exclusive":
        entry["exclusive_group"] = proposal.exclusive_group
    if proposal.key is not None:
        entry["key"] = str(proposal.key)
    entry["asked"] = proposal.amount
    quote._note(proposal.origin, proposal.code, proposal.position, entry, proposal.details)


def _close(quote: Quote) -> None:
    """The stage is over: sum up, and write its part of the trace."""
    quote.subtotal = sum(line.subtotal for line in quote.lines)
    quote.discount_total = sum(line.discount_total for line in quote.lines)
    added_tax = 0 if quote.prices_include_tax else quote.tax_total
    quote.total = quote.goods_total + quote.shipping_total + quote.fee_total + added_tax
    if max(quote.subtotal, quote.shipping_total, quote.fee_total, quote.tax_total, quote.total) > LARGEST_AMOUNT:
        raise AmountTooLarge("Together these cost more than can be counted; fewer units, please.")
    quote.trace += [entry for _, entry in sorted(quote._notes, key=lambda note: note[0])]
    quote._proposals.clear()
    quote._notes.clear()


def _check(quote: Quote) -> None:
    """No quote leaves that is unpriced or does not add up, whatever a rule may have done to it."""
    unpriced = [line.item.sku for line in quote.lines if line.item.key not in quote._priced]
    if unpriced:
        raise RuntimeError(f"no price rule has a price for {', '.join(unpriced)}")
    added = sum(adjustment.amount for adjustment in quote.adjustments if not adjustment.included)
    if quote.subtotal + added != quote.total or quote.total < 0:
        raise RuntimeError(f"the quote does not add up: {quote.subtotal} and {added} is not {quote.total}")
