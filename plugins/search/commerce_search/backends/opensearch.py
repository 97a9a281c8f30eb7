"""Search with OpenSearch."""

from __future__ import annotations

from commerce_search.interface import Backend, Place


class OpensearchBackendFactory:
    code = "opensearch"

    def open(self, place: Place) -> Backend:
        raise NotImplementedError
