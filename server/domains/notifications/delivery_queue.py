"""The queue of deliveries, as a worker sees it.

A worker claims deliveries by a lease. What waited for the end of quiet hours, for a digest or for the rate is claimed
together with all that waits for the same person, channel and device, so that it can go out as one. A push is SENDING
from right before it is sent: one whose lease ends in that state was lost with its worker, perhaps after it was sent,
and is UNCERTAIN. Mail is handed to its queue by the transaction that ends the delivery, so none of that is lost.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from plinth.notifications.v1.notification_delivery_pb2 import NotificationDelivery
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.types import DateTime, Integer, SmallInteger, Text

from server.data.clauses import AnyType
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.json_values import JsonObject

_S = NotificationDelivery.State
QUEUED, DEFERRED, SENDING, RETRYING, SENT, FAILED, UNCERTAIN, EXPIRED, CANCELLED, MERGED = (
    *(_S.STATE_QUEUED, _S.STATE_DEFERRED, _S.STATE_SENDING, _S.STATE_RETRYING, _S.STATE_SENT),
    *(_S.STATE_FAILED, _S.STATE_UNCERTAIN, _S.STATE_EXPIRED, _S.STATE_CANCELLED, _S.STATE_MERGED),
)
LEASE = timedelta(minutes=2)
"""Longer than an attempt may take."""
MOST_TOGETHER = 1_000
_id = UUID(as_uuid=False)
_time = DateTime(timezone=True)
_COLUMNS: dict[str, AnyType] = {
    "id": _id,
    "tenant_id": _id,
    "user_id": _id,
    "notification_id": _id,
    "channel": SmallInteger(),
    "notification_device_id": _id,
    "workflow": Text(),
    "group_key": Text(),
    "priority": SmallInteger(),
    "title": Text(),
    "body": Text(),
    "url": Text(),
    "reason": Text(),
    "attempts": Integer(),
    "lease_time": _time,
    "expire_time": _time,
    "create_time": _time,
    "state": SmallInteger(),
}
_SHOWN = ", ".join(f"deliveries.{name}" for name in _COLUMNS)
# Each priority has a lane of its own, so that what waits in one does not delay the others.
CLAIM = Statement(
    text(
        f"""
WITH due AS MATERIALIZED (
    SELECT found.* FROM (VALUES (4), (3), (2), (1)) AS lanes (priority) CROSS JOIN LATERAL (
        SELECT tenant_id, id, user_id, channel, notification_device_id, state FROM notification_deliveries
         WHERE notification_deliveries.priority = lanes.priority AND next_attempt_time <= now()
         ORDER BY next_attempt_time LIMIT CAST(:room AS int)
           FOR UPDATE SKIP LOCKED) AS found
     LIMIT CAST(:room AS int)
), together AS MATERIALIZED (
    SELECT others.tenant_id, others.id
      FROM (SELECT DISTINCT tenant_id, user_id, channel, notification_device_id FROM due
             WHERE state = {DEFERRED}) AS asked
     CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM notification_deliveries AS waiting
         WHERE waiting.tenant_id = asked.tenant_id AND waiting.user_id = asked.user_id
           AND waiting.channel = asked.channel AND waiting.next_attempt_time <= now()
           AND waiting.notification_device_id IS NOT DISTINCT FROM asked.notification_device_id
           AND waiting.state = {DEFERRED}
         ORDER BY next_attempt_time LIMIT {MOST_TOGETHER}
           FOR UPDATE SKIP LOCKED) AS others
), claimed AS (
    SELECT tenant_id, id FROM due UNION SELECT tenant_id, id FROM together
)
UPDATE notification_deliveries AS deliveries
   SET lease_time = now() + :lease, next_attempt_time = now() + :lease
  FROM claimed
 WHERE deliveries.tenant_id = claimed.tenant_id AND deliveries.id = claimed.id
RETURNING {_SHOWN}
"""  # noqa: S608 - all of it stands here
    )
    .bindparams(bindparam("room", type_=Integer()))
    .columns(**_COLUMNS)
)
"""Takes `room` and `lease`. Claims what is due, the most urgent first."""
FINISH = Statement(
    text(
        """
UPDATE notification_deliveries AS deliveries
   SET state = ended.state, reason = ended.reason, attempts = ended.attempts, merged_into_id = ended.merged_into_id,
       next_attempt_time = ended.next_attempt_time,
       lease_time = CASE WHEN ended.is_leased THEN deliveries.lease_time END,
       send_time = CASE WHEN ended.is_sent THEN now() END, version = version + 1, update_time = now()
  FROM jsonb_to_recordset(CAST(:given AS jsonb) -> 'rows') AS ended (
       id uuid, state smallint, reason text, attempts int, merged_into_id uuid, next_attempt_time timestamptz,
       is_sent boolean, is_leased boolean, lease_time timestamptz)
 WHERE deliveries.tenant_id = CAST(:tenant AS uuid) AND deliveries.id = ended.id
   AND deliveries.lease_time = ended.lease_time
RETURNING deliveries.id
"""
    )
    .bindparams(bindparam("given", type_=JSONB()), bindparam("tenant", type_=_id))
    .columns(id=_id)
)
"""Takes `tenant` and `given`. Ends leases that are still held, or goes on with them. Returns whose they were."""


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of a delivery."""

    row: Row
    state: int
    reason: str = ""
    is_attempt: bool = False
    again: datetime | None = None
    merged_into_id: str | None = None

    def written(self) -> JsonObject:
        """As FINISH takes it."""
        return {
            "id": self.row["id"],
            "state": int(self.state),
            "reason": self.reason,
            "attempts": self.row["attempts"] + self.is_attempt,
            "merged_into_id": self.merged_into_id,
            "next_attempt_time": self.again.isoformat() if self.again else None,
            "is_sent": self.state == SENT,
            "is_leased": self.state == SENDING,
            "lease_time": self.row["lease_time"].isoformat(),
        }


def claim(dispatch: Database, room: int) -> list[list[Row]]:
    """Claim what is due. Each list is of one person, channel and device; only what has waited comes with others."""
    with dispatch.write(Scope()) as transaction:
        rows = transaction.run(CLAIM, room=room, lease=LEASE).all()
    alone = [[row] for row in rows if row["state"] != DEFERRED]
    together: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["state"] == DEFERRED:
            together[row["tenant_id"], row["user_id"], row["channel"], row["notification_device_id"] or ""].append(row)
    return alone + [sorted(each, key=lambda row: (row["create_time"], row["id"])) for each in together.values()]


def finish(transaction: WriteTransaction, tenant_id: str, ends: Sequence[End]) -> set[str]:
    """Write what becomes of deliveries. Returns the ids of those whose lease was still held."""
    rows = [end.written() for end in ends]
    return {row["id"] for row in transaction.run(FINISH, tenant=tenant_id, given={"rows": rows}).all()}
