"""Who finds products by what people type: nobody, until a plugin says `config.set_product_finder(finder)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from commerce_core.catalog.schemas import ProductFilters


@dataclass(frozen=True, slots=True)
class FoundProducts:
    """The ids of a page, best first, and the number of all that were found."""

    ids: Sequence[UUID]
    total: int


class ProductFinder(Protocol):
    """Answers the parameter `q` of `GET /products` and of the lists of categories."""

    def find(
        self, request: Any, text: str, filters: ProductFilters, *, sort: str | None, page: int, per_page: int
    ) -> FoundProducts:
        """What people mean by `text`, among what matches the filters.

        `sort` is one of the list's, or None for the best first. Called in the transaction of the request, for any text
        that is not empty; may raise a Problem.
        """
        ...


def set_product_finder(config: Configurator, finder: ProductFinder) -> None:
    """Directive: let `finder` answer the parameter `q`. There can be one."""
    if config.registry.product_finder is not None:
        raise ConfigurationError("there is a product finder already")
    config.registry.product_finder = finder


def includeme(config: Configurator) -> None:
    config.registry.product_finder = None
    config.add_directive("set_product_finder", set_product_finder)
