"""Replays: events that are sent to a webhook again, requested by a call and queued by a job.

An event keeps its id, by which receivers recognise a repetition. The id of a delivery is derived from those of the
replay and of the event, so that a job that runs twice queues nothing twice.
"""

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, cast

from google.protobuf.timestamp_pb2 import Timestamp
from plinth.webhooks.v1.webhook_pb2 import ReplayWebhookEventsRequest, ReplayWebhookEventsResponse, Webhook
from sqlalchemy import BigInteger, DateTime, Text, text
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyType
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.webhooks.event_types import EventTypes
from server.json_values import JsonValue
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import VARIANTS, new_id
from server.kernel.jobs import Job
from server.kernel.operations import LongJob, Work
from server.kernel.problems import StateForbids, Violation, broken_rules, not_found

log = logging.getLogger("plinth.webhooks")
KIND = "webhook_replay"
QUEUE, REPLAY = "webhooks", "webhooks.replay"
BEFORE = "webhooks.replay_events"
"""The job that earlier versions enqueue, which has no operation."""
MOST_EVENTS = 100_000
BATCH = 500
# Seconds. Each batch is committed by itself, so a long job blocks nothing.
TIMEOUT = 1800.0
EVENT_TYPE, WEBHOOK_TYPE = "plinth.dev/Event", "plinth.dev/Webhook"

_FACTS: dict[str, AnyType] = {
    "id": UUID(as_uuid=False),
    "type": Text(),
    "subject": Text(),
    "create_time": DateTime(timezone=True),
}
# The same expression as in the dispatcher.
_SUBJECT = "coalesce(nullif(resource_id, ''), id::text) AS subject"
_MATCHING = """
  FROM events
 WHERE tenant_id = CAST(:tenant AS uuid)
   AND create_time >= CAST(:start AS timestamptz) AND create_time < CAST(:end AS timestamptz)
   AND type = ANY (CAST(:types AS text[])) AND for_webhooks
   AND (audience IS NULL OR type = ANY (CAST(:named AS text[])))
"""
# A delivery is made after its event. Events of tests are not in the log.
_FAILED = """
   AND id IN (SELECT event_id FROM webhook_deliveries
               WHERE tenant_id = CAST(:tenant AS uuid) AND webhook_id = CAST(:webhook AS uuid)
                 AND create_time >= CAST(:start AS timestamptz)
               GROUP BY event_id HAVING bool_and(status IN (3, 4)))
"""
_NEXT = """
   AND (transaction_id, sequence) > (CAST(:transaction_id AS xid8), CAST(:sequence AS bigint))
 ORDER BY events.transaction_id, events.sequence
 LIMIT CAST(:limit AS bigint)
"""
ONE = Statement(
    text(
        f"SELECT id, type, {_SUBJECT}, create_time FROM events "  # noqa: S608 - a constant
        "WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:event AS uuid) AND for_webhooks "
        "AND (audience IS NULL OR type = ANY (CAST(:named AS text[])))"
    ).columns(**_FACTS)
)
"""Takes `tenant`, `event`, and `named`: the types of which the webhook gets the events of users."""
ENABLED = Statement(
    text(
        "SELECT id FROM webhooks WHERE tenant_id = CAST(:tenant AS uuid) AND id = CAST(:webhook AS uuid) AND enabled"
    ).columns(id=UUID(as_uuid=False))
)
# First the deliveries, in the order of the log, from which they get their numbers; then the queues of their subjects.
# The update locks the row of an existing queue, so that a worker that has just emptied it does not remove it.
ADD = Statement(
    text(
        """
WITH added AS (
    INSERT INTO webhook_deliveries (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status,
                                    next_attempt_time)
    SELECT CAST(:tenant AS uuid), e.id, CAST(:webhook AS uuid), e.event_id, e.type, e.subject, e.time, 2, 1, now()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:event_ids AS uuid[]), CAST(:types AS text[]), CAST(:subjects AS text[]),
                  CAST(:times AS timestamptz[])) WITH ORDINALITY AS e (id, event_id, type, subject, time, place)
     ORDER BY e.place
        ON CONFLICT (tenant_id, id) DO NOTHING
    RETURNING subject
)
INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time)
SELECT CAST(:tenant AS uuid), CAST(:webhook AS uuid), subject, now() FROM added GROUP BY subject ORDER BY subject
    ON CONFLICT (tenant_id, webhook_id, subject)
    DO UPDATE SET next_attempt_time = least(webhook_queues.next_attempt_time, excluded.next_attempt_time)
"""
    )
)
"""Takes `tenant`, `webhook` and five lists of equal length."""


def _counting(condition: str) -> Statement:
    found = f"SELECT {_MATCHING} {condition} LIMIT {MOST_EVENTS}"
    counted = text(f"SELECT count(*) AS count FROM ({found}) AS found")  # noqa: S608 - constants
    return Statement(counted.columns(count=BigInteger()))


def _reading(condition: str) -> Statement:
    columns = f"id, type, {_SUBJECT}, create_time, transaction_id::text AS transaction_id, sequence"
    found = text(f"SELECT {columns} {_MATCHING} {condition} {_NEXT}")
    return Statement(found.columns(**_FACTS, transaction_id=Text(), sequence=BigInteger()))


COUNTS = {only_failed: _counting(_FAILED if only_failed else "") for only_failed in (False, True)}
READS = {only_failed: _reading(_FAILED if only_failed else "") for only_failed in (False, True)}


class Range(NamedTuple):
    """The events of a tenant that are sent to a webhook again."""

    tenant: str
    webhook: str
    start: str
    end: str
    types: list[str]
    named: list[str]
    """Those of the types of which the webhook gets the events of users."""


class Place(NamedTuple):
    """Where a replay stands: after the event with these numbers."""

    transaction_id: str
    sequence: int
    queued: int
    """Number of events that were queued so far."""
    is_last: bool
    """Whether none follows."""


BEGINNING = Place("0", 0, 0, is_last=False)


class Replays:
    """Answers requests for replays."""

    def __init__(self, event_types: EventTypes, clock: Clock) -> None:
        self._event_types = event_types
        self._clock = clock

    def ask(self, call: Call, request: ReplayWebhookEventsRequest, webhook: Webhook) -> ReplayWebhookEventsResponse:
        """Count the events and, unless only the count is requested, enqueue their sending."""
        call.note_change(webhook, webhook)
        if request.dry_run:
            call.emits = ""
        if request.event_id:
            return self._ask_for_one(call, request, webhook)
        chosen = self._range(call, request, webhook)
        _refuse_disabled(webhook)
        count = call.reads.run(COUNTS[request.only_failed], **chosen._asdict()).value()
        answer = ReplayWebhookEventsResponse(event_count=count)
        if count and not request.dry_run:
            arguments = {**_arguments(chosen), "only_failed": request.only_failed, "event_count": count}
            answer.operation_id = call.start(KIND, QUEUE, REPLAY, **arguments).id
        return answer

    def _ask_for_one(
        self, call: Call, request: ReplayWebhookEventsRequest, webhook: Webhook
    ) -> ReplayWebhookEventsResponse:
        beside = {field.name for field, _ in request.ListFields()} - {"tenant_id", "webhook_id", "event_id", "dry_run"}
        if beside:
            raise broken_rules([Violation(name, "goes without event_id", "replay.alone") for name in sorted(beside)])
        named = self._event_types.naming(webhook.event_types)
        event = call.reads.run(ONE, tenant=call.tenant_id, event=request.event_id, named=named).first()
        if event is None:
            raise not_found(EVENT_TYPE, request.event_id)
        _refuse_disabled(webhook)
        if not request.dry_run:
            add(call.writes, str(call.tenant_id), webhook.id, new_id(), [event])
        return ReplayWebhookEventsResponse(event_count=1)

    def _range(self, call: Call, request: ReplayWebhookEventsRequest, webhook: Webhook) -> Range:
        violations = self._event_types.violations("event_types", request.event_types)
        if not request.HasField("start_time"):
            violations.append(Violation("start_time", "is required unless event_id is given", "required"))
        start, end = _time_of(request.start_time), self._clock()
        if request.HasField("end_time"):
            end = _time_of(request.end_time)
        if start >= end:
            violations.append(Violation("start_time", "is not before end_time", "replay.range"))
        if violations:
            raise broken_rules(violations)
        types = self._event_types.matching(webhook.event_types)
        if request.event_types:
            wanted = set(self._event_types.matching(request.event_types))
            types = [name for name in types if name in wanted]
        named = set(self._event_types.naming(webhook.event_types))
        times = start.isoformat(), end.isoformat()
        return Range(str(call.tenant_id), webhook.id, *times, types, [name for name in types if name in named])


class Replayer:
    """Queues the events of a replay, batch by batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def long_job(self) -> LongJob:
        """The work of an operation."""
        return LongJob(REPLAY, self.work, QUEUE, resumable=True, timeout=TIMEOUT)

    @property
    def job(self) -> Job:
        """The job that earlier versions enqueue."""
        return Job(BEFORE, self.run, QUEUE, timeout=TIMEOUT)

    def work(
        self,
        work: Work,
        *,
        webhook_id: str,
        start_time: str,
        end_time: str,
        event_types: list[str],
        named_types: list[str],
        only_failed: bool,
        event_count: int,
    ) -> dict[str, JsonValue]:
        """Go on after the last batch. The result is how many events were queued."""
        chosen = Range(work.tenant_id, webhook_id, start_time, end_time, event_types, named_types)
        saved = cast("tuple[str, int, int, bool] | None", work.saved.get("place"))
        place = Place(*saved) if saved else BEGINNING
        while not place.is_last:
            with work.batch() as transaction:
                place = _queue_next(transaction, chosen, place, only_failed=only_failed, replay_id=work.id)
                work.progress(place.queued, max(event_count, place.queued))
                work.save(place=list(place))
        return {"queued": place.queued}

    def run(
        self,
        *,
        tenant_id: str,
        webhook_id: str,
        start_time: str,
        end_time: str,
        event_types: list[str],
        only_failed: bool,
        replay_id: str,
        named_types: Sequence[str] = (),
    ) -> None:
        """Start at the beginning, even after an earlier run. Stop if the webhook is disabled or deleted.

        `named_types` is missing in jobs of earlier versions, which knew no events of users.
        """
        chosen = Range(tenant_id, webhook_id, start_time, end_time, event_types, list(named_types))
        place = BEGINNING
        while not place.is_last:
            with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
                place = _queue_next(transaction, chosen, place, only_failed=only_failed, replay_id=replay_id)
        log.info("replay %s: %d events for webhook %s", replay_id, place.queued, webhook_id)


def _queue_next(
    transaction: WriteTransaction, chosen: Range, place: Place, *, only_failed: bool, replay_id: str
) -> Place:
    """Queue the next batch of a replay. It is the last one if the webhook is disabled or deleted."""
    if not transaction.run(ENABLED, tenant=chosen.tenant, webhook=chosen.webhook).returned:
        return place._replace(is_last=True)
    limit = min(BATCH, MOST_EVENTS - place.queued)
    after = {"transaction_id": place.transaction_id, "sequence": place.sequence}
    batch = transaction.run(READS[only_failed], **chosen._asdict(), **after, limit=limit).all()
    add(transaction, chosen.tenant, chosen.webhook, replay_id, batch)
    queued = place.queued + len(batch)
    if len(batch) < limit or queued >= MOST_EVENTS:
        return place._replace(queued=queued, is_last=True)
    return Place(batch[-1]["transaction_id"], batch[-1]["sequence"], queued, is_last=False)


def add(transaction: WriteTransaction, tenant_id: str, webhook_id: str, replay_id: str, events: list[Row]) -> None:
    """Queue events, unless this replay has already queued them."""
    if events:
        transaction.run(
            ADD,
            tenant=tenant_id,
            webhook=webhook_id,
            ids=[delivery_id(replay_id, event["id"]) for event in events],
            event_ids=[event["id"] for event in events],
            types=[event["type"] for event in events],
            subjects=[event["subject"] for event in events],
            times=[event["create_time"].isoformat() for event in events],
        )


def delivery_id(replay_id: str, event_id: str) -> str:
    """A UUIDv7 with the time of the replay, the same at each call."""
    digits = hashlib.sha256(f"{replay_id}{event_id}".encode()).hexdigest()
    variant = VARIANTS[int(digits[0], 16) >> 2]
    return f"{replay_id[:13]}-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:20]}"


def _arguments(chosen: Range) -> dict[str, str | list[str]]:
    return {
        "tenant_id": chosen.tenant,
        "webhook_id": chosen.webhook,
        "start_time": chosen.start,
        "end_time": chosen.end,
        "event_types": chosen.types,
        "named_types": chosen.named,
    }


def _refuse_disabled(webhook: Webhook) -> None:
    if not webhook.enabled:
        raise StateForbids(
            "The webhook is disabled: enable it first.",
            metadata={"resource_type": WEBHOOK_TYPE, "resource": webhook.id, "state": "DISABLED"},
        )


def _time_of(timestamp: Timestamp) -> datetime:
    """The time, or the nearest one that both PostgreSQL and Python can represent."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC) if timestamp.seconds < 0 else datetime.max.replace(tzinfo=UTC)
