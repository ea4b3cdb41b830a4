"""Cancellation: deliveries that wait for a webhook which was disabled for failing are cancelled.

They are cancelled in batches, because there may be many. No progress needs to be stored: the next worker that looks for
work finds a webhook that still has queues.
"""

from datetime import datetime

from server.domains.webhooks.queues import Pool

PIECE = 1000
# Locked until the end of the batch, so that an addition to a queue in between is seen, or creates the queue again.
LOCK = """
SELECT subject FROM webhook_queues WHERE tenant_id = %(tenant)s AND webhook_id = %(webhook)s
 ORDER BY tenant_id, webhook_id, subject LIMIT %(piece)s FOR UPDATE
"""
# Only while the webhook is disabled: it may be enabled in between.
CANCEL = """
UPDATE webhook_deliveries AS deliveries SET status = 4, finish_time = %(now)s, next_attempt_time = NULL
  FROM (SELECT tenant_id, id FROM webhook_deliveries
         WHERE tenant_id = %(tenant)s AND webhook_id = %(webhook)s AND status = 1 LIMIT %(piece)s FOR UPDATE) AS waiting
 WHERE deliveries.tenant_id = waiting.tenant_id AND deliveries.id = waiting.id
   AND EXISTS (SELECT FROM webhooks WHERE tenant_id = %(tenant)s AND id = %(webhook)s
                                      AND NOT enabled AND disable_reason IN (2, 3))
"""
REMOVE = """
DELETE FROM webhook_queues AS queues
 WHERE tenant_id = %(tenant)s AND webhook_id = %(webhook)s AND subject = ANY(%(subjects)s)
   AND (SELECT id FROM webhook_deliveries AS deliveries
         WHERE deliveries.tenant_id = queues.tenant_id AND deliveries.webhook_id = queues.webhook_id
           AND deliveries.subject = queues.subject AND deliveries.status = 1 LIMIT 1) IS NULL
"""


async def cancel_waiting(pool: Pool, tenant_id: str, webhook_id: str, now: datetime) -> int:
    """Cancel the waiting deliveries of a webhook. Returns their number. Raises psycopg.Error; call it again then."""
    key = {"tenant": tenant_id, "webhook": webhook_id, "piece": PIECE, "now": now}
    total = 0
    removed = cancelled = PIECE
    while removed or cancelled:
        async with pool.connection() as connection, connection.transaction():
            queues = await (await connection.execute(LOCK, key)).fetchall()
            cancelled = (await connection.execute(CANCEL, key)).rowcount
            subjects = [subject for (subject,) in queues]
            removed = (await connection.execute(REMOVE, key | {"subjects": subjects})).rowcount
        total += cancelled
    return total
