"""`commerce`, with the guard taken out of the statement that takes stock. For the negative control only.

`unguarded.py "no guard" web ...` takes without looking. `unguarded.py "read, then take" web ...` does what a naive shop
does: it looks whether there is enough, and takes in a second statement. A web worker runs this file, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import psycopg

from commerce_core.cli import main
from commerce_core.stock import desk

GUARD = "AND (policy = 'ignore' OR allow_backorder OR on_hand - reserved >= %(total)s::int)"
ENOUGH = "SELECT on_hand - reserved >= %s FROM stock_level WHERE variant_id = %s"

take_without_looking = desk.take


def look_then_take(cursor: psycopg.Cursor[Any], requests: Sequence[desk.HoldRequest]) -> Any:
    total = sum(request.quantity for request in requests)
    [enough] = cursor.execute(ENOUGH, (total, requests[0].variant_id)).fetchone()  # type: ignore[misc]
    return take_without_looking(cursor, requests) if enough else None


def remove_guard(control: str) -> None:
    for name in ("TAKE", "TAKE_WITH_KEYS"):
        statement = getattr(desk, name)
        assert GUARD in statement
        setattr(desk, name, statement.replace(GUARD, ""))
    if control == "read, then take":
        desk.take = look_then_take


# A worker that is spawned, not forked, imports this file anew and knows the control from its parent.
remove_guard(os.environ.setdefault("NEGATIVE_CONTROL", sys.argv[1]))
if __name__ == "__main__":
    del sys.argv[1]
    main()
