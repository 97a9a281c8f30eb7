"""The settings of a plugin: a section like those of the core, made by the class that the plugin declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from commerce_core.plugins.mistakes import Mistake, place
from commerce_core.settings import (
    ENVIRONMENT_PREFIX,
    CoreSettings,
    Section,
    did_you_mean,
    message_of,
    placeholder_secrets,
    read_file,
)


def parse_section(name: str, section: type[Section], core: CoreSettings) -> tuple[Section | None, list[Mistake]]:
    """The settings of the plugin `name`, or every mistake in them."""
    given = core.of_plugins.get(name, {})
    known = list(section.model_fields)
    mistakes: list[Mistake] = []
    values: dict[str, Any] = {}

    def blame(key: str, message: str) -> None:
        mistakes.append(Mistake(name, f"{name}.{key}: {message}", where_set(core, name, key)))

    for key, text in given.items():
        if key not in known and key.removesuffix("_file") not in known:
            meant = did_you_mean(f"{name}.{key}", [f"{name}.{field}" for field in known])
            blame(key, f"unknown setting{meant}" if meant else f"unknown setting; there are {_listed(known)}")
            continue
        try:
            field, value = read_file(key, text, known)
        except OSError as error:
            blame(key, f"cannot read {text!r} ({error.strerror})")
            continue
        values[field] = value
    try:
        settings = section.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            key = ".".join(str(part) for part in detail["loc"])
            blame(key, "is required" if detail["type"] == "missing" else message_of(detail))
        return None, mistakes
    if core.commerce.environment == "production":
        mistakes += [Mistake(name, f"{name}.{problem}", _file(core)) for problem in placeholder_secrets(settings)]
    return (None, mistakes) if mistakes else (settings, [])


def unexpected(name: str, given: Mapping[str, str], core: CoreSettings) -> list[Mistake]:
    """The settings of a plugin that has none."""
    return [Mistake(name, f"{name}.{key}: the plugin has no settings", where_set(core, name, key)) for key in given]


def where_set(core: CoreSettings, section: str, key: str) -> str | None:
    """The line of the .ini file that sets a key; its first that could, if it is the environment that does."""
    if core.source is None or not core.source.is_file():
        return None
    pattern = re.compile(rf"\s*{re.escape(section)}\.{re.escape(key)}(_file)?\s*[=:]")
    for number, line in enumerate(core.source.read_text(encoding="utf-8").splitlines(), 1):
        if pattern.match(line):
            return place(core.source, number)
    return f"{ENVIRONMENT_PREFIX}{section}__{key}".upper() if key in core.of_plugins.get(section, {}) else _file(core)


def _file(core: CoreSettings) -> str | None:
    return place(core.source)


def _listed(known: list[str]) -> str:
    return ", ".join(known) if known else "none"
