"""Asking plugins whether a cart may be as it is about to be. With no plugin that minds, nothing is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal
from uuid import UUID

from sqlalchemy.orm import Session

from commerce_core.api.problems import Conflict, Problem
from commerce_core.carts.models import Cart
from commerce_core.plugins.calls import hooks_of
from commerce_core.plugins.facts import CartFacts, CartLineFacts


class CartRefused(Conflict):
    """The cart cannot be so, for several reasons: `problems` has them all."""

    slug = "cart-refused"
    title = "The cart cannot be like this"
    example: ClassVar[dict[str, Any]] = {
        "problems": [
            {
                "type": "/problems/agecheck/too-young",
                "title": "This is not sold to you",
                "status": 409,
                "detail": "You must be 18.",
            }
        ]
    }

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__(problems=[problem.members() for problem in problems])


def check_edit(session: Session, cart: Cart, *, line_id: UUID | None, variant_id: UUID, quantity: int) -> None:
    """Ask about a cart (locked) in which a line is about to have so many units. Raises CartRefused, or one problem."""
    if not hooks_of(session).validate_cart:
        return
    lines = [
        CartLineFacts(
            id=line.id, variant_id=line.variant_id, quantity=quantity if line.id == line_id else line.quantity
        )
        for line in cart.lines
    ]
    if line_id is None:
        lines.append(CartLineFacts(id=None, variant_id=variant_id, quantity=quantity))
    _check(session, _facts(cart, lines), "edit")


def check_order(session: Session, cart: Cart) -> None:
    """Ask about a cart (locked) that is about to be ordered. Raises CartRefused, or one problem."""
    if hooks_of(session).validate_cart:
        lines = [CartLineFacts(id=line.id, variant_id=line.variant_id, quantity=line.quantity) for line in cart.lines]
        _check(session, _facts(cart, lines), "place")


def check_order_of_hold(session: Session, *, owner: str | None, currency: str, variant_id: UUID, quantity: int) -> None:
    """Ask about a single hold that is about to be ordered. Raises CartRefused, or one problem."""
    if hooks_of(session).validate_cart:
        line = CartLineFacts(id=None, variant_id=variant_id, quantity=quantity)
        _check(session, CartFacts(id=None, owner=owner, currency=currency, coupons=(), lines=(line,)), "place")


def _facts(cart: Cart, lines: Iterable[CartLineFacts]) -> CartFacts:
    return CartFacts(
        id=cart.id, owner=cart.owner, currency=cart.currency, coupons=tuple(cart.coupons), lines=tuple(lines)
    )


def _check(session: Session, cart: CartFacts, stage: Literal["edit", "place"]) -> None:
    hooks = hooks_of(session)
    ctx = hooks.context(session, currency=cart.currency)
    problems = []
    for plugin, problem in hooks.validate_cart.collect(ctx, cart=cart, stage=stage):
        if not isinstance(problem, Problem):
            raise plugin.refuse(ctx, f"returned {problem!r}, which is no Problem")
        problems.append(problem)
    if problems:
        raise problems[0] if len(problems) == 1 else CartRefused(problems)
