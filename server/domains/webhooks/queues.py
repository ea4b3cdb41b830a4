"""Queues of deliveries, one per webhook and subject: how workers claim them, and what they load from one.

A worker claims a queue by a lease. No other worker touches it until the lease expires, so its deliveries are sent one
after another. A worker that dies releases it by the expiry. The time of a lease identifies it, so that a lost one is
recognised.

Claiming goes round the webhooks that have queues, a window at a time, and takes a few of each, the longest due first. A
webhook with a million due queues, or one that accepts none at the moment, does not delay the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import itemgetter

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from server.data.liveness import STATEMENT_TIMEOUT, WatchedPool, service_of, session
from server.data.statements import Row

# Number of webhooks with queues per claim.
WINDOW = 500
# Deliveries of one queue that are loaded at once. Beyond the first, only while their payloads stay below this size.
BATCH = 10
BATCH_BYTES = 256 * 1024
FIRST_PLACE = ("00000000-0000-0000-0000-000000000000",) * 2
# Statistics never fit tables that fill and empty all the time. Plans therefore use indexes whatever the statistics say:
# statements are written so that one index fits best, with OFFSET 0 where the order of steps matters. Plans are renewed
# with the connections, every few minutes.
PLANS_KEPT = 120.0
PLANNING = "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"

Pool = WatchedPool
Connection = AsyncConnection[TupleRow]
# Background services query PostgreSQL twice a second. One without an answer for this many seconds is late.
LATE = 6.0

CLAIM = """
WITH RECURSIVE hooks AS (
    (SELECT tenant_id, webhook_id, 1 AS number FROM webhook_queues
      WHERE (tenant_id, webhook_id) > (%(tenant)s::uuid, %(webhook)s::uuid) ORDER BY tenant_id, webhook_id LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.webhook_id, hooks.number + 1
      FROM hooks CROSS JOIN LATERAL (
          SELECT tenant_id, webhook_id FROM webhook_queues
           WHERE (webhook_queues.tenant_id, webhook_queues.webhook_id) > (hooks.tenant_id, hooks.webhook_id)
           ORDER BY tenant_id, webhook_id LIMIT 1) AS following
     WHERE hooks.number < %(window)s
), open AS (
    SELECT hooks.tenant_id, hooks.webhook_id, webhooks.failing_since_time IS NOT NULL AS failing,
           %(tenant_share)s::int - coalesce(tenants.busy, 0) AS tenant_room,
           greatest(0, least(
               %(tenant_share)s::int - coalesce(tenants.busy, 0),
               CASE WHEN webhooks.failing_since_time IS NULL THEN %(share)s::int ELSE %(failing_share)s::int END
                   - coalesce(busy.busy, 0))) AS room
      FROM hooks
     CROSS JOIN LATERAL (
          SELECT * FROM webhooks WHERE webhooks.tenant_id = hooks.tenant_id AND webhooks.id = hooks.webhook_id OFFSET 0
      ) AS webhooks
      LEFT JOIN unnest(%(webhooks)s::uuid[], %(webhooks_busy)s::int[]) AS busy (webhook_id, busy)
        ON busy.webhook_id = hooks.webhook_id
      LEFT JOIN unnest(%(tenants)s::uuid[], %(tenants_busy)s::int[]) AS tenants (tenant_id, busy)
        ON tenants.tenant_id = hooks.tenant_id
     WHERE webhooks.enabled AND (webhooks.resume_time IS NULL OR webhooks.resume_time <= %(now)s)
), due AS MATERIALIZED (
    SELECT open.*, queues.subject, queues.next_attempt_time
      FROM open CROSS JOIN LATERAL (
          SELECT subject, next_attempt_time FROM webhook_queues
           WHERE webhook_queues.webhook_id = open.webhook_id AND next_attempt_time <= %(now)s
             AND (lease_time IS NULL OR lease_time < %(now)s)
           ORDER BY next_attempt_time LIMIT open.room FOR UPDATE SKIP LOCKED) AS queues
), ranked AS (
    SELECT due.*, row_number() OVER (PARTITION BY tenant_id, webhook_id ORDER BY next_attempt_time) AS place FROM due
), shared AS (
    SELECT ranked.*,
           row_number() OVER (PARTITION BY tenant_id ORDER BY place, next_attempt_time) AS place_in_tenant,
           row_number() OVER (PARTITION BY failing ORDER BY place, next_attempt_time) AS place_among_failing
      FROM ranked
), chosen AS (
    SELECT * FROM shared
     WHERE place_in_tenant <= tenant_room AND (NOT failing OR place_among_failing <= %(failing_room)s)
     ORDER BY place, next_attempt_time LIMIT %(room)s
), claimed AS (
    UPDATE webhook_queues SET lease_time = %(lease)s
      FROM chosen
     WHERE webhook_queues.tenant_id = chosen.tenant_id AND webhook_queues.webhook_id = chosen.webhook_id
       AND webhook_queues.subject = chosen.subject
    RETURNING webhook_queues.tenant_id, webhook_queues.webhook_id, webhook_queues.subject, chosen.failing
)
SELECT last.number AS looked_at, last.tenant_id::text AS last_tenant, last.webhook_id::text AS last_webhook,
       claimed.tenant_id::text, claimed.webhook_id::text, claimed.subject, claimed.failing,
       ARRAY(SELECT ARRAY[hooks.tenant_id::text, hooks.webhook_id::text]
               FROM hooks CROSS JOIN LATERAL (
                   SELECT enabled, disable_reason FROM webhooks
                    WHERE webhooks.tenant_id = hooks.tenant_id AND webhooks.id = hooks.webhook_id OFFSET 0) AS webhooks
              WHERE NOT webhooks.enabled AND webhooks.disable_reason IN (2, 3)) AS stopped
  FROM (SELECT * FROM hooks ORDER BY number DESC LIMIT 1) AS last LEFT JOIN claimed ON true
"""
# A statement of its own, so that it sees everything that was delivered up to the claim.
LOAD = """
SELECT asked.place, pending.*
  FROM unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[], %(subjects)s::text[])
       WITH ORDINALITY AS asked (tenant_id, webhook_id, subject, place)
 CROSS JOIN LATERAL (
      SELECT found.*, sum(octet_length(payload)) OVER (ORDER BY number) AS bytes
        FROM (SELECT deliveries.id::text, deliveries.event_id::text, deliveries.event_type, deliveries.event_time,
                     deliveries.attempts, deliveries.kind, deliveries.number, events.message_type, events.payload
                FROM webhook_deliveries AS deliveries
                LEFT JOIN events ON events.tenant_id = deliveries.tenant_id AND events.id = deliveries.event_id
               WHERE deliveries.tenant_id = asked.tenant_id AND deliveries.webhook_id = asked.webhook_id
                 AND deliveries.subject = asked.subject AND deliveries.status = 1
               ORDER BY deliveries.number LIMIT %(batch)s) AS found) AS pending
 WHERE coalesce(pending.bytes - octet_length(pending.payload), 0) < %(bytes)s
 ORDER BY asked.place, pending.number
"""
RECEIVERS = """
SELECT webhooks.tenant_id::text, webhooks.id::text, url, signature_scheme, secret, previous_secret,
       previous_secret_expire_time
  FROM unnest(%(tenants)s::uuid[], %(webhooks)s::uuid[]) AS asked (tenant_id, id)
  JOIN webhooks ON webhooks.tenant_id = asked.tenant_id AND webhooks.id = asked.id
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A delivery that waits."""

    id: str
    event_id: str
    event_type: str
    event_time: datetime
    attempts: int
    """Number of attempts so far."""
    kind: int
    message_type: str | None
    """None if the event is no longer in the log; then there is no payload either."""
    payload: bytes | None


PENDING_VALUES = itemgetter(*(one.name for one in fields(Pending)))
"""The values of a Pending, in order, from a row with further columns."""


@dataclass(slots=True)
class Visit:
    """A claimed queue and its loaded deliveries."""

    tenant_id: str
    webhook_id: str
    subject: str
    failing: bool
    """Whether no delivery to the webhook has succeeded since its last failure."""
    claim_time: datetime
    lease: datetime
    """The expiry of the lease, which is extended."""
    receiver: Row | None = None
    """The columns of the webhook that sending needs; None if it was deleted."""
    deliveries: list[Pending] = field(default_factory=list)
    lost: bool = False
    """Whether the lease was found to have expired."""
    has_slot: bool = True
    """Whether the visit counts as under way (slots.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many queues may be claimed, and how many are already claimed."""

    room: int
    failing_room: int
    """Of these, for webhooks that are failing."""
    share: int
    """For one webhook."""
    failing_share: int
    """For one webhook that is failing."""
    tenant_share: int
    webhooks: Mapping[str, int]
    """Number of claimed queues by webhook."""
    tenants: Mapping[str, int]

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of CLAIM."""
        return {
            "room": self.room,
            "failing_room": self.failing_room,
            "share": self.share,
            "failing_share": self.failing_share,
            "tenant_share": self.tenant_share,
            "webhooks": list(self.webhooks),
            "webhooks_busy": list(self.webhooks.values()),
            "tenants": list(self.tenants),
            "tenants_busy": list(self.tenants.values()),
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of claiming."""

    visits: list[Visit]
    stopped: list[tuple[str, str]]
    """Tenant and id of webhooks that were disabled for failing and still have queues."""
    is_all: bool
    """Whether the window reached the last webhook with queues."""


def open_pool(dsn: str, name: str, *, size: int, options: str = "", late: float = LATE) -> Pool:
    """Connections of one background service. `name` appears in pg_stat_activity.

    Health names the service when it has had no answer for `late` seconds.
    """
    return WatchedPool(
        dsn,
        pulse=(service_of(name), late),
        min_size=1,
        max_size=size,
        timeout=5,
        max_lifetime=PLANS_KEPT,
        open=False,
        kwargs={
            "autocommit": True,
            "application_name": name,
            "options": f"{session(STATEMENT_TIMEOUT)} {PLANNING} {options}",
        },
    )


class Queues:
    """The queues, as one worker sees them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._place = FIRST_PLACE

    async def claim(self, room: Room, now: datetime, lease: datetime) -> Claim:
        """Claim due queues within the given room, and load their waiting deliveries."""
        tenant, webhook = self._place
        place = {"tenant": tenant, "webhook": webhook, "window": WINDOW, "now": now, "lease": lease}
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(CLAIM, place | room.parameters)
            found: list[Row] = await cursor.fetchall()
            is_all = not found or found[0]["looked_at"] < WINDOW
            self._place = FIRST_PLACE if is_all else (found[0]["last_tenant"], found[0]["last_webhook"])
            visits = [
                Visit(row["tenant_id"], row["webhook_id"], row["subject"], row["failing"], now, lease)
                for row in found
                if row["tenant_id"] is not None
            ]
            if visits:
                await self._load(connection, visits)
        stopped = [(pair[0], pair[1]) for pair in found[0]["stopped"]] if found else []
        return Claim(visits, stopped, is_all)

    async def _load(self, connection: Connection, visits: list[Visit]) -> None:
        receivers = list({(visit.tenant_id, visit.webhook_id) for visit in visits})
        async with connection.pipeline():
            pending = connection.cursor(row_factory=dict_row)
            await pending.execute(
                LOAD,
                {
                    "tenants": [visit.tenant_id for visit in visits],
                    "webhooks": [visit.webhook_id for visit in visits],
                    "subjects": [visit.subject for visit in visits],
                    "batch": BATCH,
                    "bytes": BATCH_BYTES,
                },
            )
            found = connection.cursor(row_factory=dict_row)
            await found.execute(
                RECEIVERS, {"tenants": [one for one, _ in receivers], "webhooks": [one for _, one in receivers]}
            )
        for row in await pending.fetchall():
            visits[row["place"] - 1].deliveries.append(Pending(*PENDING_VALUES(row)))
        rows = {(row["tenant_id"], row["id"]): row for row in await found.fetchall()}
        for visit in visits:
            visit.receiver = rows.get((visit.tenant_id, visit.webhook_id))
