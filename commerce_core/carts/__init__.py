"""Carts: what somebody means to buy, at what price, and how it becomes theirs when they sign in."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX
from commerce_core.carts.coupons import add_coupon_checker


def includeme(config: Configurator) -> None:
    config.registry.coupon_checkers = []
    config.add_directive("add_coupon_checker", add_coupon_checker)
    config.add_route("cart", f"{API_PREFIX}/cart")
    config.add_route("cart_lines", f"{API_PREFIX}/cart/lines")
    config.add_route("cart_line", f"{API_PREFIX}/cart/lines/{{id}}")
    config.add_route("cart_coupons", f"{API_PREFIX}/cart/coupons")
    config.add_route("cart_coupon", f"{API_PREFIX}/cart/coupons/{{code}}")
    config.add_route("cart_quote", f"{API_PREFIX}/cart/quote")
    config.include(".jobs")
    config.scan(".views")
