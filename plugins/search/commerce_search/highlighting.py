"""Showing why something was found: its words in `<mark>`, as HTML that is safe to show."""

from __future__ import annotations

import html
import re
from collections.abc import Collection

from commerce_search.analysis import Analyzer, fold

_WORDS = re.compile(r"[^\W_]+(?:['\u2019\u02bc][^\W_]+)*")
_SNIPPET = 180


def highlighted(text: str, stems: Collection[str], beginnings: Collection[str], analyzer: Analyzer) -> str | None:
    """The text with the words that have one of these stems, or begin so, marked; None if there are none."""
    parts, at = [], 0
    for match in _WORDS.finditer(text):
        word = fold(match[0]).replace("'", "").replace("\u2019", "").replace("\u02bc", "")
        if analyzer.stem(word) in stems or word in stems or any(map(word.startswith, beginnings)):
            parts += [html.escape(text[at : match.start()]), f"<mark>{html.escape(match[0])}</mark>"]
            at = match.end()
    if not parts:
        return None
    return "".join(parts) + html.escape(text[at:])


def snippet(text: str, stems: Collection[str], beginnings: Collection[str], analyzer: Analyzer) -> str | None:
    """The part of a long text around the first of these words, marked; None if there are none."""
    text = " ".join(text[:10_000].split())
    first = next(
        (
            match.start()
            for match in _WORDS.finditer(text)
            if analyzer.stem(fold(match[0])) in stems or any(map(fold(match[0]).startswith, beginnings))
        ),
        None,
    )
    if first is None:
        return None
    start = max(0, first - _SNIPPET // 3)
    if start:
        start = text.find(" ", start, first) + 1 or start
    end = start + _SNIPPET
    if end < len(text):
        end = text.rfind(" ", first, end) if text.rfind(" ", first, end) > first else end
    marked = highlighted(text[start:end], stems, beginnings, analyzer)
    return f"{'… ' if start else ''}{marked or html.escape(text[start:end])}{' …' if end < len(text) else ''}"
