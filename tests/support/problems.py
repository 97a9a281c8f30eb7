"""What tests over HTTP say of problems."""

from __future__ import annotations

from typing import Any

from webob import Response


def assert_problem(response: Response, status: int, slug: str) -> dict[str, Any]:
    """The answer is that problem; its body."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = response.json
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"] == f"urn:request:{response.headers['X-Request-ID']}"
    assert problem["title"]
    assert problem["detail"]
    return problem
