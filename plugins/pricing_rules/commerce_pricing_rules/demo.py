"""The five classic rules, to look at and to play with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from commerce_pricing_rules.definitions import RuleDefinition
from commerce_pricing_rules.models import PricingRule
from commerce_pricing_rules.service import add_rule

CLASSICS: tuple[dict[str, Any], ...] = (
    {
        "name": "Bulk discount",
        "description": "15 % off three or more of one thing.",
        "type": "percentage",
        "modifiers": {"percent": 15},
        "priority": 10,
        "stackable": False,
        "conditions": {"type": "quantity", "min": 3},
    },
    {
        "name": "Flash Friday",
        "description": "30 % off everything, on Fridays.",
        "type": "percentage",
        "modifiers": {"percent": 30},
        "priority": 20,
        "stackable": False,
        "conditions": {"type": "day_of_week", "days": ["fri"]},
    },
    {
        "name": "VIP discount",
        "description": "10 % off for customers of the group vip, together with others.",
        "type": "percentage",
        "modifiers": {"percent": 10},
        "priority": 5,
        "stackable": True,
        "conditions": {"type": "customer_tier", "tiers": ["vip"]},
    },
    {
        "name": "Happy hour",
        "description": "5.00 off each unit between 14:00 and 16:00, together with others.",
        "type": "fixed_amount",
        "modifiers": {"amounts": {"USD": 500, "EUR": 500, "GBP": 500}},
        "priority": 15,
        "stackable": True,
        "conditions": {"type": "time_range", "from": "14:00", "to": "16:00"},
    },
    {
        "name": "Buy 2 get 1",
        "description": "Of every three of one thing, one is free.",
        "type": "buy_x_get_y",
        "modifiers": {"buy": 2, "get": 1},
        "priority": 25,
        "stackable": False,
        "active": False,
    },
)


def load_classics(session: Session, *, now: datetime) -> list[PricingRule]:
    """Add those of the classic rules that are not there yet, by their names; what was added."""
    names = [classic["name"] for classic in CLASSICS]
    known = set(
        session.scalars(select(PricingRule.name).where(PricingRule.name.in_(names), PricingRule.deleted_at.is_(None)))
    )
    return [
        add_rule(session, RuleDefinition.model_validate(classic), actor="demo", now=now)
        for classic in CLASSICS
        if classic["name"] not in known
    ]
