"""What keeps plugins from being loaded: each mistake with its plugin, its place, and how to mend it."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend. `where` is `file:line`, if it has a place."""

    plugin: str
    message: str
    where: str | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.plugin, self.where, self.message) if part)


class BrokenPlugins(Exception):
    """The shop cannot start with these plugins. `mistakes` has all that there is to mend."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        lines = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
        super().__init__(f"The plugins have problems, so the shop does not start:\n{lines}")


def place(file: str | Path | None, line: int | None = None) -> str | None:
    """`file:line`, the file as it is seen from where we are."""
    if file is None:
        return None
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return str(path) if line is None else f"{path}:{line}"


def place_of(thing: Any) -> str | None:
    """Where a function or a class is written."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    code = getattr(thing, "__code__", None)
    if code is not None:
        return place(code.co_filename, code.co_firstlineno)
    try:
        return place(inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1])
    except (OSError, TypeError):
        return None


def place_in_module(module: str, text: str) -> str | None:
    """The first line of a module that holds `text`; the module, if none does."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return place(file)
    return place(file, next((number for number, line in enumerate(lines, 1) if text in line), None))


def place_raised(error: BaseException, package: str) -> str | None:
    """Where in the files of `package` an error came up: the innermost of those lines."""
    if isinstance(error, SyntaxError) and error.filename:
        return place(error.filename, error.lineno)
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_within(frame.f_globals.get("__name__", ""), package)
    ]
    return place(*frames[-1]) if frames else None


def is_within(module: str, package: str) -> bool:
    """Whether a module is a package, or in it."""
    return f"{module}.".startswith(f"{package}.")


def said(error: BaseException) -> str:
    """An error in one line: its class, and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
