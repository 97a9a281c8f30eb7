"""The OpenAPI document and the pages made from it."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from webtest import TestApp

from commerce_core.api.docs_page import highlighted, prose
from commerce_core.api.examples import Examples
from commerce_core.api.openapi import documented, openapi_bytes
from commerce_core.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def document(client: TestApp) -> Any:
    return client.get("/api/v1/openapi.json").json


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, op) for path, methods in document["paths"].items() for method, op in methods.items()]


def test_the_document_in_docs_is_up_to_date(application: Any) -> None:
    stored = (ROOT / "docs" / "openapi.json").read_bytes()
    assert stored == openapi_bytes(application.registry), "run `make docs`"


def test_what_is_new_and_has_an_address_says_it(document: Any) -> None:
    for path, method, operation in operations(document):
        made = operation["responses"].get("201")
        if made and method == "post" and "get" in document["paths"].get(f"{path}/{{id}}", {}):
            assert "Location" in made["headers"], path


def test_operations_stand_under_their_room_whichever_of_its_files_they_are_in(document: Any) -> None:
    tags = {path: operation["tags"] for path, _, operation in operations(document)}
    assert tags["/api/v1/auth/me"] == tags["/api/v1/admin/users"] == tags["/api/v1/auth/login"] == ["Accounts"]
    assert tags["/api/v1/admin/refunds"] == ["Payments"]
    assert not [tag["name"] for tag in document["tags"] if "views" in tag["name"]]


def test_signing_in_takes_the_cart_token(document: Any) -> None:
    for path in ("/auth/login", "/auth/register/confirm", "/cart/merge", "/cart/lines"):
        assert {"$ref": "#/components/parameters/CartToken"} in document["paths"][f"/api/v1{path}"]["post"][
            "parameters"
        ]


def test_the_command_needs_no_database(application: Any, tmp_path: Path) -> None:
    config = tmp_path / "shop.ini"
    config.write_text(
        "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\nsqlalchemy.url = embedded:///nowhere\n"
    )
    target = tmp_path / "openapi.json"
    runner = CliRunner()
    written = runner.invoke(main, ["openapi", str(config), "--output", str(target)])
    printed = runner.invoke(main, ["openapi", str(config)])
    with config.open("a") as more:
        more.write("commerce.plugins = nobody\n")
    assert runner.invoke(main, ["openapi", "--core", str(config)]).stdout_bytes == printed.stdout_bytes
    assert written.exit_code == printed.exit_code == 0
    assert target.read_bytes() == printed.stdout_bytes == openapi_bytes(application.registry)


def test_every_endpoint_is_documented_once(application: Any, document: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    endpoints = [endpoint for endpoint in application.registry.endpoints if documented(endpoint)]
    assert set(names) == {endpoint.function.__name__ for endpoint in endpoints}
    assert all(operation["summary"] for _, _, operation in operations(document))


def test_every_reference_leads_somewhere(document: Any) -> None:
    for ref in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        found = document
        for part in ref.split("/"):
            found = found[part]


def test_every_placeholder_of_a_path_is_a_parameter(document: Any) -> None:
    for path, _, operation in operations(document):
        declared = {parameter["name"] for parameter in operation["parameters"] if parameter.get("in") == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_example_bodies_are_valid(application: Any, document: Any) -> None:
    examples = Examples(document["components"]["schemas"])
    bodies = {endpoint.function.__name__: endpoint.body for endpoint in application.registry.endpoints if endpoint.body}
    for _, _, operation in operations(document):
        if schema := operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"):
            body = json.dumps(examples.of(schema, sent=True))
            bodies[operation["operationId"]].model_validate_json(body)


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.add(str(given["href"]))
        elif "src" in given or "href" in given:
            self.fetched.append(str(given.get("src") or given.get("href")))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("path", ["/api/v1/docs", "/problems", "/problems/invalid-input"])
def test_a_page_is_whole_and_fetches_nothing(client: TestApp, path: str) -> None:
    response = client.get(path)
    page = Links()
    page.feed(response.text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.fetched == ["data:,"]
    assert "<script" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            client.get(link)


def test_the_page_tells_of_every_operation_and_schema(client: TestApp, document: Any) -> None:
    page = Links()
    page.feed(client.get("/api/v1/docs").text)
    for _, _, operation in operations(document):
        assert operation["operationId"] in page.ids
    for name in document["components"]["schemas"]:
        assert name.endswith("Problem") or f"schema-{name}" in page.ids


def test_what_is_not_ours_is_escaped() -> None:
    assert prose("a <b> & `<i>` [x](/y)") == 'a &lt;b&gt; &amp; <code>&lt;i&gt;</code> <a href="/y">x</a>'
    assert prose("[x](javascript:alert)") == "[x](javascript:alert)"
    assert "<img" not in highlighted({"<img>": '<img src="x">'})


def test_the_commands_can_be_pasted_into_a_shell(client: TestApp) -> None:
    page = client.get("/api/v1/docs").text
    commands = re.findall(r"<code>(curl .*?)</code>", page, re.DOTALL)
    assert len(commands) > 20
    for command in commands:
        words = shlex.split(command.replace("&#34;", '"').replace("&#39;", "'").replace("\\\n", ""))
        if "--json" in words:
            json.loads(words[words.index("--json") + 1])


def test_the_shops_own_address_leads_to_the_reference(client: TestApp) -> None:
    assert client.get("/", status=302).location.endswith("/api/v1/docs")
