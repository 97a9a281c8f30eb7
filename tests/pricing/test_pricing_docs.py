"""docs/pricing.md: its rule works, and its trace is what that gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from support.baskets import basket, item, pricing, rule

from commerce_core.pricing import add_price_rule
from commerce_core.pricing.quote import Stage
from commerce_core.pricing.rules import Pricing
from commerce_core.pricing.settlement import calculate
from commerce_core.settings import ShippingSettings, TaxSettings

PAGE = (Path(__file__).parents[2] / "docs" / "pricing.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def configured() -> Any:
    config = Configurator()
    config.registry.pricing = Pricing()
    config.add_directive("add_price_rule", add_price_rule)
    return config


def test_the_rule_in_the_documentation_gives_the_trace_in_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rule_of_the_documentation.py").write_text(block("rule"))
    monkeypatch.syspath_prepend(tmp_path)
    config = configured()
    config.include("rule_of_the_documentation")
    config.commit()
    [written] = config.registry.pricing.rules
    quote = calculate(
        pricing(written, tax_rates="DE 19", shipping_flat="USD 500"),
        basket(item(1, 2_500, 2)),
    )
    assert quote.trace == [json.loads(line.rstrip(",")) for line in block("trace").splitlines()]


def test_a_second_rule_of_the_same_code_stops_the_start() -> None:
    config = configured()
    for stage in (Stage.LINE, Stage.CART):
        config.add_price_rule(rule("twice", stage, lambda _: None))
    with pytest.raises(ConfigurationConflictError, match="twice"):
        config.commit()
    config = configured()
    config.add_price_rule(rule("twice", Stage.LINE, lambda _: None))
    config.commit()
    config.add_price_rule(rule("twice", Stage.CART, lambda _: None))
    with pytest.raises(ConfigurationError, match="two price rules are called 'twice'"):
        config.commit()


def test_every_setting_is_in_the_documentation() -> None:
    for section, fields in (("tax", TaxSettings.model_fields), ("shipping", ShippingSettings.model_fields)):
        for field in fields:
            assert f"`{section}.{field}`" in PAGE
