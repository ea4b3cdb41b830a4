"""Telling: the pipeline for many people at once, and what it leaves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, cast

from google.protobuf import json_format
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage, NotificationOutcome
from sqlalchemy import Boolean, DateTime, SmallInteger, Text, bindparam, column, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert

from server.data.clauses import AnyType
from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.notifications.delivery_queue import DEFERRED, QUEUED
from server.domains.notifications.outgoing import Outgoing, keep_pace, store
from server.domains.notifications.people import People
from server.domains.notifications.pipeline import TOLD_BEFORE, Decision, Facts, Person, decide
from server.domains.notifications.tables import notification_counts, notification_runs, notifications
from server.domains.notifications.texts import Texts
from server.domains.notifications.workflows import EMAIL, IN_APP, MESSAGE, PUSH, SENDABLE, WORKFLOWS
from server.json_values import JsonObject
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.messages import plain_struct
from server.kernel.ports import Ports
from server.kernel.problems import Violation, broken_rules
from server.kernel.rates import Rate
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan

if TYPE_CHECKING:
    from plinth.notifications.v1.notification_preferences_pb2 import NotificationChannel

CREATED = "notification.created"
PLAN = ConversionPlan(Notification, notifications, hidden=("dedupe_key",))
_id = UUID(as_uuid=False)
_n, _c, _r = notifications.c, notification_counts.c, notification_runs.c
_tenant = bindparam("tenant", type_=_id)
GIVEN: Mapping[str, AnyType] = {
    "id": _id,
    "user_id": _id,
    "workflow": Text(),
    "category": Text(),
    "priority": SmallInteger(),
    "group_key": Text(),
    "title": Text(),
    "body": Text(),
    "url": Text(),
    "data": JSONB(),
    "actor_id": _id,
    "expire_time": DateTime(timezone=True),
    "dedupe_key": Text(),
}
# A parameter that is a list is an array: its rows stand in an object.
_rows = bindparam("given", type_=JSONB()).op("->")(literal_column("'rows'"))
_given = (
    func.jsonb_to_recordset(_rows)
    .table_valued(*(column(name, kind) for name, kind in GIVEN.items()))
    .render_derived(name="given", with_types=True)
)
# Two of these that run at once wait for each other in one order, not in a circle.
_in_order = (_given.c.user_id, _given.c.dedupe_key)
_new = (
    insert(notifications)
    .from_select(["tenant_id", *GIVEN], select(_tenant, *(_given.c[name] for name in GIVEN)).order_by(*_in_order))
    .on_conflict_do_nothing(
        index_elements=[_n.tenant_id, _n.user_id, _n.dedupe_key], index_where=_n.dedupe_key != literal_column("''")
    )
    .returning(*PLAN.columns)
    .cte("new")
)
_per_user = (
    select(
        _tenant, _new.c.user_id.label("id"), _new.c.user_id, func.count().label("unread"), func.count().label("unseen")
    )
    .group_by(_new.c.user_id)
    # Two of these that run at once lock the counts of people in one order.
    .order_by(_new.c.user_id)
)
_counted = insert(notification_counts).from_select(["tenant_id", "id", "user_id", "unread", "unseen"], _per_user)
_added = (
    _counted.on_conflict_do_update(
        index_elements=[_c.tenant_id, _c.id],
        set_={"unread": _c.unread + _counted.excluded.unread, "unseen": _c.unseen + _counted.excluded.unseen},
    )
    .returning(_c.id)
    .cte("added")
)
STORE = Statement(select(*(_new.c[each.name] for each in PLAN.columns)).add_cte(_added).order_by(_new.c.id))
"""Takes `tenant` and `given`, whose `rows` have the columns of GIVEN. Returns what is new, and counts it."""
DECIDED: Mapping[str, AnyType] = {
    "id": _id,
    "user_id": _id,
    "workflow": Text(),
    "is_told": Boolean(),
    "explanation": JSONB(),
}
_run = (
    func.jsonb_to_recordset(_rows)
    .table_valued(*(column(name, kind) for name, kind in DECIDED.items()))
    .render_derived(name="run", with_types=True)
)
KEEP_RUNS = Statement(
    insert(notification_runs).from_select(["tenant_id", *DECIDED], select(_tenant, *(_run.c[name] for name in DECIDED)))
)
"""Takes `tenant` and `given`, whose `rows` have the columns of DECIDED."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to one person."""

    id: str
    """Of the notification, if it becomes one."""
    user_id: str
    message: NotificationMessage
    texts: Texts


class Told(NamedTuple):
    """What came of letters."""

    outcomes: list[NotificationOutcome]
    stored: list[Notification]


class Teller:
    """Tells people something, in a transaction."""

    def __init__(self, ports: Ports, rates: Mapping[int, Rate], clock: Clock) -> None:
        """`rates` are those of mail and push."""
        self._people, self._rates, self._clock = People(ports), rates, clock

    def send(self, call: Call, letters: Sequence[Letter]) -> list[NotificationOutcome]:
        """Tell them in a call, each with an event of its own."""
        told = self.tell(call.writes, str(call.tenant_id), call.actor_id, letters)
        for notification in told.stored:
            call.audience = notification.user_id
            call.emit(CREATED, notification.id, notification)
            call.note_change(None, notification)
        # Each has told its own event.
        call.emits = ""
        return told.outcomes

    def tell_in_a_job(
        self, transaction: WriteTransaction, tenant_id: str, actor_id: str | None, letters: Sequence[Letter], cause: str
    ) -> int:
        """Tell them in a job, the `cause`, each with an event and an audit entry. Returns how many were told."""
        told = self.tell(transaction, tenant_id, actor_id, letters)
        for notification in told.stored:
            record_platform_change(
                transaction,
                CREATED,
                cause=cause,
                before=None,
                after=notification,
                now=self._clock(),
                tenant_id=tenant_id,
                audience=notification.user_id,
            )
        return sum(outcome.is_told for outcome in told.outcomes)

    def tell(
        self, transaction: WriteTransaction, tenant_id: str, actor_id: str | None, letters: Sequence[Letter]
    ) -> Told:
        """Tell them, and keep what was decided. Their events are the caller's."""
        people = self._people.among(transaction, tenant_id, {letter.user_id for letter in letters})
        now = self._clock()
        cases = []
        for letter in letters:
            facts = _facts(letter, people.get(letter.user_id, Person()), actor_id or "", now)
            cases.append(_Case(letter, facts, decide(facts)))
        stored = _store_in_inboxes(transaction, tenant_id, actor_id, cases)
        self._send_out(transaction, tenant_id, cases)
        _keep_runs(transaction, tenant_id, cases)
        return Told([case.outcome for case in cases], stored)

    def _send_out(self, transaction: WriteTransaction, tenant_id: str, cases: Sequence["_Case"]) -> None:
        """Store what goes out by mail and push."""
        going = [case for case in cases if case.decision.channels.keys() - {IN_APP}]
        if not going:
            return
        limited = [Outgoing(case.letter.user_id, case.decision, case.facts.never_waits) for case in going]
        keep_pace(transaction, tenant_id, limited, self._rates, self._clock())
        new = store(transaction, tenant_id, [row for case in going for row in case.deliveries()])
        for case in going:
            if case.letter.id not in new and IN_APP not in case.decision.channels:
                case.note_repetition()


class _Case(NamedTuple):
    """A letter, and what was decided about it."""

    letter: Letter
    facts: Facts
    decision: Decision

    @property
    def outcome(self) -> NotificationOutcome:
        """What who sends it learns."""
        return NotificationOutcome(
            user_id=self.letter.user_id,
            notification_id=self.letter.id,
            is_told=self.decision.is_told,
            reason=self.decision.reason,
            channels=[_shown(channel) for channel in self.decision.channels],
        )

    def note_repetition(self) -> None:
        """It was told before."""
        unless = "Send it with another `dedupe_key`."
        self.decision.drop("repetition", TOLD_BEFORE, unless=unless, rule=self.letter.message.dedupe_key)

    def row(self, actor_id: str | None) -> JsonObject:
        """The notification."""
        message = self.letter.message
        return {
            **self._common(),
            "id": self.letter.id,
            "category": self.facts.workflow.category,
            "data": plain_struct(message.data) if message.HasField("data") else None,
            "actor_id": actor_id,
        }

    def deliveries(self) -> Iterator[JsonObject]:
        """One for mail, and one for each device."""
        for channel, wait in self.decision.channels.items():
            targets: Mapping[int, tuple[str | None, ...]] = {EMAIL: (None,), PUSH: self.facts.person.devices}
            for device_id in targets.get(channel, ()):
                yield {
                    **self._common(),
                    "id": new_id(),
                    "notification_id": self.letter.id,
                    "channel": channel,
                    "notification_device_id": device_id,
                    "state": int(DEFERRED if wait else QUEUED),
                    "reason": wait.reason if wait else "",
                    "next_attempt_time": (wait.until if wait else self.facts.now).isoformat(),
                }

    def _common(self) -> JsonObject:
        text, expiry = self.letter.texts.best(self.facts.person.languages), self.facts.expire_time
        return {
            "user_id": self.letter.user_id,
            "workflow": self.facts.workflow.key,
            "group_key": self.facts.group_key,
            "priority": self.facts.priority,
            "title": text.title,
            "body": text.body,
            "url": text.url,
            "expire_time": expiry.isoformat() if expiry else None,
            "dedupe_key": self.letter.message.dedupe_key,
        }


def letters_to(user_ids: Sequence[str], message: NotificationMessage, texts: Texts) -> list[Letter]:
    """The same message to several people."""
    return [Letter(new_id(), user_id.lower(), message, texts) for user_id in user_ids]


def check_workflows(messages: Mapping[str, NotificationMessage]) -> None:
    """Raise RuleViolated for unknown workflows. The messages are by their paths in the request."""
    unknown = [path for path, message in messages.items() if (message.workflow or MESSAGE) not in SENDABLE]
    if unknown:
        fault = f"is none of {', '.join(SENDABLE)}"
        raise broken_rules([Violation(f"{path}.workflow", fault, "notification.workflow") for path in unknown])


def _facts(letter: Letter, person: Person, actor_id: str, now: datetime) -> Facts:
    message = letter.message
    return Facts(
        workflow=WORKFLOWS[message.workflow or MESSAGE],
        priority=int(message.priority or Notification.PRIORITY_NORMAL),
        recipient_id=letter.user_id,
        person=person,
        actor_id=actor_id,
        group_key=message.group_key,
        expire_time=message.expire_time.ToDatetime(UTC) if message.HasField("expire_time") else None,
        now=now,
    )


def _store_in_inboxes(
    transaction: WriteTransaction, tenant_id: str, actor_id: str | None, cases: Sequence[_Case]
) -> list[Notification]:
    """Store what is for inboxes. What was told before is told nowhere."""
    wanted = [case for case in cases if IN_APP in case.decision.channels]
    if not wanted:
        return []
    rows = [case.row(actor_id) for case in wanted]
    stored = PLAN.messages(transaction.run(STORE, tenant=tenant_id, given={"rows": rows}))
    new = {notification.id for notification in stored}
    for case in wanted:
        if case.letter.id not in new:
            case.note_repetition()
    return stored


def _keep_runs(transaction: WriteTransaction, tenant_id: str, cases: Sequence[_Case]) -> None:
    rows = [
        {
            "id": case.letter.id,
            "user_id": case.letter.user_id,
            "workflow": case.facts.workflow.key,
            "is_told": case.decision.is_told,
            "explanation": json_format.MessageToDict(case.decision.explanation),
        }
        for case in cases
    ]
    transaction.queue(KEEP_RUNS, tenant=tenant_id, given={"rows": rows})


def _shown(channel: int) -> "NotificationChannel":
    return cast("NotificationChannel", channel)
