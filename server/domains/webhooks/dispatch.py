"""Dispatch: events are queued for the webhooks that subscribe to them, each event once per webhook.

One statement locks the cursor, reads the next events of the log, adds the deliveries and their queues, and moves the
cursor. A worker that dies in between has done nothing. The worker that gets the cursor does the work; the others find
nothing to do.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import psycopg
from psycopg_pool import PoolTimeout

from server.data.events import READ_HORIZON
from server.domains.webhooks.queues import Pool, open_pool
from server.kernel.clock import Clock, utc_now
from server.kernel.hints import PACE, HintListener, Hints

log = logging.getLogger("plinth.webhooks")
CURSOR = "webhooks"
BATCH = 500
# Seconds between two reads of the log without a hint.
POLL = 0.5
# After a hint without a visible event, because an older transaction is still running: seconds until the next looks.
SOON = 0.01
LESS_SOON = 0.1
LOOKS = 8
RECONNECT = 0.5
# Seconds between two updates of the horizon, which is computed despite open transactions of other databases.
LOOK = 1.0

Announce = Callable[[], None]

# An existing cursor is found without waiting for a worker that is moving it.
MAKE_CURSOR = """
INSERT INTO event_cursors (name) SELECT %(cursor)s WHERE NOT EXISTS (SELECT FROM event_cursors WHERE name = %(cursor)s)
    ON CONFLICT DO NOTHING
"""
# An event of one user goes to webhooks that name its type or family. `*` stands for the events of the whole tenant.
# The webhooks are locked against deletion, so that a deletion finds all deliveries of an event or none. Existing queues
# stay unchanged but are locked: a worker that is about to remove an empty one sees the addition. Ids are UUIDv7 (RFC
# 9562): milliseconds since 1970, then random bits; PostgreSQL has a function for that from version 18 on.
DISPATCH = """
WITH place AS MATERIALIZED (
    SELECT transaction_id::text::xid8 AS transaction_id, sequence FROM event_cursors WHERE name = %(cursor)s
       FOR UPDATE SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT news.*
      FROM place CROSS JOIN LATERAL (
          SELECT tenant_id, transaction_id, sequence, id, type, resource_id, create_time, audience, for_webhooks
            FROM events
           WHERE (events.transaction_id, events.sequence) > (place.transaction_id, place.sequence)
             AND events.transaction_id < greatest(plinth_log_horizon(), %(horizon)s::text::xid8)
           ORDER BY events.transaction_id, events.sequence LIMIT %(limit)s) AS news
), wanted AS MATERIALIZED (
    SELECT batch.*, coalesce(nullif(batch.resource_id, ''), batch.id::text) AS subject, webhooks.id AS webhook_id
      FROM batch JOIN webhooks ON webhooks.tenant_id = batch.tenant_id
     WHERE webhooks.enabled AND webhooks.create_time < batch.create_time AND batch.for_webhooks
       AND webhooks.event_types && (ARRAY[batch.type, split_part(batch.type, '.', 1) || '.*']
                                    || CASE WHEN batch.audience IS NULL THEN ARRAY['*'] ELSE ARRAY[]::text[] END)
     ORDER BY batch.transaction_id, batch.sequence, webhooks.id
       FOR KEY SHARE OF webhooks
), added AS (
    INSERT INTO webhook_deliveries
           (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status, next_attempt_time)
    SELECT tenant_id,
           encode(set_bit(set_bit(overlay(
               uuid_send(gen_random_uuid())
               PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
           ), 52, 1), 53, 1), 'hex')::uuid,
           webhook_id, id, type, subject, create_time, 1, 1, %(now)s
      FROM wanted ORDER BY transaction_id, sequence, webhook_id
), queued AS (
    INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time)
    SELECT DISTINCT tenant_id, webhook_id, subject, %(now)s::timestamptz
      FROM wanted ORDER BY tenant_id, webhook_id, subject
        ON CONFLICT (tenant_id, webhook_id, subject)
        DO UPDATE SET next_attempt_time = webhook_queues.next_attempt_time
), moved AS (
    UPDATE event_cursors
       SET transaction_id = last.transaction_id::text::bigint, sequence = last.sequence, update_time = %(now)s
      FROM (SELECT transaction_id, sequence FROM batch ORDER BY transaction_id DESC, sequence DESC LIMIT 1) AS last
     WHERE name = %(cursor)s
)
SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM wanted)
"""


class Dispatcher:
    """Follows the event log of all tenants."""

    def __init__(self, dsn: str, hints: Hints, announce: Announce, *, name: str, clock: Clock = utc_now) -> None:
        """`dsn` is that of the dispatch role. `announce` is called when there are new deliveries."""
        self._dsn = dsn
        self._hints = HintListener(hints)
        self._announce = announce
        self._name = name
        self._clock = clock
        self._horizon = 0
        self._looked = 0.0

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with open_pool(self._dsn, f"plinth {self._name} dispatch", size=1) as pool:
            listening = asyncio.create_task(self._hints.listen())
            try:
                await self._dispatch_forever(pool)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _dispatch_forever(self, pool: Pool) -> None:
        while True:
            try:
                await _run(pool, MAKE_CURSOR)
                while True:
                    hinted = await self._hints.wait(POLL)
                    for look in range(LOOKS if hinted else 1):
                        if await self.dispatch(pool):
                            await asyncio.sleep(PACE)
                            break
                        if not hinted:
                            break
                        await asyncio.sleep(min(SOON * 2**look, LESS_SOON))
            except (psycopg.Error, PoolTimeout) as error:
                self._looked = 0.0
                log.warning("events cannot be dispatched: %s", type(error).__name__)
                await asyncio.sleep(RECONNECT)

    async def dispatch(self, pool: Pool) -> int:
        """Dispatch all new events. Returns their number."""
        total = 0
        if monotonic() - self._looked >= LOOK:
            # A fault in between resets the horizon, because the server that answers afterwards may be another cluster.
            self._horizon = 0
            self._horizon = await _horizon(pool)
            self._looked = monotonic()
        while True:
            events, deliveries = await _run(pool, DISPATCH, limit=BATCH, now=self._clock(), horizon=str(self._horizon))
            total += events
            if deliveries:
                self._announce()
            if events < BATCH:
                return total


async def _horizon(pool: Pool) -> int:
    """The horizon up to which events may be read while transactions of other databases are open."""
    async with pool.connection() as connection:
        cursor = await connection.execute(READ_HORIZON)
        row = await cursor.fetchone()
        return row[0] if row else 0


async def _run(pool: Pool, statement: str, **parameters: object) -> tuple[int, int]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, {"cursor": CURSOR, **parameters})
        row = await cursor.fetchone() if cursor.description else None
        return (row[0], row[1]) if row else (0, 0)
