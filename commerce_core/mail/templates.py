"""What mails say: Mako templates, `<name>.txt` (its first line is the subject) and, if there is one, `<name>.html`.

A merchant's folder (`mail.templates`) is looked into first, and there also for a language: `<name>.de.txt`. HTML is
escaped. Templates are code: only who may change the shop's files should be able to write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mako.exceptions import TopLevelLookupException
from mako.lookup import TemplateLookup
from mako.template import Template

from commerce_core.settings import MailSettings

_BUILT_IN = Path(__file__).parent / "templates"
# Of the templates that name none.
_LANGUAGE = "en"
_LOCALE = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    subject: str
    text: str
    html: str | None


class Templates:
    """The templates of a shop. `of_plugins` are folders that plugins have brought: the merchant's goes before them."""

    def __init__(self, settings: MailSettings, of_plugins: Iterable[str] = ()) -> None:
        self._shop_name = settings.shop_name
        self._text, self._html = _lookups(
            tuple(folder for folder in (settings.templates, *of_plugins, str(_BUILT_IN)) if folder is not None)
        )

    def write(self, template: str, context: Mapping[str, Any], locale: str) -> Letter:
        """The letter. Raises whatever a template raises; a LookupError when there is none of that name."""
        values = {"shop_name": self._shop_name, **context}
        text, _ = _find(self._text, template, locale, "txt")
        if text is None:
            raise LookupError(f"There is no template {template}.txt.")
        subject, _, body = text.render_unicode(**values).lstrip().partition("\n")
        html, language = _find(self._html, template, locale, "html")
        return Letter(
            # What stands in a header is one line, whatever was put into the template.
            subject=" ".join(subject.split()),
            text=body.strip() + "\n",
            html=None if html is None else html.render_unicode(language=language, **values),
        )


@lru_cache(maxsize=8)
def _lookups(folders: tuple[str, ...]) -> tuple[TemplateLookup, TemplateLookup]:
    """Of texts and of HTML. They keep what they have compiled, which takes 0.1 s, until its file changes."""
    return (
        TemplateLookup(folders, strict_undefined=True),
        TemplateLookup(folders, strict_undefined=True, default_filters=["h"]),
    )


def _find(lookup: TemplateLookup, name: str, locale: str, kind: str) -> tuple[Template | None, str]:
    """The template for a locale, else its language, else any; and the language that it is in, as HTML names it."""
    languages = [locale, locale.partition("_")[0]] if _LOCALE.fullmatch(locale) else []
    for language in languages:
        try:
            return lookup.get_template(f"{name}.{language}.{kind}"), language.replace("_", "-")
        except TopLevelLookupException:
            continue
    try:
        return lookup.get_template(f"{name}.{kind}"), _LANGUAGE
    except TopLevelLookupException:
        return None, _LANGUAGE
