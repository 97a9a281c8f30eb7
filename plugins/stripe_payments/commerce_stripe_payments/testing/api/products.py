"""Products and their prices."""

from __future__ import annotations

from typing import Any

from stripe.params._price_create_params import PriceCreateParams
from stripe.params._price_list_params import PriceListParams
from stripe.params._price_retrieve_params import PriceRetrieveParams
from stripe.params._price_update_params import PriceUpdateParams
from stripe.params._product_create_params import ProductCreateParams
from stripe.params._product_list_params import ProductListParams
from stripe.params._product_retrieve_params import ProductRetrieveParams
from stripe.params._product_update_params import ProductUpdateParams

from commerce_stripe_payments.testing.failures import Failure, Thing, wrong
from commerce_stripe_payments.testing.forms import integer, merged_metadata, truth
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_INTERVALS = ("day", "week", "month", "year")


@route("POST", "/v1/products", ProductCreateParams)
def create_product(call: Call) -> Thing:
    world, params = call.world, call.params
    if "id" in params and params["id"] in world.objects:
        raise Failure(f"Product already exists: {params['id']}", code="resource_already_exists")
    product = new_product(world, params["name"], params)
    if "default_price_data" in params:
        price = new_price(world, {**params["default_price_data"], "product": product["id"]})
        product["default_price"] = price["id"]
    return product


@route("GET", "/v1/products/{id}", ProductRetrieveParams)
def retrieve_product(call: Call, id: str) -> Thing:
    return call.world.find("product", id)


@route("POST", "/v1/products/{id}", ProductUpdateParams)
def update_product(call: Call, id: str) -> Thing:
    product = call.world.find("product", id)
    changes: Thing = {
        name: call.params[name] for name in ("active", "default_price", "description", "name") if name in call.params
    }
    changes["metadata"] = merged_metadata(product["metadata"], call.params.get("metadata"))
    return call.world.change(product, "product.updated", **changes)


@route("GET", "/v1/products", ProductListParams)
def list_products(call: Call) -> Thing:
    active, ids = call.params.get("active"), call.params.get("ids")
    return page(
        call,
        (
            product
            for product in call.world.every("product")
            if active in (None, product["active"]) and (ids is None or product["id"] in ids)
        ),
    )


@route("POST", "/v1/prices", PriceCreateParams)
def create_price(call: Call) -> Thing:
    return new_price(call.world, call.params)


@route("GET", "/v1/prices/{id}", PriceRetrieveParams)
def retrieve_price(call: Call, id: str) -> Thing:
    return call.world.find("price", id)


@route("POST", "/v1/prices/{id}", PriceUpdateParams)
def update_price(call: Call, id: str) -> Thing:
    price = call.world.find("price", id)
    changes: Thing = {name: call.params[name] for name in ("active", "lookup_key", "nickname") if name in call.params}
    changes["metadata"] = merged_metadata(price["metadata"], call.params.get("metadata"))
    return call.world.change(price, "price.updated", **changes)


@route("GET", "/v1/prices", PriceListParams)
def list_prices(call: Call) -> Thing:
    params = call.params
    wanted = {name: params[name] for name in ("active", "currency", "product", "type") if name in params}
    keys = params.get("lookup_keys")
    return page(
        call,
        (
            price
            for price in call.world.every("price")
            if all(price[name] == value for name, value in wanted.items())
            and (keys is None or price["lookup_key"] in keys)
        ),
    )


def new_product(world: World, name: str, params: Thing) -> Thing:
    product = world.add(
        "prod",
        "product",
        active=params.get("active", True),
        default_price=None,
        description=params.get("description"),
        images=[],
        marketing_features=[],
        name=name,
        tax_code=None,
        type="service",
        updated=world.now,
    )
    if "id" in params:
        world.remove(product)
        product["id"] = params["id"]
        world.put(product)
    product["metadata"] = merged_metadata({}, params.get("metadata"))
    world.emit("product.created", product)
    return product


def new_price(world: World, params: Thing) -> Thing:
    """A price; `product_data` makes its product, too."""
    if "product_data" in params:
        product = new_product(world, params["product_data"].get("name", ""), params["product_data"])
    else:
        product = world.find("product", params.get("product"), param="product")
    if "unit_amount" not in params:
        raise wrong("unit_amount", "You must specify `unit_amount`.", "parameter_missing")
    price = world.add(
        "price",
        "price",
        active=truth(params.get("active", True), "active"),
        billing_scheme="per_unit",
        currency=str(params.get("currency", "")).lower(),
        custom_unit_amount=None,
        lookup_key=params.get("lookup_key"),
        nickname=params.get("nickname"),
        product=product["id"],
        recurring=_recurring(params.get("recurring")),
        tax_behavior="unspecified",
        tiers_mode=None,
        transform_quantity=None,
        type="recurring" if params.get("recurring") else "one_time",
        unit_amount=integer(params["unit_amount"], "unit_amount"),
        unit_amount_decimal=str(params["unit_amount"]),
    )
    price["metadata"] = merged_metadata({}, params.get("metadata"))
    world.emit("price.created", price)
    return price


def _recurring(given: Any) -> Thing | None:
    if not given:
        return None
    if given.get("interval") not in _INTERVALS:
        raise wrong("recurring[interval]", f"Invalid interval: {given.get('interval')}", None)
    return {
        "interval": given["interval"],
        "interval_count": integer(given.get("interval_count", 1), "recurring[interval_count]"),
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
