"""The stored state of webhooks: updated by the results of attempts, in the caller's transaction."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from psycopg import AsyncRawCursor
from psycopg.rows import dict_row

from server.data.statements import Row
from server.domains.webhooks.health import Happening, Health, Notice, after
from server.domains.webhooks.metrics import DISABLED
from server.domains.webhooks.notices import record_of
from server.domains.webhooks.queues import Connection

log = logging.getLogger("plinth.webhooks")
# Precision of `last_success_time`, so that a working webhook is not written to with every message.
COARSE = timedelta(seconds=10)

# The webhooks that may change, in the order in which all transactions lock several of them.
LOCK = """
SELECT webhooks.tenant_id::text, webhooks.id::text, url, description, event_types, enabled, signature_scheme,
       previous_secret_expire_time, failing_since_time, warn_time, disable_time, disable_reason, last_success_time,
       resume_time, version, create_time, update_time
  FROM unnest(%(tenants)s::uuid[], %(ids)s::uuid[], %(failed)s::boolean[]) AS told (tenant_id, id, failed)
  JOIN webhooks ON webhooks.tenant_id = told.tenant_id AND webhooks.id = told.id
 WHERE told.failed OR webhooks.failing_since_time IS NOT NULL OR webhooks.last_success_time IS NULL
    OR webhooks.last_success_time < %(stale)s
 ORDER BY webhooks.tenant_id, webhooks.id
   FOR NO KEY UPDATE OF webhooks
"""
# The ETag changes with fields that an administrator should see before writing, not with every failure or success.
STORE = """
UPDATE webhooks
   SET enabled = told.enabled, failing_since_time = told.failing, warn_time = told.warned,
       disable_time = told.disabled, disable_reason = told.reason, last_success_time = told.success,
       resume_time = told.resume, version = told.version, update_time = told.updated
  FROM unnest(%(tenant_id)s::uuid[], %(id)s::uuid[], %(enabled)s::boolean[], %(failing_since_time)s::timestamptz[],
              %(warn_time)s::timestamptz[], %(disable_time)s::timestamptz[], %(disable_reason)s::smallint[],
              %(last_success_time)s::timestamptz[], %(resume_time)s::timestamptz[], %(version)s::bigint[],
              %(update_time)s::timestamptz[])
       AS told (tenant_id, id, enabled, failing, warned, disabled, reason, success, resume, version, updated)
 WHERE webhooks.tenant_id = told.tenant_id AND webhooks.id = told.id
"""
STORED = (
    *("tenant_id", "id", "enabled", "failing_since_time", "warn_time", "disable_time", "disable_reason"),
    *("last_success_time", "resume_time", "version", "update_time"),
)


@dataclass(slots=True)
class Story:
    """The results of attempts for one webhook, in order."""

    happenings: list[tuple[Happening, datetime]] = field(default_factory=list)
    pause_until: datetime | None = None

    @property
    def has_failures(self) -> bool:
        """Whether anything but success is among them."""
        return self.pause_until is not None or any(one is not Happening.SUCCESS for one, _ in self.happenings)


async def update_receivers(connection: Connection, stories: Mapping[tuple[str, str], Story], now: datetime) -> int:
    """Update webhooks, by tenant and id, and notify tenants. Returns the number of disabled webhooks."""
    if not stories:
        return 0
    rows = await _lock(connection, stories, now)
    changed = []
    notices: list[tuple[Notice, Row, Row]] = []
    for row in rows:
        told, notice = _applied(row, stories[row["tenant_id"], row["id"]], now)
        if told != row:
            changed.append(told)
        if notice is not None:
            notices.append((notice, row, told))
    if changed:
        await connection.execute(STORE, {name: [row[name] for row in changed] for name in STORED})
    for notice, before, told in notices:
        for statement, values in record_of(notice.value, before, told, now):
            # The statement is written for libpq, whose parameters are `$1` and so on.
            raw = AsyncRawCursor(connection)
            await raw.execute(statement.sql, [values[name] for name in statement.parameters])
        log.info("%s: tenant %s webhook %s", notice.value, told["tenant_id"], told["id"])
    disabled = sum(notice is Notice.DISABLED for notice, *_ in notices)
    if disabled:
        DISABLED.inc(disabled)
    return disabled


async def _lock(connection: Connection, stories: Mapping[tuple[str, str], Story], now: datetime) -> list[Row]:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        LOCK,
        {
            "tenants": [tenant for tenant, _ in stories],
            "ids": [webhook for _, webhook in stories],
            "failed": [story.has_failures for story in stories.values()],
            "stale": now - COARSE,
        },
    )
    return await cursor.fetchall()


def _applied(row: Row, story: Story, now: datetime) -> tuple[Row, Notice | None]:
    """The updated row, and the notice for the tenant, if any."""
    health = Health(
        row["enabled"], row["failing_since_time"], row["warn_time"], row["disable_time"], row["disable_reason"]
    )
    notice = None
    for happening, time in story.happenings:
        health, one = after(health, happening, time)
        notice = one or notice
    successes = [time for happening, time in story.happenings if happening is Happening.SUCCESS]
    told = {
        **row,
        "enabled": health.enabled,
        "failing_since_time": health.failing_since,
        "warn_time": health.warned,
        "disable_time": health.disabled,
        "disable_reason": health.reason,
        "last_success_time": max(filter(None, (row["last_success_time"], *successes)), default=None),
        "resume_time": max(filter(None, (row["resume_time"], story.pause_until)), default=None),
    }
    if health.enabled != row["enabled"]:
        told |= {"version": row["version"] + 1, "update_time": now}
    return told, notice
