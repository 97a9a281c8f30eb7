"""A CSV file as records, read line by line: never more of it in memory than one row.

UTF-8 (with or without a byte order mark), separated by commas, semicolons or tabs, whichever the header uses. What
cannot be read is an error of its row, not the end of the file, as long as it is clear where the next row begins.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Iterator
from typing import IO

from commerce_core.imports.reports import Progress, Report

MOST_LINE_BYTES = 262_144
MOST_COLUMNS = 1_000
_EVERY = 1_000


class CsvFile:
    """The rows of a file: its header, then its records as lists of cells, as long as the header."""

    def __init__(self, file: IO[bytes], report: Report, progress: Progress) -> None:
        self._file = file
        self._report = report
        self._progress = progress
        self._bytes = 0
        self._row = 0
        self._is_lost = False
        self._bad_encoding = False
        self.header: list[str] = []
        first = next(self._lines(), "")
        self._reader = csv.reader(self._again(first), delimiter=_delimiter(first), strict=True)

    def read_header(self, known: Collection[str], prefixes: Collection[str], required: Collection[str]) -> bool:
        """Read the names of the columns; whether they can be used. `prefixes` begin names that may be anything."""
        cells = self._next()
        names = [] if cells is None else [cell.strip() for cell in cells]
        self.header = names
        errors_before = self._report.error_count
        if len(names) > MOST_COLUMNS:
            self._report.add(1, None, "too_many_columns", f"a file has at most {MOST_COLUMNS} columns")
            return False
        for place, name in enumerate(names):
            prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
            if name in names[:place]:
                self._report.add(1, name, "duplicate_column", "is there twice")
            elif prefix is not None:
                if not 0 < len(name) - len(prefix) <= 64 or "\x00" in name:
                    self._report.add(1, name[:100], "invalid_column", "needs a name of 1 to 64 characters")
            elif name not in known:
                self._report.add(1, name[:100], "unknown_column", f"is not a column{_suggestion(name, known)}")
        for name in required:
            if name not in names:
                self._report.add(1, name, "missing_column", "the file needs this column")
        return self._report.error_count == errors_before

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """The row number and the cells of every record that can be read; empty lines are none."""
        while (cells := self._next()) is not None:
            if not any(cells):
                continue
            self._report.rows += 1
            if self._report.rows % _EVERY == 0:
                self._progress(self._bytes, self._report.rows)
            if self._bad_encoding:
                self._bad_encoding = False
                self._report.add(self._row, None, "not_utf8", "is not UTF-8; save the file as UTF-8")
            elif len(cells) != len(self.header):
                message = f"has {len(cells)} cells, the header {len(self.header)}"
                self._report.add(self._row, None, "wrong_length", message)
            elif any("\x00" in cell for cell in cells):
                self._report.add(self._row, None, "nul_character", "holds the NUL character")
            else:
                yield self._row, cells
        self._progress(self._bytes, self._report.rows)

    def _next(self) -> list[str] | None:
        while True:
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                self._row += 1
                self._report.rows += 1
                self._report.add(self._row, None, "not_csv", f"cannot be read ({error})")
                continue
            if cells is not None:
                self._row += 1
            return cells

    def _again(self, first: str) -> Iterator[str]:
        yield first
        yield from self._lines()

    def _lines(self) -> Iterator[str]:
        while not self._is_lost and (line := self._file.readline(MOST_LINE_BYTES)):
            if self._bytes == 0:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    self._report.add(1, None, "not_utf8", "is UTF-16; save the file as UTF-8")
                    self._is_lost = True
                    return
                line = line.removeprefix(b"\xef\xbb\xbf") or b"\n"
            self._bytes += len(line)
            if len(line) >= MOST_LINE_BYTES and not line.endswith(b"\n"):
                message = f"has a line of more than {MOST_LINE_BYTES} bytes; the file was not read on"
                self._report.add(self._row + 1, None, "line_too_long", message)
                self._is_lost = True
                return
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self._bad_encoding = True
                yield line.decode(errors="replace")


def _delimiter(header: str) -> str:
    """Whichever of them the header has most of."""
    return max(",;\t", key=header.count)


def _suggestion(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.lower().replace(" ", "_"), known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
