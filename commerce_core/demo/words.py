"""Names as parts of addresses."""

from __future__ import annotations

import re


def slugify(name: str) -> str:
    """`name` in lower-case letters and digits, joined by hyphens: "Chef's Knife" is `chefs-knife`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("'", "")).strip("-")
