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
from commerce_core.pricing.quote import LARGEST_AMOUNT, Adjustment, Proposal, Quote, QuoteLine, Stage
from commerce_core.pricing.rounding import spread_within
from commerce_core.pricing.rules import AmountTooLarge, PriceRule, PriceRuleFailed, Pricing

_log = structlog.get_logger("commerce.pricing")


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
        lines=tuple([QuoteLine(item) for item in basket.items]),
        _texts=[str(item.key) for item in basket.items],
        _numbers={item.key: number for number, item in enumerate(basket.items)},
        _units=[None] * len(basket.items),
        _discounts=[0] * len(basket.items),
        _taxes=[0] * len(basket.items),
    )
    if len(quote._numbers) < len(basket.items):
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
    if not rule.quiet and len(quote._proposals) + len(quote._notes) == said:
        quote.reject(rule.code, "did-not-apply")
    quote._origin = quote.prefetched = None


def failed(rule: PriceRule, error: Exception) -> Problem:
    """The problem that a client is told; the log is told the rest."""
    _log.error("price rule failed", rule=rule.code, source=rule.source, exc_info=error)
    return PriceRuleFailed(rule)


def _settle_prices(quote: Quote) -> None:
    """BASE: the rule with the highest order is believed, of equals the first in place."""
    proposals = _in_place(quote)
    believed: dict[int, Proposal] = {}
    for proposal in proposals:
        line = _line(proposal)
        if line not in believed or proposal.origin.order > believed[line].origin.order:
            believed[line] = proposal
    for proposal in proposals:
        line = _line(proposal)
        if proposal is believed[line]:
            quote._units[line] = proposal.amount
            _applied(quote, proposal, proposal.amount)
        else:
            _beaten(quote, proposal, believed[line], "replaced")


def _settle_catalog(quote: Quote) -> None:
    """CATALOG: the differences to the price before, added up; never below zero. What makes it dearer comes first."""
    before = [line.unit_amount for line in quote.lines]
    left = list(before)
    standing = _standing(quote, lambda p: before[_line(p)] - p.amount)
    for proposal in sorted(standing, key=lambda p: p.amount < before[_line(p)]):
        line = _line(proposal)
        asked = proposal.amount - before[line]
        change = max(-left[line], asked)
        left[line] += change
        quote._units[line] = left[line]
        _applied(quote, proposal, change, asked)


def _settle_lines(quote: Quote) -> None:
    """LINE: each line's discounts, together not more than the line."""
    before = [line.net for line in quote.lines]
    room = list(before)
    for proposal in _standing(quote, lambda p: min(p.amount, before[_line(p)])):
        line = _line(proposal)
        taken = min(proposal.amount, room[line])
        room[line] -= taken
        _discount(quote, proposal, line, taken)
        _applied(quote, proposal, -taken, -proposal.amount)


def _settle_cart(quote: Quote) -> None:
    """CART: each discount spread over its lines by what they cost before the stage, as far as there is room."""
    before = [line.net for line in quote.lines]
    room = list(before)

    def weights(proposal: Proposal) -> list[int]:
        keys = proposal.keys
        if keys is None:
            return before
        return [line.net if line.item.key in keys else 0 for line in quote.lines]

    for proposal in _standing(quote, lambda p: min(p.amount, sum(weights(p)))):
        share_of = weights(proposal)
        free = [space if weight else 0 for space, weight in zip(room, share_of, strict=True)]
        if proposal.most is not None:
            most = proposal.most
            free = [min(space, most.get(line.item.key, space)) for space, line in zip(free, quote.lines, strict=True)]
        taken, lines = 0, []
        for number, share in enumerate(spread_within(proposal.amount, share_of, free)):
            if share:
                room[number] -= share
                _discount(quote, proposal, number, share)
                lines.append({"key": quote._texts[number], "amount": -share})
                taken += share
        _applied(quote, proposal, -taken, -proposal.amount, lines=lines)


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
        if proposal.line is not None:
            quote._taxes[proposal.line] += proposal.amount
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
    best: dict[tuple[str, str, int | None], Proposal] = {}
    for proposal in proposals:
        if proposal.exclusive_group is not None:
            contest = (proposal.action, proposal.exclusive_group, proposal.line)
            if contest not in best or benefit(proposal) > benefit(best[contest]):
                best[contest] = proposal
    if not best:
        return proposals
    standing = []
    for proposal in proposals:
        winner = best.get((proposal.action, proposal.exclusive_group or "", proposal.line))
        if proposal.exclusive_group is None or winner is None or winner is proposal:
            standing.append(proposal)
        else:
            _beaten(quote, proposal, winner, "exclusive")
    return standing


def _line(proposal: Proposal) -> int:
    assert proposal.line is not None
    return proposal.line


def _discount(quote: Quote, proposal: Proposal, line: int, amount: int) -> None:
    quote._discounts[line] += amount
    _adjust(quote, proposal, "discount", -amount, quote.lines[line].key)


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
    if proposal.line is not None:
        entry["key"] = quote._texts[proposal.line]
    entry["amount"] = amount
    if asked is not None and asked != amount:
        entry |= {"outcome": "clamped", "asked": asked}
    quote._note(
        proposal.origin, proposal.code, proposal.position, {**entry, **more} if more else entry, proposal.details
    )


def _beaten(quote: Quote, proposal: Proposal, winner: Proposal, reason: str) -> None:
    entry: dict[str, Any] = {"outcome": "rejected", "reason": reason, "beaten_by": winner.code}
    if proposal.exclusive_group is not None and reason == "exclusive":
        entry["exclusive_group"] = proposal.exclusive_group
    if proposal.line is not None:
        entry["key"] = quote._texts[proposal.line]
    entry["asked"] = proposal.amount
    quote._note(proposal.origin, proposal.code, proposal.position, entry, proposal.details)


def _close(quote: Quote) -> None:
    """The stage is over: what it has changed can be seen, is summed up, and stands in the trace."""
    if quote._proposals:
        made = zip(quote.basket.items, quote._units, quote._discounts, quote._taxes, strict=True)
        quote.lines = tuple([QuoteLine(item, unit or 0, discount, tax) for item, unit, discount, tax in made])
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
    unpriced = [item.sku for item, unit in zip(quote.basket.items, quote._units, strict=True) if unit is None]
    if unpriced:
        raise RuntimeError(f"no price rule has a price for {', '.join(unpriced)}")
    added = sum(adjustment.amount for adjustment in quote.adjustments if not adjustment.included)
    if quote.subtotal + added != quote.total or quote.total < 0:
        raise RuntimeError(f"the quote does not add up: {quote.subtotal} and {added} is not {quote.total}")
