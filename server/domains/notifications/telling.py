"""Telling: the pipeline for many people at once, and what it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from google.protobuf import json_format
from plinth.notifications.v1.notification_pb2 import Notification
from plinth.notifications.v1.notification_preferences_pb2 import NotificationRule
from plinth.notifications.v1.notification_sending_pb2 import NotificationMessage, NotificationOutcome
from sqlalchemy import (
    ARRAY,
    Boolean,
    DateTime,
    SmallInteger,
    Text,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID, insert

from server.data.clauses import AnyType
from server.data.statements import Statement
from server.data.transactions import Transaction, WriteTransaction
from server.domains.notifications.pipeline import Decision, Facts, decide, in_inbox, told_before
from server.domains.notifications.tables import (
    notification_counts,
    notification_preferences,
    notification_runs,
    notifications,
)
from server.domains.notifications.workflows import MESSAGE, SENDABLE, WORKFLOWS, Workflow
from server.json_values import JsonObject
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.messages import plain_struct
from server.kernel.ports import Memberships
from server.kernel.problems import Violation, broken_rules
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan

CREATED = "notification.created"
PLAN = ConversionPlan(Notification, notifications, hidden=("dedupe_key",))
_id = UUID(as_uuid=False)
_n, _c, _r, _p = notifications.c, notification_counts.c, notification_runs.c, notification_preferences.c
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
RULES = Statement(
    select(_p.user_id, _p.rules).where(_p.tenant_id == _tenant, _p.id == any_(bindparam("users", type_=ARRAY(_id))))
)
"""Takes `tenant` and `users`."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to one person."""

    id: str
    """Of the notification, if it becomes one."""
    user_id: str
    message: NotificationMessage


class Told(NamedTuple):
    """What came of letters."""

    outcomes: list[NotificationOutcome]
    stored: list[Notification]


class Teller:
    """Tells people something, in a transaction."""

    def __init__(self, memberships: Memberships, clock: Clock) -> None:
        self._memberships, self._clock = memberships, clock

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
        return len(told.stored)

    def tell(
        self, transaction: WriteTransaction, tenant_id: str, actor_id: str | None, letters: Sequence[Letter]
    ) -> Told:
        """Tell them, and keep what was decided. Their events are the caller's."""
        decisions = self._decide(transaction, tenant_id, actor_id or "", letters)
        wanted = [_row(letter, actor_id) for letter in letters if decisions[letter.id].is_told]
        stored: list[Notification] = []
        if wanted:
            stored += PLAN.messages(transaction.run(STORE, tenant=tenant_id, given={"rows": wanted}))
        new = {notification.id for notification in stored}
        for letter in letters:
            decision = decisions[letter.id]
            if letter.id in new:
                decisions[letter.id] = in_inbox(decision)
            elif decision.is_told:
                decisions[letter.id] = told_before(decision, letter.message.dedupe_key)
        _keep_runs(transaction, tenant_id, letters, decisions)
        return Told([_outcome(letter, decisions[letter.id]) for letter in letters], stored)

    def _decide(
        self, transaction: WriteTransaction, tenant_id: str, actor_id: str, letters: Sequence[Letter]
    ) -> dict[str, Decision]:
        user_ids = sorted({letter.user_id for letter in letters})
        members = self._memberships.among(transaction, tenant_id, user_ids)
        rules = rules_of(transaction, tenant_id, user_ids)
        now = self._clock()
        return {
            letter.id: decide(
                Facts(
                    workflow=_workflow(letter.message),
                    recipient_id=letter.user_id,
                    is_member=letter.user_id in members,
                    actor_id=actor_id,
                    group_key=letter.message.group_key,
                    expire_time=_expiry(letter.message),
                    rules=rules.get(letter.user_id, ()),
                    now=now,
                )
            )
            for letter in letters
        }


def letters_to(user_ids: Sequence[str], message: NotificationMessage) -> list[Letter]:
    """The same message to several people."""
    return [Letter(new_id(), user_id.lower(), message) for user_id in user_ids]


def rules_of(
    transaction: Transaction, tenant_id: str, user_ids: Sequence[str]
) -> Mapping[str, tuple[NotificationRule, ...]]:
    """What people have chosen."""
    rows = transaction.run(RULES, tenant=tenant_id, users=list(user_ids)).all()
    return {
        row["user_id"]: tuple(json_format.ParseDict(rule, NotificationRule()) for rule in row["rules"]) for row in rows
    }


def check_workflows(messages: Mapping[str, NotificationMessage]) -> None:
    """Raise RuleViolated for unknown workflows. The messages are by their paths in the request."""
    unknown = [path for path, message in messages.items() if (message.workflow or MESSAGE) not in SENDABLE]
    if unknown:
        fault = f"is none of {', '.join(SENDABLE)}"
        raise broken_rules([Violation(f"{path}.workflow", fault, "notification.workflow") for path in unknown])


def _workflow(message: NotificationMessage) -> Workflow:
    return WORKFLOWS[message.workflow or MESSAGE]


def _expiry(message: NotificationMessage) -> datetime | None:
    return message.expire_time.ToDatetime(UTC) if message.HasField("expire_time") else None


def _row(letter: Letter, actor_id: str | None) -> JsonObject:
    message, workflow, expiry = letter.message, _workflow(letter.message), _expiry(letter.message)
    return {
        "id": letter.id,
        "user_id": letter.user_id,
        "workflow": workflow.key,
        "category": workflow.category,
        "priority": int(message.priority or Notification.PRIORITY_NORMAL),
        "group_key": message.group_key,
        "title": message.title,
        "body": message.body,
        "url": message.url,
        "data": plain_struct(message.data) if message.HasField("data") else None,
        "actor_id": actor_id,
        "expire_time": expiry.isoformat() if expiry else None,
        "dedupe_key": message.dedupe_key,
    }


def _keep_runs(
    transaction: WriteTransaction, tenant_id: str, letters: Sequence[Letter], decisions: Mapping[str, Decision]
) -> None:
    rows = [
        {
            "id": letter.id,
            "user_id": letter.user_id,
            "workflow": _workflow(letter.message).key,
            "is_told": decisions[letter.id].is_told,
            "explanation": json_format.MessageToDict(decisions[letter.id].explanation),
        }
        for letter in letters
    ]
    transaction.queue(KEEP_RUNS, tenant=tenant_id, given={"rows": rows})


def _outcome(letter: Letter, decision: Decision) -> NotificationOutcome:
    return NotificationOutcome(
        user_id=letter.user_id, notification_id=letter.id, is_told=decision.is_told, reason=decision.reason
    )
