"""Proves that the stock adds up: counters, open holds and ledger tell the same story for every variant."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that does not add up. `subject` is the variant or hold it was found on."""

    rule: str
    subject: str
    detail: str


# Each rule is a query that returns (subject, detail) for what breaks it, and nothing when all is well.
RULES = {
    "a counter is negative or oversold": """
        SELECT variant_id, format('on hand %s, reserved %s', on_hand, reserved) FROM stock_level
        WHERE on_hand < 0 OR reserved < 0 OR (reserved > on_hand AND NOT allow_backorder)""",
    "reserved differs from the open holds": """
        SELECT level.variant_id, format('reserved %s, open holds %s', level.reserved, coalesce(open.reserved, 0))
        FROM stock_level AS level LEFT JOIN (
            SELECT variant_id, sum(reserved) AS reserved FROM hold
            WHERE state = 'active' OR (state = 'converted' AND sold_at IS NULL) GROUP BY variant_id
        ) AS open USING (variant_id)
        WHERE level.reserved <> coalesce(open.reserved, 0)""",
    "the counters differ from the ledger": """
        SELECT level.variant_id, format('on hand %s, reserved %s, version %s; ledger %s, %s, %s', level.on_hand,
            level.reserved, level.version, ledger.on_hand, ledger.reserved, ledger.moves)
        FROM stock_level AS level LEFT JOIN (
            SELECT variant_id, sum(on_hand_delta) AS on_hand, sum(reserved_delta) AS reserved, count(*) AS moves
            FROM stock_movement GROUP BY variant_id
        ) AS ledger USING (variant_id)
        WHERE (level.on_hand, level.reserved, level.version)
            IS DISTINCT FROM (coalesce(ledger.on_hand, 0), coalesce(ledger.reserved, 0), coalesce(ledger.moves, 0))""",
    "a line of the ledger does not follow from the one before": """
        SELECT variant_id, format('version %s', version) FROM (
            SELECT *, lag(on_hand_after, 1, 0) OVER w AS on_hand_before, lag(reserved_after, 1, 0) OVER w AS
                reserved_before, lag(version, 1, 0::bigint) OVER w AS version_before
            FROM stock_movement WINDOW w AS (PARTITION BY variant_id ORDER BY version)
        ) AS line
        WHERE version <> version_before + 1 OR on_hand_after <> on_hand_before + on_hand_delta
            OR reserved_after <> reserved_before + reserved_delta""",
    "a hold and its movements disagree": """
        SELECT hold.id, format('%s of %s: taken %s, given back %s, sold %s', hold.state, hold.reserved,
            moves.taken, moves.given_back, moves.sold)
        FROM hold LEFT JOIN (
            SELECT hold_id, sum(reserved_delta) FILTER (WHERE kind = 'hold') AS taken,
                -sum(reserved_delta) FILTER (WHERE kind IN ('release', 'expire')) AS given_back,
                -sum(reserved_delta) FILTER (WHERE kind = 'sale') AS sold
            FROM stock_movement WHERE hold_id IS NOT NULL GROUP BY hold_id
        ) AS moves ON moves.hold_id = hold.id
        WHERE coalesce(moves.taken, 0) <> hold.reserved
            OR coalesce(moves.given_back, 0) <> CASE WHEN hold.state IN ('released', 'expired') THEN hold.reserved
                ELSE 0 END
            OR coalesce(moves.sold, 0) <> CASE WHEN hold.sold_at IS NOT NULL THEN hold.reserved ELSE 0 END""",
    "a movement names a hold that does not exist": """
        SELECT variant_id, format('version %s', version) FROM stock_movement AS m
        WHERE hold_id IS NOT NULL AND NOT EXISTS (SELECT FROM hold WHERE hold.id = m.hold_id)""",
    "a product miscounts its sellable variants": """
        SELECT product.id, format('%s, counted %s', product.sellable_variants, coalesce(count.sellable, 0))
        FROM product LEFT JOIN (
            SELECT product_id, count(*) AS sellable FROM stock_level JOIN variant ON variant.id = variant_id
            WHERE deleted_at IS NULL AND (policy = 'ignore' OR allow_backorder OR on_hand > reserved)
            GROUP BY product_id
        ) AS count ON count.product_id = product.id
        WHERE product.sellable_variants <> coalesce(count.sellable, 0)""",
    # Of a paid backorder that waited, refunded units have left the hold; of what was sold, they have not.
    "an order's line has no stock": """
        SELECT line.id, format('order %s, hold %s of %s', orders.number, hold.state, hold.quantity)
        FROM order_line AS line JOIN orders ON orders.id = line.order_id LEFT JOIN hold ON hold.id = line.hold_id
        LEFT JOIN (
            SELECT line_id, sum(released_quantity) AS units FROM refund_line GROUP BY line_id
        ) AS released ON released.line_id = line.id
        WHERE orders.status IN ('pending', 'processing', 'completed')
            AND line.quantity > coalesce(released.units, 0)
            AND (hold.id IS NULL OR hold.state <> 'converted'
                OR hold.quantity <> line.quantity - coalesce(released.units, 0))""",
    "a cancelled order keeps its stock": """
        SELECT line.id, format('order %s, hold %s', orders.number, hold.state)
        FROM order_line AS line JOIN orders ON orders.id = line.order_id JOIN hold ON hold.id = line.hold_id
        WHERE orders.status = 'cancelled' AND hold.state = 'converted'
            AND (hold.sold_at IS NULL OR line.cancelled_quantity < line.quantity)""",
    "units were shipped that were not there": """
        SELECT line.id, format('order %s', orders.number)
        FROM order_line AS line JOIN orders ON orders.id = line.order_id JOIN hold ON hold.id = line.hold_id
        WHERE line.fulfilled_quantity > 0 AND hold.sold_at IS NULL""",
    "a line's units differ from its fulfillments and refunds": """
        SELECT line.id, format('fulfilled %s of %s shipped, cancelled %s and returned %s of %s refunded',
            fulfilled_quantity, coalesce(shipped.units, 0), cancelled_quantity, returned_quantity,
            coalesce(refunded.units, 0))
        FROM order_line AS line LEFT JOIN (
            SELECT line_id, sum(quantity) AS units
            FROM fulfillment_line JOIN fulfillment ON fulfillment.id = fulfillment_id AND status = 'shipped'
            GROUP BY line_id
        ) AS shipped ON shipped.line_id = line.id LEFT JOIN (
            SELECT line_id, sum(quantity) AS units FROM refund_line GROUP BY line_id
        ) AS refunded ON refunded.line_id = line.id
        WHERE fulfilled_quantity <> coalesce(shipped.units, 0)
            OR cancelled_quantity + returned_quantity <> coalesce(refunded.units, 0)""",
    "an order's states differ from what became of its units": """
        SELECT orders.id, format('order %s is %s and %s', orders.number, status, fulfillment_status)
        FROM orders JOIN (
            SELECT order_id, sum(fulfilled_quantity) AS fulfilled, sum(returned_quantity) AS returned,
                sum(quantity - fulfilled_quantity - cancelled_quantity) AS remaining
            FROM order_line GROUP BY order_id
        ) AS units ON units.order_id = orders.id
        WHERE (status = 'processing' AND remaining = 0) OR (status = 'completed' AND (remaining > 0 OR fulfilled = 0))
            OR (status IN ('pending', 'cancelled') AND fulfilled > 0)
            OR fulfillment_status <> CASE WHEN fulfilled = 0 THEN 'unfulfilled' WHEN remaining > 0 THEN 'partial'
                WHEN returned = fulfilled THEN 'returned' ELSE 'fulfilled' END""",
    "what refunds have restocked is not in the ledger": """
        SELECT variant_id, format('order %s: refunds %s, ledger %s', order_id, coalesce(restocked.units, 0),
            coalesce(moved.units, 0))
        FROM (
            SELECT order_id, variant_id, sum(restocked_quantity) AS units
            FROM refund_line JOIN order_line AS line ON line.id = line_id GROUP BY order_id, variant_id
        ) AS restocked FULL JOIN (
            SELECT order_id, variant_id, sum(on_hand_delta) AS units FROM stock_movement
            WHERE kind = 'return' AND order_id IS NOT NULL GROUP BY order_id, variant_id
        ) AS moved USING (order_id, variant_id)
        WHERE coalesce(restocked.units, 0) <> coalesce(moved.units, 0)""",
    "refunds differ from what the payment says of them": """
        SELECT payment.id, format('refunds %s, payment %s of %s', coalesce(refunds.amount, 0), refund_total,
            payment.amount)
        FROM payment LEFT JOIN (
            SELECT payment_id, sum(amount) AS amount FROM refund GROUP BY payment_id
        ) AS refunds ON refunds.payment_id = payment.id
        WHERE refund_total <> coalesce(refunds.amount, 0) OR refund_total > payment.amount""",
    "an order's payment status differs from the money": """
        SELECT orders.id, format('order %s is %s: %s paid, %s given back', orders.number, payment_status,
            payment.amount, coalesce(refunds.amount, 0))
        FROM orders JOIN payment ON payment.order_id = orders.id AND payment.status IN ('paid', 'refunded')
            AND NOT surplus AND payment.amount > 0
        LEFT JOIN (
            SELECT payment_id, sum(amount) AS amount FROM refund WHERE status = 'succeeded' GROUP BY payment_id
        ) AS refunds ON refunds.payment_id = payment.id
        WHERE payment_status <> CASE WHEN coalesce(refunds.amount, 0) = 0 THEN 'paid'
            WHEN refunds.amount < payment.amount THEN 'partially_refunded' ELSE 'refunded' END""",
    "money was taken, and there is neither an order nor a refund": """
        SELECT payment.id, format('order %s is %s', orders.number, orders.status)
        FROM payment JOIN orders ON orders.id = payment.order_id
        WHERE payment.status = 'paid' AND payment.amount > 0 AND orders.status IN ('pending', 'cancelled')
            AND NOT EXISTS (SELECT FROM refund WHERE refund.payment_id = payment.id)""",
    "a payment came twice, and does not go back": """
        SELECT payment.id, format('order %s', orders.number)
        FROM payment JOIN orders ON orders.id = payment.order_id
        WHERE surplus AND payment.status IN ('paid', 'refunded') AND refund_total < payment.amount""",
}


def verify_stock(session: Session) -> list[Discrepancy]:
    """Check every rule against one snapshot of the database. Takes no locks; reads everything."""
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    session.execute(text("SET LOCAL statement_timeout = 0"))
    return [
        Discrepancy(rule, str(subject), detail)
        for rule, query in RULES.items()
        for subject, detail in session.execute(text(query))
    ]
