"""What the tests of the API's ways share: requests that no well-behaved client would send."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from webob import Request, Response


@pytest.fixture
def send(application: Any) -> Callable[..., Response]:
    """`send("POST", "/api/v1/holds", b"...", CONTENT_TYPE=None)`: a request as it is, with its environ changed."""

    def send(method: str, path: str, body: bytes = b"", **environ: Any) -> Response:
        request = Request.blank(path, method=method)
        request.environ.update({"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))})
        request.environ["wsgi.input"] = BytesIO(body)
        for name, value in environ.items():
            if value is None:
                request.environ.pop(name, None)
            else:
                request.environ[name] = value
        return request.get_response(application)

    return send
