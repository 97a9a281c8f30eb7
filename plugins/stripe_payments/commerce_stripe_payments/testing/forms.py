"""Stripe's forms: `metadata[order]=1&items[0][price]=price_1`, and which parameters there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args
from urllib.parse import parse_qsl

from stripe import RequestOptions

from commerce_stripe_payments.testing.failures import Failure, Thing, wrong

_OPTIONS = frozenset(RequestOptions.__annotations__)


def decode(form: str) -> Thing:
    """The form as objects and lists. Values stay text: only who knows the parameter knows what it is."""
    root: Thing = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        head, *rest = name.replace("]", "").split("[")
        _put(root, [head, *rest], value)
    return {key: _listed(value) for key, value in root.items()}


def _put(node: Thing, path: list[str], value: str) -> None:
    for part, following in zip(path, [*path[1:], None], strict=True):
        key = part or str(len(node))
        if following is None:
            node[key] = value
        else:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise wrong(path[0], f"Invalid {path[0]}", "parameter_invalid_string")


def _listed(value: Any) -> Any:
    """Objects whose keys count from 0 are lists."""
    if not isinstance(value, dict):
        return value
    if list(value) == [str(index) for index in range(len(value))] and value:
        return [_listed(item) for item in value.values()]
    return {key: _listed(item) for key, item in value.items()}


class Parameters:
    """The parameters that an endpoint takes: those of the SDK's class for it, plus what older versions called them."""

    def __init__(self, described_by: type, also: Iterable[str] = ()) -> None:
        annotations: Thing = {name: kind for name, kind in described_by.__annotations__.items() if name not in _OPTIONS}
        self.names = frozenset(annotations) | set(also)
        self.required: frozenset[str] = described_by.__required_keys__ - _OPTIONS  # type: ignore[attr-defined]
        self._kinds = {name: (get_args(kind) or (kind,))[0] for name, kind in annotations.items()}

    def check(self, given: Thing) -> Thing:
        """The parameters, those that are numbers or yes and no as such. Raises Failure for one that is not known."""
        for name in given:
            if name not in self.names:
                raise Failure(
                    f"Received unknown parameter: {name}", code="parameter_unknown", param=name, is_kept=False
                )
        for name in sorted(self.required):
            if name not in given:
                raise Failure(f"Missing required param: {name}.", code="parameter_missing", param=name, is_kept=False)
        return {name: self._converted(name, value) for name, value in given.items()}

    def _converted(self, name: str, value: Any) -> Any:
        kind = self._kinds.get(name)
        if kind is int:
            return integer(value, name)
        if kind is bool:
            return truth(value, name)
        return value


def integer(value: Any, param: str) -> int:
    """Raises Failure if it is none."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise wrong(param, f"Invalid integer: {value}", "parameter_invalid_integer") from None


def truth(value: Any, param: str) -> bool:
    """Raises Failure if it is neither."""
    if value not in ("true", "false", True, False):
        raise wrong(param, f"Invalid boolean: {value}", None)
    return value in ("true", True)


def merged_metadata(old: Thing, given: Any) -> Thing:
    """Metadata after a change: an empty value takes a key away, and an empty text all of them."""
    if given is None:
        return dict(old)
    if given == "":
        return {}
    if not isinstance(given, dict):
        raise wrong("metadata", "Invalid object", None)
    new = {key: value for key, value in {**old, **given}.items() if value != ""}
    if len(new) > 50 or any(len(key) > 40 or len(str(value)) > 500 for key, value in new.items()):
        raise wrong("metadata", "Metadata has at most 50 keys of 40 characters, with values of 500.", None)
    return new
