"""The product page as a browser without JavaScript has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from realtime_harness import SECRET
from webtest import TestApp

from commerce_core.testing import StoppedClock

SETTINGS = {"realtime.secret": SECRET, "realtime.bus": "test_page", "stock.hold_seconds": "120"}
pytestmark = pytest.mark.commerce(plugins=["realtime"], settings=SETTINGS)
MakeVariant = Callable[..., UUID]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def guest(application: Any) -> TestApp:
    return TestApp(application)


def text_of(page: Any) -> str:
    return re.sub(r"\s+", " ", page.html.select_one("main").get_text(" "))


def form_of(page: Any, action: str = "/hold") -> Any:
    [form] = [form for form in page.forms.values() if form.action.partition("?")[0] == action]
    return form


def test_it_shows_products_with_their_prices_and_stock(guest: TestApp, make_variant: MakeVariant) -> None:
    make_variant(stock=40, price_amount=2_900, compare_at_amount=5_800)
    make_variant(stock=3)
    make_variant(stock=0)
    make_variant(stock=0, allow_backorder=True)
    make_variant(stock=0, track_stock=False)
    page = guest.get("/", headers={"Accept-Language": "de"})
    shown = text_of(page)
    assert "29,00\xa0$" in page.text
    assert "\u221250%" in shown
    words = [each.get_text() for each in page.html.select(".card .stock .words")]
    assert sorted(words) == ["40 in stock", "In stock", "On backorder", "Only 3 left", "Sold out"]
    assert [card["data-name"] for card in page.html.select(".card.is-out")] == ["Product 3"]
    assert page.html.select_one(".card.is-out button").has_attr("disabled")


def test_a_hold_is_a_form_and_so_is_giving_it_back(
    guest: TestApp, make_variant: MakeVariant, clock: StoppedClock
) -> None:
    make_variant(stock=5)
    page = form_of(guest.get("/")).submit().follow()
    assert "Only 4 left" in text_of(page)
    [held] = page.html.select(".holds li")
    assert "Product 1" in held.get_text()
    assert int(held["data-milliseconds"]) == int(held["data-of"]) == 120_000
    again = form_of(page).submit().follow()
    assert len(again.html.select(".holds li")) == 2
    back = form_of(page, "/hold/release").submit("hold_id").follow()
    assert "Only 4 left" in text_of(back)
    assert back.html.select_one(".holds").has_attr("hidden")
    clock.tick(minutes=3)
    assert guest.get(again.request.path_qs).html.select(".holds li") == []
    guest.post("/hold/release", {"hold_id": held["data-hold"]}, status=303)  # over already, and no harm


def test_who_comes_too_late_is_told_so(guest: TestApp, make_variant: MakeVariant) -> None:
    make_variant(stock=1)
    page = guest.get("/")
    form_of(page).submit()
    late = form_of(page).submit().follow()
    assert "Product 1 has just been sold out" in late.html.select_one("[role=alert]").get_text()
    assert "Sold out" in text_of(late)


def test_forms_of_other_sites_and_of_nothing_hold_nothing(guest: TestApp, make_variant: MakeVariant) -> None:
    variant_id = str(make_variant(stock=5))
    theirs = guest.post("/hold", {"variant_id": variant_id}, {"Sec-Fetch-Site": "cross-site"}, status=403)
    assert "This form belongs to another site." in text_of(theirs)
    guest.post("/hold", {"variant_id": str(uuid4())}, status=404)
    guest.post("/hold", {"variant_id": "seven"}, status=404)
    guest.post("/hold/release", {"hold_id": "seven"}, status=303)
    guest.post("/hold/release", {"hold_id": str(uuid4())}, {"Sec-Fetch-Site": "cross-site"}, status=403)
    assert "5 left" in text_of(guest.get("/"))


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"--x", 404),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n', 404),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="variant_id"; filename="a"\r\n\r\n1\r\n--x--\r\n',
            404,
        ),
        ("application/x-www-form-urlencoded; charset=utf-99", b"variant_id=seven", 404),
        ("application/json", b'{"variant_id": "seven"}', 404),
        (FORM, b"variant_id=%00%ff", 404),
        (FORM, b"\xff", 400),
        (FORM, b"a=1&" * 1_000, 400),
    ],
)
def test_what_is_no_form_of_the_page_is_answered_with_a_page(
    guest: TestApp, content_type: str, body: bytes, status: int
) -> None:
    for path, if_nothing in (("/hold", 404), ("/hold/release", 303)):
        # As a header: given as `content_type`, WebTest would make a form of its own of a multipart body.
        answer = guest.post(path, body, {"Content-Type": content_type}, status="*")
        assert answer.status_int == (if_nothing if status == 404 else status)
        assert answer.status_int == 303 or answer.content_type == "text/html"


@pytest.mark.commerce(settings={**SETTINGS, "limits.hold": "1/minute"})
def test_who_is_too_quick_is_told_so_on_a_page_that_leads_back(guest: TestApp, make_variant: MakeVariant) -> None:
    make_variant(stock=5)
    page = form_of(guest.get("/")).submit().follow()
    refused = form_of(page).submit(status=429)
    assert refused.content_type == "text/html"
    assert int(refused.headers["Retry-After"]) > 0
    assert "Try again in" in text_of(refused)
    assert "script-src" not in refused.headers["Content-Security-Policy"]
    # Nothing is lost: the address still says which holds are the visitor's.
    back = refused.click("Back to the shelves")
    assert "Only 4 left" in text_of(back)
    assert len(back.html.select(".holds li")) == 1


def test_nothing_runs_that_is_not_its_own(guest: TestApp, make_variant: MakeVariant) -> None:
    make_variant(stock=5)
    page = guest.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;" in policy
    assert "connect-src 'self' ws://localhost:6001;" in policy
    assert "unsafe" not in policy
    assert page.html.select("[style], style, script:not([src]), [onclick], [onload]") == []
    for element in page.html.select("link[href], script[src]"):
        address = element.get("href") or element.get("src")
        assert guest.get(address).content_type in ("text/css", "text/javascript", "image/svg+xml"), address


def test_an_address_that_makes_no_sense_shows_what_it_can(guest: TestApp, make_variant: MakeVariant) -> None:
    make_variant(stock=5)
    page = guest.get(f"/?page=x&hold=7&hold={uuid4()}&refused=%00&category=")
    assert "Product 1" in text_of(page)
    assert "Product 1" in text_of(guest.get("/?category=%00"))
    assert "This shelf is empty" in text_of(guest.get("/?category=nothing%00"))
    assert "This shelf is empty" in text_of(guest.get("/?page=99999999999999999999"))


def test_a_shop_without_products_says_what_to_do(guest: TestApp) -> None:
    shown = text_of(guest.get("/"))
    assert "Nothing on the shelves yet" in shown
    assert "commerce demo load" in shown


@pytest.mark.commerce(settings={**SETTINGS, "realtime.page": "false"})
def test_it_can_be_left_out(guest: TestApp) -> None:
    assert guest.get("/", status=302).location.endswith("/api/v1/docs")


PRODUCTION = {
    "commerce.environment": "production",
    "payments.manual_webhook_secret": "9f6c1e2b7a4d4c0e8b35d1f0",
    "realtime.secret": "41d7be0c95f24a8f8f0a62c3",
    "mail.transport": "smtp",
    "mail.host": "mail.example",
    "mail.sender": "shop@shop.example",
    "realtime.public_host": "ws.shop.example",
    "realtime.public_port": "443",
    "realtime.public_tls": "true",
}


@pytest.mark.commerce(settings={**SETTINGS, **PRODUCTION, "realtime.page": "true"})
def test_in_production_it_is_there_if_asked_for_and_tells_nothing_to_developers(
    guest: TestApp, make_variant: MakeVariant
) -> None:
    assert "commerce demo load" not in guest.get("/").text
    make_variant(stock=5)
    page = guest.get("/")
    assert "Only 5 left" in text_of(page)
    assert "curl" not in page.text
    assert "connect-src 'self' wss://ws.shop.example:443;" in page.headers["Content-Security-Policy"]


@pytest.mark.commerce(settings={**SETTINGS, **PRODUCTION})
def test_in_production_it_is_not_there_unless_asked_for(guest: TestApp) -> None:
    assert guest.get("/", status=302).location.endswith("/api/v1/docs")
