"""From what people type to what is to be found: stems, synonyms, corrections, beginnings. No operators: people who type
quotes and dashes mean words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from commerce_search.analysis import LONGEST_BEGINNING, Analyzer, fold, parts_of, words_of
from commerce_search.documents import sku_key
from commerce_search.interface import Slot, Word
from commerce_search.spelling import Correction, Vocabulary

# What is typed beyond that says nothing new.
MOST_CHARACTERS = 500
MOST_WORDS = 12
_LONGEST_SYNONYM = 4
_SYNONYM_BOOST = 0.8
_BEGINNING_BOOST = 0.7
_NEIGHBOUR_BOOST = 0.4

Words = tuple[str, ...]


class Frequencies(Protocol):
    def frequency(self, word: str) -> int: ...

    def terms(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]: ...


class Synonyms:
    """What else is looked for, by the stems that it is looked for with."""

    def __init__(self, groups: Iterable[tuple[str | None, Sequence[str]]], analyzer: Analyzer) -> None:
        """`groups` are words that mean the same, each with the only one that finds the others, if there is one."""
        self._others: dict[Words, list[Words]] = {}
        for source, words in groups:
            phrases = [stems for stems in (tuple(map(analyzer.stem, words_of(word))) for word in words) if stems]
            sources = phrases if source is None else [tuple(map(analyzer.stem, words_of(source)))]
            for phrase in sources:
                others = self._others.setdefault(phrase, [])
                others += [other for other in phrases if other != phrase and other not in others]

    def at(self, stems: Sequence[str], place: int) -> tuple[int, Sequence[Words]]:
        """How many words from here on have synonyms together, and which; (0, ()) if they have none."""
        for length in range(min(_LONGEST_SYNONYM, len(stems) - place), 0, -1):
            others = self._others.get(tuple(stems[place : place + length]))
            if others:
                return length, others
        return 0, ()


@dataclass(frozen=True, slots=True)
class Understood:
    """What was typed, as it is asked for. `corrected` is what people seem to have meant, if that is something else.

    `words` are those typed, folded.
    """

    words: Words
    slots: tuple[Slot, ...]
    corrected: str | None = None
    first: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return " ".join(self.words)

    @property
    def stems(self) -> frozenset[str]:
        """Those that may be found."""
        return frozenset(word.text for word in self._each() if not word.is_beginning)

    @property
    def beginnings(self) -> frozenset[str]:
        """Those that may be found."""
        return frozenset(word.text for word in self._each() if word.is_beginning)

    def _each(self) -> Iterator[Word]:
        return (word for slot in self.slots for alternative in slot.alternatives for word in alternative)


class Interpreter:
    """Understands queries in the words of one shop, as it is now."""

    def __init__(
        self, analyzer: Analyzer, frequencies: Frequencies, vocabulary: Vocabulary, synonyms: Synonyms
    ) -> None:
        self._analyzer = analyzer
        self._known = frequencies
        self._vocabulary = vocabulary
        self._synonyms = synonyms

    def understand(self, text: str, *, as_you_type: bool = False) -> Understood:
        """`as_you_type`: the last word may be unfinished."""
        text = text[:MOST_CHARACTERS]
        words = words_of(text)[:MOST_WORDS]
        if not words:
            return Understood((), ())
        is_unfinished = as_you_type and not text[-1].isspace()
        wanted = self._without_stop_words(words, keep_last=is_unfinished)
        stems = [self._analyzer.stem(word) for word in wanted]
        slots: list[Slot] = []
        corrected: dict[str, str] = {}
        place = 0
        while place < len(wanted):
            is_last = place == len(wanted) - 1
            length, others = self._synonyms.at(stems, place)
            if length:
                slot = _slot(tuple(stems[place : place + length]))
                slots.append(_with(slot, [_words(other, _SYNONYM_BOOST) for other in others]))
                if is_unfinished and place + length == len(wanted) and length == 1:
                    slots[-1] = _with(slots[-1], [_beginning(wanted[place])])
                place += length
                continue
            joined = None if is_last else self._joined(wanted[place], wanted[place + 1])
            if joined is not None:
                slots.append(_with(_slot((stems[place], stems[place + 1])), [_words((joined,))]))
                place += 2
                continue
            if is_unfinished and is_last:
                slots.append(self._unfinished(wanted[place], corrected))
            else:
                slots.append(self._slot_of(wanted[place], corrected))
            place += 1
        meant = " ".join(corrected.get(word, word) for word in words) if corrected else None
        return Understood(tuple(words), tuple(slots), meant, (sku_key(fold(text)),))

    def generously(self, understood: Understood) -> Understood | None:
        """With the neighbours of known words, too, for when nothing was found; None if there are none."""
        slots = []
        for slot in understood.slots:
            alternative = slot.alternatives[0]
            typed = next((word for word in understood.words if alternative[0].text == self._analyzer.stem(word)), None)
            near = self._vocabulary.corrections(typed, 1) if typed and len(typed) > 3 and typed.isalpha() else ()
            slots.append(_with(slot, [self._correction(each, _NEIGHBOUR_BOOST) for each in near]))
        if tuple(slots) == understood.slots:
            return None
        return replace(understood, slots=tuple(slots))

    def _without_stop_words(self, words: Sequence[str], *, keep_last: bool) -> list[str]:
        stop_words = self._analyzer.stop_words
        rest = [
            word
            for place, word in enumerate(words)
            if word not in stop_words or (keep_last and place == len(words) - 1)
        ]
        return list(dict.fromkeys(rest)) or list(words)

    def _slot_of(self, word: str, corrected: dict[str, str]) -> Slot:
        """A word that is finished. What it seems to have been meant for is put into `corrected`."""
        stem = self._analyzer.stem(word)
        slot = _slot((stem,))
        parts = parts_of(word)
        if parts:
            slot = _with(slot, [_words(tuple(parts))])
        if not word.isalpha() or self._known.frequency(stem):
            return slot
        split = self._vocabulary.split(word)
        if split is not None:
            corrected[word] = " ".join(split)
            return _with(slot, [_words(tuple(map(self._analyzer.stem, split)))])
        near = self._vocabulary.corrections(word)
        if len(word) > 2 and self._known.terms(word, 1):
            # It is the beginning of something, which is likelier than that it is wrong in its last letters.
            return _with(slot, [_beginning(word), *(self._correction(each, 0.3) for each in near)])
        if near:
            corrected[word] = near[0].word
        return _with(slot, [self._correction(each) for each in near])

    def _unfinished(self, word: str, corrected: dict[str, str]) -> Slot:
        stem = self._analyzer.stem(word)
        slot = _with(_slot((stem,)), [_beginning(word)])
        if not word.isalpha() or len(word) < 3 or self._known.frequency(stem) or self._known.terms(word, 1):
            return slot
        near = self._vocabulary.corrected_beginning(word)
        if near:
            return _with(slot, [_beginning(each) for each in near])
        return _with(self._slot_of(word, corrected), [_beginning(word)])

    def _joined(self, word: str, following: str) -> str | None:
        """The stem of both as one word, if the shop knows that, and not each of them."""
        if not (word.isalpha() and following.isalpha()):
            return None
        stem = self._analyzer.stem(word + following)
        if self._known.frequency(stem) == 0:
            return None
        known = all(self._known.frequency(self._analyzer.stem(each)) for each in (word, following))
        return None if known else stem

    def _correction(self, correction: Correction, boost: float = 1.0) -> tuple[Word, ...]:
        return (Word(self._analyzer.stem(correction.word), round(correction.boost * boost, 3)),)


def _slot(stems: Words) -> Slot:
    return Slot((_words(stems),))


def _words(stems: Words, boost: float = 1.0) -> tuple[Word, ...]:
    return tuple(Word(stem, boost) for stem in stems)


def _beginning(word: str) -> tuple[Word, ...]:
    return (Word(word[:LONGEST_BEGINNING], _BEGINNING_BOOST, is_beginning=True),)


def _with(slot: Slot, alternatives: Iterable[tuple[Word, ...]]) -> Slot:
    """With more alternatives; of two of the same words, the first counts."""
    known: dict[tuple[tuple[str, bool], ...], tuple[Word, ...]] = {}
    for words in (*slot.alternatives, *alternatives):
        known.setdefault(tuple((word.text, word.is_beginning) for word in words), words)
    return Slot(tuple(known.values()))
