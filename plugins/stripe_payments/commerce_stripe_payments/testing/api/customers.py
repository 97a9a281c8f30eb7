"""Customers."""

from __future__ import annotations

from typing import Any

from stripe.params._customer_create_params import CustomerCreateParams
from stripe.params._customer_delete_params import CustomerDeleteParams
from stripe.params._customer_list_params import CustomerListParams
from stripe.params._customer_retrieve_params import CustomerRetrieveParams
from stripe.params._customer_update_params import CustomerUpdateParams

from commerce_stripe_payments.testing.api.payment_methods import attach, usable
from commerce_stripe_payments.testing.failures import Thing
from commerce_stripe_payments.testing.forms import merged_metadata
from commerce_stripe_payments.testing.router import Call, page, route
from commerce_stripe_payments.testing.world import World

_PLAIN = ("address", "description", "email", "name", "phone", "preferred_locales", "shipping")


@route("POST", "/v1/customers", CustomerCreateParams)
def create_customer(call: Call) -> Thing:
    world, params = call.world, call.params
    clock = params.get("test_clock")
    if clock is not None:
        world.find("test_helpers.test_clock", clock, param="test_clock")
    customer = world.add(
        "cus",
        "customer",
        balance=0,
        currency=None,
        default_source=None,
        delinquent=False,
        discount=None,
        invoice_prefix="FAKE",
        invoice_settings=_invoice_settings({}),
        next_invoice_sequence=1,
        tax_exempt="none",
        test_clock=clock,
        **{name: params.get(name) for name in _PLAIN},
    )
    customer["metadata"] = merged_metadata({}, params.get("metadata"))
    _take_methods(world, customer, params)
    world.emit("customer.created", customer)
    return customer


@route("GET", "/v1/customers/{id}", CustomerRetrieveParams)
def retrieve_customer(call: Call, id: str) -> Thing:
    customer = call.world.find("customer", id)
    return _gone(customer) if customer.get("_deleted") else customer


@route("POST", "/v1/customers/{id}", CustomerUpdateParams)
def update_customer(call: Call, id: str) -> Thing:
    world, params = call.world, call.params
    customer = find_customer(world, id, param="id")
    previous = {name: customer[name] for name in (*_PLAIN, "metadata", "invoice_settings")}
    _take_methods(world, customer, params)
    customer.update({name: params[name] for name in _PLAIN if name in params})
    customer["metadata"] = merged_metadata(customer["metadata"], params.get("metadata"))
    changed = {name: value for name, value in previous.items() if customer[name] != value}
    if changed:
        world.emit("customer.updated", customer, previous=changed)
    return customer


@route("DELETE", "/v1/customers/{id}", CustomerDeleteParams)
def delete_customer(call: Call, id: str) -> Thing:
    world = call.world
    customer = find_customer(world, id, param="id")
    for method in world.every("payment_method"):
        if method["customer"] == id:
            world.change(method, "payment_method.detached", customer=None, _detached=True)
    customer["_deleted"] = True
    world.emit("customer.deleted", customer)
    return _gone(customer)


@route("GET", "/v1/customers", CustomerListParams)
def list_customers(call: Call) -> Thing:
    email = call.params.get("email")
    return page(
        call,
        (
            customer
            for customer in call.world.every("customer")
            if not customer.get("_deleted") and email in (None, customer["email"])
        ),
    )


def find_customer(world: World, id: Any, *, param: str = "customer") -> Thing:
    """A customer who is still there."""
    customer = world.find("customer", id, param=param)
    if customer.get("_deleted"):
        return world.find("customer", None, param=param)
    return customer


def _take_methods(world: World, customer: Thing, params: Thing) -> None:
    """`payment_method` is attached; the default of invoices has to be attached already."""
    if "payment_method" in params:
        attach(world, usable(world, params["payment_method"]), customer["id"])
    if "invoice_settings" in params:
        settings = _invoice_settings({**customer["invoice_settings"], **params["invoice_settings"]})
        default = settings["default_payment_method"]
        if default is not None:
            param = "invoice_settings[default_payment_method]"
            method = usable(world, default, param=param)
            if default != method["id"]:
                attach(world, method, customer["id"])
            elif method["customer"] != customer["id"]:
                world.find("payment_method", None, param=param)
            settings["default_payment_method"] = method["id"]
        customer["invoice_settings"] = settings


def _invoice_settings(given: Thing) -> Thing:
    return {
        "custom_fields": None,
        "default_payment_method": given.get("default_payment_method") or None,
        "footer": given.get("footer"),
        "rendering_options": None,
    }


def _gone(customer: Thing) -> Thing:
    return {"id": customer["id"], "object": "customer", "deleted": True}
