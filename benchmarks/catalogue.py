"""Reading the catalogue over HTTP."""

from __future__ import annotations


def bench(*_):
    pass
