"""Search over HTTP, in the demo shop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import Engine
from structlog.testing import capture_logs
from webtest import TestApp

from commerce_core.database import transaction
from commerce_core.demo.shop import load_shop
from commerce_core.testing import SignedIn, StoppedClock

EVERY_BACKEND = pytest.mark.parametrize("search_settings", ["whoosh", "tantivy", "postgresql"], indirect=True)
Search = Callable[..., Any]
API = "/api/v1"


@pytest.fixture
def shop(application: Any, engine: Engine, clock: StoppedClock, reindexed: Callable[[], int]) -> Any:
    with transaction(engine) as session:
        load_shop(session, now=clock.now())
        session.info.pop("events", None)
    assert reindexed() == 30
    return application


def found(page: Any) -> list[str]:
    return [product["name"] for product in page["data"]]


@EVERY_BACKEND
def test_products_are_found_by_what_people_type(shop: Any, search: Search, client: TestApp) -> None:
    page = search("alpine jackets")
    assert page["data"][0]["name"] == "Alpine Shell Jacket"
    assert (page["query"], page["corrected"], page["relaxed"]) == ("alpine jackets", None, True)
    assert page["highlights"][page["data"][0]["id"]]["name"] == "<mark>Alpine</mark> Shell <mark>Jacket</mark>"
    assert page["took_ms"] >= 0
    [listed] = [each for each in client.get(f"{API}/products").json["data"] if each["id"] == page["data"][0]["id"]]
    assert page["data"][0] == listed
    misspelt = search("headphnes", include="variants")
    assert misspelt["data"][0]["name"] == "Kestrel Over-Ear Headphones"
    assert misspelt["data"][0]["variants"][0]["stock"]["in_stock"] is True
    assert misspelt["corrected"] == "headphones"
    assert found(search("skil26")) == found(search("SKIL-26")) == ["Cast Iron Skillet"]


def test_a_new_shop_says_that_its_index_is_being_built(
    application: Any, client: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A logger remembers how it was set up when it was first used.
    monkeypatch.setattr("commerce_search.engine._log", structlog.get_logger())
    with capture_logs() as lines:
        client.get(f"{API}/search?q=jacket", status="*")
    said = [line["event"] for line in lines if "search" in line["event"]]
    assert said == ["there is no search index; a worker builds it"]


@EVERY_BACKEND
def test_facets_show_what_there_would_be(shop: Any, search: Search) -> None:
    page = search("tee", **{"attributes[color]": "white"})
    assert found(page) == ["Organic Cotton Tee"]
    facets = page["facets"]
    color = next(each for each in facets["attributes"] if each["name"] == "color")
    assert color["values"][0] == {"value": "white", "count": 1, "selected": True}
    assert {each["value"]: each["count"] for each in color["values"]}["black"] >= 1
    [clothing] = facets["categories"]
    assert (clothing["name"], clothing["count"]) == ("Clothing", 1)
    assert [(child["name"], child["count"]) for child in clothing["children"]] == [("T-Shirts", 1)]
    assert facets["prices"] == [{"min": 2_500, "max": 4_999, "count": 1}]
    both = search("tee", brand=["fieldnote", "saltmarsh"])
    assert {each["slug"] for each in both["facets"]["brands"] if each["selected"]} == {"fieldnote", "saltmarsh"}
    assert both["meta"]["total"] == 3
    assert (
        "brand=fieldnote&brand=saltmarsh" in search("", brand=["fieldnote", "saltmarsh"], per_page=1)["links"]["next"]
    )
    assert search("tee", facets="false")["facets"] is None


@EVERY_BACKEND
def test_no_filter_brings_more_than_it_leaves_out(shop: Any, search: Search) -> None:
    """What has only some of the words is shown if there is little else, whatever is filtered."""
    everything = search("red leather boot")
    assert everything["relaxed"]
    for parameters in ({"max_price": 20_000}, {"category": "footwear"}, {"in_stock": "true"}):
        assert set(found(search("red leather boot", **parameters))) <= set(found(everything))
    many = search("cotton")
    assert not many["relaxed"]
    narrow = search("cotton", brand="saltmarsh")
    assert 0 < narrow["meta"]["total"] < many["meta"]["total"]


STRANGE = [
    "",
    " ",
    "t",
    "☕️ 🦊",
    "قميص أحمر",
    "コーヒー",
    '"red" AND (tee OR -mug)',
    "name:tee^4",
    "tee*",
    "te~2",
    "[1 TO 5}",
    "%_\\",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "a" * 10_000,
    "tee " * 2_500,
    "\u202ered\u202c",
    "½ İstanbul ﬁn",
    "1e999",
    "&|!()<->:*'",
    "the of and",
]


@EVERY_BACKEND
def test_whatever_people_type_is_answered(shop: Any, client: TestApp, search: Search) -> None:
    for text in STRANGE:
        page = client.get(f"{API}/search", {"q": text})
        assert page.json["meta"]["total"] >= 0
        client.get(f"{API}/search/suggest", {"q": text})
        client.get(f"{API}/products", {"q": text})
    assert search("")["meta"]["total"] == search("🦊")["meta"]["total"] == 30
    assert "Organic Cotton Tee" in found(search("tee*"))
    assert found(search('"organic" AND tee'))[0] == "Organic Cotton Tee"
    assert found(search("coffee"))[0] in found(search("Cöffée"))
    assert client.get(f"{API}/search?q=%00", status=422).json["type"] == "/problems/invalid-input"
    assert client.get(f"{API}/search?q=%ff", status=400).json["type"] == "/problems/malformed-request"
    assert client.get(f"{API}/search?colour=red", status=422).json["errors"][0]["field"] == "colour"


@EVERY_BACKEND
def test_whatever_is_filtered_by_is_answered_or_refused(shop: Any, client: TestApp, search: Search) -> None:
    most = 2**63 - 1
    names = {f"attributes[{name}]": [f"value {number}" for number in range(8)] for name in "abcdefghij"}
    for answered in (
        {"min_price": 9_000, "max_price": 100},
        {"min_price": most, "max_price": most},
        {"category": "' OR 1=1 --", "brand": "🦊", "attributes[\u202ecolor\x1f]": "a:color\x1fred"},
        {"brand": "x", "attributes[color]": "{red,NULL}"},
        names,
    ):
        assert search("tee", **answered)["meta"]["total"] == search("", **answered)["meta"]["total"] == 0
    everything = search("", **{"attributes[color]": ["white", "none"], "min_price": 0, "max_price": most})
    assert everything["meta"]["total"] >= 1
    for refused in (
        {"attributes[k]": "v"} | names,
        {"attributes[color]": ["red"] * 21},
        {"attributes[color\x00]": "red"},
        {"attributes[color]": "red\x00"},
        {"attributes[color]": ""},
        {"attributes[]": "red"},
        {"brand": ["kestrel"] * 21},
        {"category": "\x00"},
        {"max_price": most + 1},
        {"min_price": -1},
        {"page": 10**30},
        {"page": 0},
        {"per_page": 101},
        {"page": "१e9"},
        {"sort": "name"},
    ):
        problem = client.get(f"{API}/search", refused, status=422).json
        assert problem["type"] == "/problems/invalid-input", refused
    client.get(f"{API}/search?attributes=red", status=422)
    client.get(f"{API}/search?" + "&".join(f"attributes[a{number}]=x" for number in range(300)), status=400)


@EVERY_BACKEND
def test_pages_follow_each_other_and_end_somewhere(shop: Any, search: Search, client: TestApp) -> None:
    pages = [search("", page=page, per_page=7) for page in range(1, 6)]
    assert len({name for page in pages for name in found(page)}) == 30
    ranked = [search("steel cotton leather", page=page, per_page=3) for page in range(1, 5)]
    names = [name for page in ranked for name in found(page)]
    assert len(names) == len(set(names))
    problem = client.get(f"{API}/search?page=101&per_page=100", status=422).json
    assert (problem["type"], problem["deepest"]) == ("/problems/search/too-deep", 10_000)


@EVERY_BACKEND
def test_suggestions_come_with_every_keystroke(shop: Any, client: TestApp) -> None:
    def suggested(q: str) -> Any:
        return client.get(f"{API}/search/suggest", {"q": q}).json

    assert suggested("h")["categories"][0]["name"] == "Home"
    head = suggested("head")
    assert head["products"][0]["name"] == "Kestrel Over-Ear Headphones"
    assert head["products"][0]["price"]["formatted"].startswith("$")
    assert "<mark>Headphones</mark>" in head["products"][0]["highlight"]
    assert [each["slug"] for each in head["categories"]] == ["headphones"]
    assert [each["name"] for each in suggested("nor")["brands"]] == ["Nordwind"]
    assert suggested("organic cot")["products"][0]["name"] == "Organic Cotton Tee"
    assert suggested("haedph")["products"][0]["name"] == "Kestrel Over-Ear Headphones"
    nothing = suggested("")
    assert [nothing[kind] for kind in ("products", "categories", "brands", "queries")] == [[], [], [], []]


def test_the_list_of_products_takes_a_text(shop: Any, client: TestApp) -> None:
    page = client.get(f"{API}/products?q=tee&brand=fieldnote&sort=price_asc&per_page=1").json
    assert (found(page), page["meta"]["total"]) == (["Organic Cotton Tee"], 2)
    page = client.get(f"{API}/categories/clothing/products?q=waterproof&in_stock=true&featured=true").json
    assert found(page) == ["Alpine Shell Jacket"]
    assert client.get(f"{API}/products?q=boot&sort=name", status=422).json["errors"][0]["field"] == "sort"
    assert client.get(f"{API}/products?q=boot&page=1000&per_page=100", status=422).json["type"].endswith("too-deep")


@EVERY_BACKEND
def test_staff_decide_what_means_the_same_and_what_comes_first(
    shop: Any, sign_in: Callable[..., SignedIn], staff: TestApp, search: Search
) -> None:
    admin = sign_in("admin").client
    assert search("trainers")["meta"]["total"] == 0
    synonyms = f"{API}/admin/search/synonyms"
    made = staff.post_json(synonyms, {"words": ["trainer", "sneaker"]}, status=201).json
    staff.post_json(synonyms, {"words": ["portable ssd"], "source": "usb stick"}, status=201)
    assert found(search("trainers")) == ["Canvas Court Sneaker"]
    assert found(search("usb stick")) == ["Vault Portable SSD"]
    assert len(staff.get(synonyms).json["data"]) == 2
    staff.delete(f"{synonyms}/{made['id']}", status=204)
    assert search("trainers")["meta"]["total"] == 0

    names = {each["name"]: each["id"] for each in search("", per_page=100)["data"]}
    rules = f"{API}/admin/search/rules"
    knife, tote = names["Chef's Knife"], names["Organic Cotton Tee"]
    staff.post_json(rules, {"query": "TEE ", "product_id": knife, "kind": "pinned"}, status=201)
    hidden = staff.post_json(rules, {"query": "tee", "product_id": tote, "kind": "hidden"}, status=201).json
    page = search("Tee")
    assert found(page)[0] == "Chef's Knife"
    assert "Organic Cotton Tee" not in found(page)
    assert page["meta"]["total"] == 3
    assert "Chef's Knife" not in found(search("tee", category="clothing"))
    again = staff.post_json(rules, {"query": "tee", "product_id": knife, "kind": "hidden"}, status=409).json
    assert again["type"] == "/problems/search/rule-exists"
    assert len(staff.get(f"{rules}?query=TEE").json["data"]) == 2
    staff.delete(f"{rules}/{hidden['id']}", status=204)
    assert "Organic Cotton Tee" in found(search("tee"))
    staff.post_json(rules, {"query": "tee", "product_id": str(uuid4()), "kind": "hidden"}, status=422)
    staff.post_json(rules, {"query": "?", "product_id": knife, "kind": "hidden"}, status=422)
    staff.post_json(synonyms, {"words": ["one"]}, status=422)
    staff.delete(f"{rules}/{uuid4()}", status=404)
    staff.delete(f"{synonyms}/{uuid4()}", status=404)
    actions = {entry["action"] for entry in admin.get(f"{API}/admin/audit-log?limit=100").json["data"]}
    assert {"search.synonym-create", "search.synonym-delete", "search.rule-create", "search.rule-delete"} <= actions


def test_staff_learn_what_is_searched_for_and_nobody_learns_by_whom(
    shop: Any, client: TestApp, staff: TestApp, search: Search, clock: StoppedClock
) -> None:
    for _ in range(3):
        search("Red Boot")
    boot = search("red  boot")["data"][0]
    search("submarine")
    for personal in ("ada@example.com", "call 0171 555 0199", "x" * 200):
        search(personal)
    staff.get(f"{API}/search?q=what+staff+try")
    event = {"type": "click", "query": "RED boot", "product_id": boot["id"], "position": 3}
    client.post_json(f"{API}/search/events", event, status=204)
    client.post_json(f"{API}/search/events", {**event, "product_id": str(uuid4())}, status=404)
    client.post_json(f"{API}/search/events", {**event, "position": 0}, status=422)
    draft = staff.post_json(f"{API}/admin/products", {"name": "Secret", "slug": "secret"}, status=201).json
    client.post_json(f"{API}/search/events", {**event, "product_id": draft["id"]}, status=404)
    queries = staff.get(f"{API}/admin/search/queries").json["data"]
    assert queries == [
        {"query": "red boot", "searches": 4, "empty": 0, "clicks": 1, "click_through": 0.25},
        {"query": "submarine", "searches": 1, "empty": 1, "clicks": 0, "click_through": 0.0},
    ]
    empty = staff.get(f"{API}/admin/search/queries?empty=true").json["data"]
    assert [each["query"] for each in empty] == ["submarine"]
    [click] = staff.get(f"{API}/admin/search/clicks?query=Red+Boot").json["data"]
    assert (click["slug"], click["clicks"], click["mean_position"]) == (boot["slug"], 1, 3.0)
    suggested = client.get(f"{API}/search/suggest?q=re").json
    assert suggested["queries"] == ["red boot"]
    clock.tick(days=40)
    assert staff.get(f"{API}/admin/search/queries?days=30").json["data"] == []


def test_staff_see_how_the_index_is_and_can_have_it_built_anew(
    shop: Any, staff: TestApp, client: TestApp, run_jobs: Callable[[], int]
) -> None:
    status = staff.get(f"{API}/admin/search/status").json
    assert (status["backend"], status["working"], status["documents"], status["products"]) == ("whoosh", True, 30, 30)
    assert status["build"]["state"] == "published"
    run_jobs()
    staff.post_json(f"{API}/admin/search/reindex", {"fresh": True}, status=204)
    run_jobs()
    again = staff.get(f"{API}/admin/search/status").json
    assert again["build"]["name"] != status["build"]["name"]
    assert again["waiting"] == 0


def test_what_is_for_staff_is_refused_to_everybody_else(client: TestApp, sign_in: Callable[..., SignedIn]) -> None:
    admin = f"{API}/admin/search"
    for asking, status in ((client, 401), (sign_in("customer").client, 403)):
        for address in ("status", "queries", "clicks?query=tee", "rules", "synonyms"):
            asking.get(f"{admin}/{address}", status=status)
        for address in ("synonyms", "rules", "reindex"):
            asking.post_json(f"{admin}/{address}", {}, status=status)
        for address in ("synonyms", "rules"):
            asking.delete(f"{admin}/{address}/{uuid4()}", status=status)
