"""The SQL that moves stock. Each statement changes counters, holds and ledger together, so each is atomic on its own.

Written for psycopg (`%(name)s`), to be run by the hold desk on an autocommit connection, or inside a session's
transaction. A level's row is locked from its UPDATE to the end of the transaction. Lock order, everywhere: order,
holds, then levels by ascending variant id.
"""

from __future__ import annotations

# How many lapsed holds one statement gives back: it must be done within the time-out, and is run again for more.
RECLAIM_LIMIT = 2_000

_SELLABLE = """
    EXISTS (
        SELECT FROM variant JOIN product ON product.id = variant.product_id
        WHERE variant.id = {variant_id} AND variant.deleted_at IS NULL
          AND product.status = 'active' AND product.deleted_at IS NULL AND product.published_at IS NOT NULL
    )"""
SELLABLE = _SELLABLE.format(variant_id="%(variant_id)s")

# Take stock for one or several holds of one variant: all of them, or, where the total does not fit, none and no row.
# Nothing is read first, and no lock is taken when it does not fit.
_TAKE = f"""
WITH wanted AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(quantities)s::int[], %(owners)s::text[],
        %(created_at)s::timestamptz[], %(expires_at)s::timestamptz[]
    ) WITH ORDINALITY AS w (id, quantity, owner, created_at, expires_at, place)
), taken AS (
    UPDATE stock_level SET
        reserved = reserved + CASE policy WHEN 'track' THEN %(total)s::int ELSE 0 END,
        version = version + CASE policy WHEN 'track' THEN %(count)s::int ELSE 0 END
    WHERE variant_id = %(variant_id)s
      AND (policy = 'ignore' OR allow_backorder OR on_hand - reserved >= %(total)s::int)
      AND {SELLABLE}
    RETURNING on_hand, reserved, version, policy, allow_backorder
), held AS (
    INSERT INTO hold (id, variant_id, quantity, reserved, owner, created_at, expires_at)
    SELECT id, %(variant_id)s, quantity, CASE policy WHEN 'track' THEN quantity ELSE 0 END,
           owner, created_at, expires_at
    FROM wanted, taken
), moved AS (
    INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                                hold_id, actor, created_at)
    SELECT %(variant_id)s, taken.version - %(count)s::int + place, 'hold', 0, quantity, taken.on_hand,
           taken.reserved - %(total)s::int + sum(quantity) OVER (ORDER BY place), id, owner, created_at
    FROM wanted, taken WHERE policy = 'track'
)"""

# The same with idempotency keys: a key that was used before violates the primary key, and everything is undone.
_KEYS = """, keyed AS (
    INSERT INTO idempotency_key (actor, key, fingerprint, status, body, created_at)
    SELECT k.* FROM taken, unnest(
        %(key_actors)s::text[], %(keys)s::text[], %(fingerprints)s::bytea[], %(statuses)s::int[], %(bodies)s::bytea[],
        %(key_times)s::timestamptz[]
    ) AS k
)"""

_TAKEN = " SELECT on_hand, reserved, version, policy, allow_backorder FROM taken"

TAKE = _TAKE + _TAKEN
TAKE_WITH_KEYS = _TAKE + _KEYS + _TAKEN

# Give back what a variant's lapsed holds had reserved (at most RECLAIM_LIMIT of them), and say how things stand: no
# row for an unknown variant. Holds that another transaction is busy with are left to it.
RECLAIM = f"""
WITH lapsed AS (
    SELECT id FROM hold
    WHERE variant_id = %(variant_id)s AND state = 'active' AND expires_at <= %(now)s
    ORDER BY expires_at LIMIT {RECLAIM_LIMIT} FOR UPDATE SKIP LOCKED
), expired AS (
    UPDATE hold SET state = 'expired', closed_at = %(now)s FROM lapsed WHERE hold.id = lapsed.id
    RETURNING hold.id, hold.reserved, hold.owner
), counted AS (
    SELECT *, row_number() OVER (ORDER BY id) AS place, sum(reserved) OVER (ORDER BY id) AS so_far
    FROM expired WHERE reserved > 0
), totals AS (
    SELECT count(*) AS count, sum(reserved) AS total FROM counted
), freed AS (
    UPDATE stock_level SET reserved = reserved - total, version = version + count
    FROM totals WHERE variant_id = %(variant_id)s AND count > 0
    RETURNING on_hand, reserved, version, count, total
), moved AS (
    INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                                hold_id, actor, created_at)
    SELECT %(variant_id)s, freed.version - freed.count + place, 'expire', 0, -counted.reserved, freed.on_hand,
           freed.reserved + freed.total - so_far, id, owner, %(now)s
    FROM counted, freed
)
SELECT coalesce(freed.on_hand, level.on_hand) AS on_hand, coalesce(freed.reserved, level.reserved) AS reserved,
       coalesce(freed.version, level.version) AS version, level.policy, level.allow_backorder,
       (SELECT count(*) FROM expired) AS expired, {SELLABLE} AS sellable,
       (SELECT min(expires_at) FROM hold
        WHERE variant_id = %(variant_id)s AND state = 'active' AND expires_at > %(now)s) AS next_expiry
FROM stock_level AS level LEFT JOIN freed ON true
WHERE level.variant_id = %(variant_id)s
"""

# Any other movements of one variant, in the order given. A CHECK refuses what would leave too little.
MOVE = """
WITH wanted AS (
    SELECT * FROM unnest(
        %(kinds)s::text[], %(on_hand_deltas)s::int[], %(reserved_deltas)s::int[], %(hold_ids)s::uuid[]
    ) WITH ORDINALITY AS w (kind, on_hand_delta, reserved_delta, hold_id, place)
), totals AS (
    SELECT count(*) AS count, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved FROM wanted
), moved AS (
    UPDATE stock_level AS level SET
        on_hand = level.on_hand + totals.on_hand,
        reserved = level.reserved + totals.reserved,
        version = level.version + totals.count
    FROM totals WHERE variant_id = %(variant_id)s
    RETURNING level.*, totals.count AS moves, totals.on_hand AS on_hand_change, totals.reserved AS reserved_change
), recorded AS (
    INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                                hold_id, order_id, actor, reason, created_at)
    SELECT moved.variant_id, moved.version - moves + place, kind, on_hand_delta, reserved_delta,
           moved.on_hand - on_hand_change + sum(on_hand_delta) OVER (ORDER BY place),
           moved.reserved - reserved_change + sum(reserved_delta) OVER (ORDER BY place),
           hold_id, %(order_id)s, %(actor)s, %(reason)s, %(now)s
    FROM wanted, moved
)
SELECT on_hand, reserved, version FROM moved
"""

# Several variants at once, in two steps: their levels are locked in the order of their ids and looked at ...
LOCK_LEVELS = f"""
SELECT level.variant_id, on_hand, reserved, policy, allow_backorder,
       {_SELLABLE.format(variant_id="level.variant_id")} AS sellable
FROM stock_level AS level WHERE level.variant_id = ANY(%(variant_ids)s::uuid[])
ORDER BY level.variant_id FOR NO KEY UPDATE OF level
"""

# ... and then one hold is placed on each, whose level is known to have enough (a CHECK refuses what would not fit).
TAKE_SEVERAL = """
WITH wanted AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(variant_ids)s::uuid[], %(quantities)s::int[]
    ) AS w (id, variant_id, quantity)
), taken AS (
    UPDATE stock_level AS level SET reserved = level.reserved + wanted.quantity, version = level.version + 1
    FROM wanted WHERE level.variant_id = wanted.variant_id AND level.policy = 'track'
    RETURNING wanted.id, wanted.quantity, level.variant_id, level.on_hand, level.reserved, level.version
), held AS (
    INSERT INTO hold (id, variant_id, quantity, reserved, owner, state, created_at, expires_at, closed_at, order_id)
    SELECT wanted.id, wanted.variant_id, wanted.quantity, coalesce(taken.quantity, 0), %(owner)s,
           CASE WHEN %(order_id)s::uuid IS NULL THEN 'active' ELSE 'converted' END, %(now)s, %(expires_at)s,
           CASE WHEN %(order_id)s::uuid IS NOT NULL THEN %(now)s::timestamptz END, %(order_id)s
    FROM wanted LEFT JOIN taken ON taken.id = wanted.id
), moved AS (
    INSERT INTO stock_movement (variant_id, version, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after,
                                hold_id, order_id, actor, created_at)
    SELECT variant_id, version, 'hold', 0, quantity, on_hand, reserved, id, %(order_id)s, %(owner)s, %(now)s FROM taken
)
SELECT id, variant_id, on_hand, reserved, version FROM taken
"""
