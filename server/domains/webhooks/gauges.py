"""Gauges of webhooks, measured every few seconds with queries whose cost is bounded, however much waits."""

import asyncio
import logging
from datetime import datetime

import psycopg
from psycopg_pool import PoolTimeout

from server.domains.webhooks.dispatch import CURSOR
from server.domains.webhooks.metrics import OLDEST_SECONDS, PENDING
from server.domains.webhooks.queues import LATE, open_pool
from server.kernel.clock import Clock, utc_now
from server.kernel.record import EVENT_LAG

log = logging.getLogger("plinth.webhooks")
INTERVAL = 10.0
MOST_COUNTED = 100_000
# Number of webhooks with queues that are searched for due deliveries.
WINDOW = 2000
LOOK = """
WITH RECURSIVE hooks AS (
    (SELECT tenant_id, webhook_id, 1 AS number FROM webhook_queues ORDER BY tenant_id, webhook_id LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.webhook_id, hooks.number + 1
      FROM hooks CROSS JOIN LATERAL (
          SELECT tenant_id, webhook_id FROM webhook_queues
           WHERE (webhook_queues.tenant_id, webhook_queues.webhook_id) > (hooks.tenant_id, hooks.webhook_id)
           ORDER BY tenant_id, webhook_id LIMIT 1) AS following
     WHERE hooks.number < %(window)s
)
SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE status = 1 LIMIT %(most)s) AS waiting) AS pending,
       (SELECT min(due.next_attempt_time)
          FROM hooks
         CROSS JOIN LATERAL (
               SELECT * FROM webhooks
                WHERE webhooks.tenant_id = hooks.tenant_id AND webhooks.id = hooks.webhook_id OFFSET 0) AS webhooks
         CROSS JOIN LATERAL (
               SELECT next_attempt_time FROM webhook_queues
                WHERE webhook_queues.webhook_id = hooks.webhook_id AND next_attempt_time <= %(now)s
                ORDER BY next_attempt_time LIMIT 1) AS due
         WHERE webhooks.enabled AND webhooks.failing_since_time IS NULL
           AND (webhooks.resume_time IS NULL OR webhooks.resume_time <= %(now)s)) AS oldest_due,
       (SELECT news.create_time
          FROM event_cursors AS cursors CROSS JOIN LATERAL (
              SELECT create_time FROM events
               WHERE (transaction_id, sequence) > (cursors.transaction_id::text::xid8, cursors.sequence)
               ORDER BY transaction_id, sequence LIMIT 1) AS news
         WHERE cursors.name = %(cursor)s) AS oldest_event
"""


class WebhookGauges:
    """A background service that updates the gauges of webhooks."""

    def __init__(self, dsn: str, *, name: str, clock: Clock = utc_now) -> None:
        """`dsn` is that of the dispatch role."""
        self._dsn = dsn
        self._name = name
        self._clock = clock

    async def run(self) -> None:
        """Measure until cancelled."""
        async with open_pool(self._dsn, f"plinth {self._name} webhook gauges", size=1, late=INTERVAL + LATE) as pool:
            while True:
                now = self._clock()
                try:
                    async with pool.connection() as connection:
                        bounds = {"most": MOST_COUNTED, "window": WINDOW}
                        cursor = await connection.execute(LOOK, bounds | {"now": now, "cursor": CURSOR})
                        row = await cursor.fetchone()
                except (psycopg.Error, PoolTimeout) as error:
                    log.warning("webhooks cannot be measured: %s", type(error).__name__)
                else:
                    pending, oldest_due, oldest_event = row or (0, None, None)
                    PENDING.set(pending)
                    OLDEST_SECONDS.set(_age(oldest_due, now))
                    EVENT_LAG.labels(CURSOR).set(_age(oldest_event, now))
                await asyncio.sleep(INTERVAL)


def _age(time: datetime | None, now: datetime) -> float:
    return 0.0 if time is None else max(0.0, (now - time).total_seconds())
