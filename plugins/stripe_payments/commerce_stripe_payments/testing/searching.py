"""The search language, as far as it is of use here: `metadata['order']:'1' AND status:'succeeded'`."""

from __future__ import annotations

import re

from commerce_stripe_payments.testing.failures import Failure, Thing

_CLAUSE = re.compile(
    r"""(?:metadata\[["'](?P<key>[^"']+)["']\]|(?P<field>status|customer|currency|amount))"""
    r"""\s*:\s*["']?(?P<value>[^"']*)["']?"""
)


def matching(query: str, thing: Thing) -> bool:
    """Whether an object is what the query looks for. Raises Failure for what it does not understand."""
    for clause in re.split(r"\s+AND\s+", query.strip()):
        match = _CLAUSE.fullmatch(clause.strip())
        if match is None:
            raise Failure(f"We were unable to parse your search query: {query}", param="query", is_kept=False)
        value = thing["metadata"].get(match["key"]) if match["key"] else thing.get(match["field"])
        if str(value) != match["value"]:
            return False
    return True
