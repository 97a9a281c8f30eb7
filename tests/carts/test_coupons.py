"""Coupon codes: kept for plugins, which alone know what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pyramid.config import Configurator
from sqlalchemy.orm import Session
from webtest import TestApp

from commerce_core.carts.coupons import CouponVerdict
from commerce_core.pricing.basket import Basket

MakeVariant = Callable[..., UUID]
Add = Callable[..., Any]
COUPONS = "/api/v1/cart/coupons"


def check(_session: Session, code: str, basket: Basket) -> CouponVerdict | None:
    """A plugin that knows TEN..., and BIG for many units."""
    if code == "BIG":
        return CouponVerdict(sum(item.quantity for item in basket.items) >= 5, "From five pieces on.")
    return CouponVerdict(True) if code.startswith("TEN") else None


@pytest.fixture
def coupons(application: Any) -> None:
    """The shop has a plugin that knows coupons."""
    config = Configurator(registry=application.registry)
    config.add_coupon_checker(check)
    config.commit()


def use(client: TestApp, code: str, **options: Any) -> Any:
    return client.post_json(COUPONS, {"code": code}, **options).json


def test_a_code_that_no_plugin_knows_is_unknown(guest: TestApp, make_variant: MakeVariant, add: Add) -> None:
    add(guest, make_variant())
    problem = use(guest, "spring", status=422)
    assert (problem["type"], problem["code"]) == ("/problems/unknown-coupon", "SPRING")
    assert guest.get("/api/v1/cart").json["coupons"] == []


@pytest.mark.usefixtures("coupons")
def test_a_code_is_kept_once_in_upper_case_and_goes_into_the_order(
    guest: TestApp, make_variant: MakeVariant, add: Add
) -> None:
    add(guest, make_variant())
    assert use(guest, " ten-off ")["coupons"] == ["TEN-OFF"]
    assert use(guest, "TEN-OFF")["coupons"] == ["TEN-OFF"]
    assert use(guest, "TEN-MORE")["coupons"] == ["TEN-OFF", "TEN-MORE"]
    assert guest.delete(f"{COUPONS}/ten-off").json["coupons"] == ["TEN-MORE"]
    guest.delete(f"{COUPONS}/ten-off", status=404)


@pytest.mark.usefixtures("coupons")
def test_a_plugin_may_refuse_a_code_and_say_why(guest: TestApp, make_variant: MakeVariant, add: Add) -> None:
    variant_id = make_variant()
    add(guest, variant_id, 4)
    problem = use(guest, "big", status=409)
    assert (problem["type"], problem["detail"]) == ("/problems/coupon-refused", "From five pieces on.")
    add(guest, variant_id, 1)
    assert use(guest, "big")["coupons"] == ["BIG"]


@pytest.mark.usefixtures("coupons")
def test_a_cart_takes_ten_coupons(guest: TestApp, make_variant: MakeVariant, add: Add) -> None:
    add(guest, make_variant())
    for number in range(10):
        use(guest, f"TEN{number}")
    assert use(guest, "TEN10", status=409)["type"] == "/problems/too-many-coupons"


@pytest.mark.parametrize("code", ["", " ", "a b", "a/b", "x" * 65, "é", "a\x00", 1, None])
def test_a_code_is_short_and_plain(guest: TestApp, make_variant: MakeVariant, add: Add, code: Any) -> None:
    add(guest, make_variant())
    guest.post_json(COUPONS, {"code": code}, status=422)


@pytest.mark.usefixtures("coupons")
def test_coupons_need_something_to_be_used_on(client: TestApp, guest: TestApp, make_variant: MakeVariant) -> None:
    use(client, "TEN", status=404)
    use(guest, "TEN", status=404)
    guest.post_json("/api/v1/cart/lines", {"variant_id": str(make_variant()), "quantity": 1})
    guest.delete("/api/v1/cart")
    assert use(guest, "TEN", status=409)["type"] == "/problems/empty-cart"


@pytest.mark.usefixtures("coupons")
def test_both_carts_coupons_are_kept_when_they_are_merged(
    guest: TestApp, sign_in: Any, make_variant: MakeVariant, add: Add
) -> None:
    user = sign_in().client
    variant_id = make_variant()
    for client, codes in ((guest, range(5, 14)), (user, range(6))):
        add(client, variant_id)
        for number in codes:
            use(client, f"TEN{number}")
    merged = user.post("/api/v1/cart/merge", headers={"X-Cart-Token": "a-guest-of-these-tests"}).json
    assert merged["cart"]["coupons"] == [f"TEN{number}" for number in range(10)]
    assert merged["cart_merge"]["dropped_coupons"] == [f"TEN{number}" for number in range(10, 14)]
