"""From text to words: what is indexed and what is asked for go through the same mill, whatever the backend."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import snowballstemmer
from whoosh.lang.stopwords import stoplists

# What does not come apart into a letter and an accent.
_LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "\u0131": "i"})
_APOSTROPHES = re.compile(r"(?<=\w)['\u2019\u02bc](?=\w)")
_WORDS = re.compile(r"[^\W_]+")
# Written without spaces: looked for by pairs of signs.
_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]+")
_EDGES = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
LONGEST_WORD = 40
_SHORT = 60
LONGEST_BEGINNING = 12
LANGUAGES = {
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}


def fold(text: str) -> str:
    """Lower case, without accents, compatible forms as one: `Crème` and `CREME` are `creme`."""
    return _short_folded(text) if len(text) <= _SHORT else _folded(text)


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign)).translate(_LIGATURES)


# Long texts are hardly ever the same again, and whoever types them must not fill the memory.
_short_folded = lru_cache(100_000)(_folded)


def words_of(text: str) -> Sequence[str]:
    """The words of a text, folded: letters and digits. `Chef's` is one word, `roll-top` are two."""
    return _short(text) if len(text) <= _SHORT else split(_folded(text))


@lru_cache(100_000)
def _short(text: str) -> Sequence[str]:
    """Names of brands, categories and values come again and again."""
    return tuple(split(_folded(text)))


def split(folded: str) -> list[str]:
    """The words of a folded text."""
    if not folded.isascii() or "'" in folded:
        folded = _APOSTROPHES.sub("", folded)
    found: list[str] = _WORDS.findall(folded)
    if not folded.isascii():
        found = [part for word in found for part in _unspaced(word)]
    if len(folded) > LONGEST_WORD:
        found = [word[:LONGEST_WORD] for word in found]
    return found


def _unspaced(word: str) -> Iterator[str]:
    """A word, but for what is written without spaces: that in pairs of signs."""
    rest = 0
    for run in _UNSPACED.finditer(word):
        if rest < run.start():
            yield word[rest : run.start()]
        if len(run[0]) < 3:
            yield run[0]
        else:
            yield from (run[0][at : at + 2] for at in range(len(run[0]) - 1))
        rest = run.end()
    if rest < len(word):
        yield word[rest:]


def parts_of(word: str) -> list[str]:
    """The parts of a word that mixes letters and digits: `500ml` is `500` and `ml`; empty for any other."""
    if word.isalpha() or word.isdigit():
        return []
    parts = _EDGES.split(word)
    return parts if len(parts) > 1 else []


def beginnings_of(words: Iterable[str]) -> set[str]:
    """All beginnings of these words, for search as you type."""
    return {word[:length] for word in set(words) for length in range(1, min(len(word), LONGEST_BEGINNING) + 1)}


class Analyzer:
    """The stems and stop words of one language."""

    def __init__(self, language: str) -> None:
        """`language` is one of LANGUAGES."""
        stemmer = snowballstemmer.stemmer(LANGUAGES[language])
        lock = threading.Lock()  # a stemmer works on one word at a time

        def stem(word: str) -> str:
            with lock:
                found: str = stemmer.stemWord(word)
                return found

        self._stem = lru_cache(200_000)(stem)
        self._short = lru_cache(100_000)(self._stems)
        self.stop_words = frozenset(fold(word).replace("'", "") for word in stoplists[language])

    def stem(self, word: str) -> str:
        """The stem of a folded word; that of a word with digits is itself."""
        return self._stem(word) if word.isalpha() else word

    def stems(self, text: str) -> Sequence[str]:
        """The stems of a text, each word also in its parts."""
        return self._short(text) if len(text) <= _SHORT else self._stems(text)

    def _stems(self, text: str) -> Sequence[str]:
        found = []
        for word in words_of(text):
            found.append(self.stem(word))
            found += parts_of(word)
        return tuple(found)

    def prose(self, text: str) -> list[str]:
        """The stems of a long text, without its stop words."""
        stem, stop_words = self._stem, self.stop_words
        return [stem(word) for word in words_of(text) if word not in stop_words]
