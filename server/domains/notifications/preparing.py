"""Preparing: what becomes of deliveries that were claimed, each in a transaction of its own tenant.

Whether they are still wanted is asked again: preferences may have changed, and the person may have read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from plinth.notifications.v1.notification_device_pb2 import NotificationDevice
from sqlalchemy import ARRAY, any_, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import DatabaseUnavailable
from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.notifications.choices import choice_of
from server.domains.notifications.delivery_queue import (
    CANCELLED,
    DEFERRED,
    EXPIRED,
    FAILED,
    MERGED,
    SENDING,
    SENT,
    UNCERTAIN,
    End,
    finish,
)
from server.domains.notifications.people import People
from server.domains.notifications.pipeline import NOT_A_MEMBER, UNREACHABLE, UNWANTED, Facts, Person, waits
from server.domains.notifications.push_outcomes import GONE
from server.domains.notifications.settings import NotificationSettings
from server.domains.notifications.subscriptions import FcmToken, Target, unseal
from server.domains.notifications.tables import notification_devices, notifications
from server.domains.notifications.vapid import VapidKeys
from server.domains.notifications.waiting import QUIET_HOURS
from server.domains.notifications.web_push import PushText
from server.domains.notifications.workflows import EMAIL, WORKFLOWS
from server.kernel.clock import Clock
from server.kernel.ports import Mail, Ports
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan
from server.kernel.sealing import SealedBox, UnknownKey

CAUSE = "notifications.deliver"
DEVICE_GONE = "notification_device.gone"
READ, FAULT = "READ", "FAULT"
FEW_AFTER_QUIET_HOURS = 3
"""As many come one by one; more come as one."""
LINES = 10
LIFETIME = timedelta(days=1)
"""How long a push service keeps what it cannot deliver."""
_id = UUID(as_uuid=False)
_n, _d = notifications.c, notification_devices.c
_tenant = bindparam("tenant", type_=_id)
READ_ONES = Statement(
    select(_n.id).where(_n.tenant_id == _tenant, _n.id == any_(bindparam("asked", type_=ARRAY(_id))), ~_n.unread)
)
"""Takes `tenant` and the ids `asked`."""
DEVICES = ConversionPlan(
    NotificationDevice, notification_devices, ("endpoint_hash", "subscription"), ("web_push", "fcm")
)
_is_device = (_d.tenant_id == _tenant, _d.id == bindparam("device", type_=_id))
DEVICE = Statement(select(_d.subscription).where(*_is_device))
REMOVE = Statement(delete(notification_devices).where(*_is_device).returning(*DEVICES.columns))
TOOK = Statement(update(notification_devices).where(*_is_device).values(last_success_time=func.now()))
"""All take `tenant` and `device`."""


@dataclass(frozen=True, slots=True)
class Push:
    """A push that is to be sent."""

    row: Row
    target: Target
    text: PushText
    ttl: timedelta


class Preparer:
    """Decides about claimed deliveries. Every method blocks."""

    def __init__(
        self,
        database: Database,
        ports: Ports,
        settings: NotificationSettings,
        *,
        box: SealedBox,
        keys: VapidKeys,
        clock: Clock,
    ) -> None:
        """`database` reads and writes within one tenant."""
        self._database, self._people, self._mails = database, People(ports), ports.mails
        self._settings, self._box, self._keys, self._clock = settings, box, keys, clock

    def prepare(self, group: Sequence[Row]) -> list[Push]:
        """End what does not go out, and hand over mail. Returns what is to be pushed.

        The group is of one person, channel and device.
        """
        tenant_id, user_id = group[0]["tenant_id"], group[0]["user_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            person = self._people.among(transaction, tenant_id, [user_id]).get(user_id, Person())
            ends, going = self._still_wanted(transaction, tenant_id, person, group)
            shown, merged = _merged(going)
            ends += merged
            pushes: list[Push] = []
            if shown and shown[0]["channel"] == EMAIL:
                ends += [self._mail(transaction, row, person) for row in shown]
            elif shown:
                ends += self._add_pushes(transaction, shown, pushes)
            if len(finish(transaction, tenant_id, ends)) < len(ends):
                # Another worker has claimed them meanwhile: nothing of this happens here.
                raise LostLease
        return pushes

    def finish(self, end: End) -> None:
        """Write what became of a push."""
        tenant_id = end.row["tenant_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            if not finish(transaction, tenant_id, [end]):
                return
            if end.reason == GONE:
                self._remove(transaction, end.row)
            elif end.state == SENT:
                transaction.queue(TOOK, tenant=tenant_id, device=end.row["notification_device_id"])

    def give_up(self, group: Sequence[Row]) -> None:
        """End deliveries that met a fault of ours, which would come again and again."""
        tenant_id = group[0]["tenant_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            finish(transaction, tenant_id, [End(row, FAILED, FAULT) for row in group])

    def _still_wanted(
        self, transaction: WriteTransaction, tenant_id: str, person: Person, group: Sequence[Row]
    ) -> tuple[list[End], list[Row]]:
        """What has ended otherwise, and what goes out."""
        asked = [row["notification_id"] for row in group]
        read = {row["id"] for row in transaction.run(READ_ONES, tenant=tenant_id, asked=asked).all()}
        ends: list[End] = []
        going: list[Row] = []
        for row in group:
            end = self._end_of(row, person, is_read=row["notification_id"] in read)
            if end is None:
                going.append(row)
            else:
                ends.append(end)
        return ends, going

    def _end_of(self, row: Row, person: Person, *, is_read: bool) -> End | None:
        """What becomes of a delivery that does not go out now; None for one that does."""
        now = self._clock()
        if row["state"] == SENDING and row["channel"] != EMAIL:
            return End(row, UNCERTAIN)
        if row["expire_time"] is not None and row["expire_time"] <= now:
            return End(row, EXPIRED)
        reason = _reason_against(row, person, now, is_read=is_read)
        if reason:
            return End(row, CANCELLED, reason)
        wait = waits(_facts_of(row, person, now), row["channel"], is_new=False)
        return End(row, DEFERRED, wait.reason, again=wait.until) if wait else None

    def _mail(self, transaction: WriteTransaction, row: Row, person: Person) -> End:
        """Hand it to the queue of mail, in the transaction that ends the delivery."""
        text = "\n\n".join(part for part in (row["title"], row["body"], self._settings.link(row["url"])) if part)
        mail = Mail(
            to=person.email, subject=row["title"], text=text, user_id=row["user_id"], tenant_id=row["tenant_id"]
        )
        self._mails.add(transaction, mail)
        return End(row, SENT, is_attempt=True)

    def _add_pushes(self, transaction: WriteTransaction, shown: Sequence[Row], pushes: list[Push]) -> list[End]:
        """Add the pushes to their device. Returns what becomes of the deliveries until they are sent."""
        device = shown[0]["notification_device_id"]
        found = transaction.run(DEVICE, tenant=shown[0]["tenant_id"], device=device).first()
        if found is None:
            return [End(row, CANCELLED, UNREACHABLE) for row in shown]
        try:
            target = unseal(self._box, found["subscription"], device)
        except (UnknownKey, InvalidTag):
            target = None
        if target is None or not (isinstance(target, FcmToken) or self._keys.knows(target.public_key)):
            # Nobody can push to it any more.
            self._remove(transaction, shown[0])
            return [End(row, FAILED, GONE) for row in shown]
        pushes += [self._push_of(row, target) for row in shown]
        # From the commit on, nobody knows whether they were sent, until their end is written.
        return [End(row, SENDING, again=row["lease_time"]) for row in shown]

    def _push_of(self, row: Row, target: Target) -> Push:
        text = PushText(row["notification_id"], row["title"], row["body"], self._settings.link(row["url"]))
        ttl = LIFETIME if row["expire_time"] is None else min(LIFETIME, row["expire_time"] - self._clock())
        return Push(row, target, text, ttl)

    def _remove(self, transaction: WriteTransaction, row: Row) -> None:
        """Remove a device that is gone."""
        removed = transaction.run(REMOVE, tenant=row["tenant_id"], device=row["notification_device_id"])
        for device in DEVICES.messages(removed):
            record_platform_change(
                transaction,
                DEVICE_GONE,
                cause=CAUSE,
                before=device,
                after=device,
                now=self._clock(),
                tenant_id=row["tenant_id"],
                audience=row["user_id"],
            )


class LostLease(DatabaseUnavailable):
    """A lease has ended before its work."""


def _reason_against(row: Row, person: Person, now: datetime, *, is_read: bool) -> str:
    """Why a delivery is no longer wanted; empty if it is."""
    if not person.is_member:
        return NOT_A_MEMBER
    if is_read:
        return READ
    workflow = WORKFLOWS.get(row["workflow"])
    if workflow is None or not choice_of(person.rules, workflow, row["channel"], now, row["group_key"]).is_wanted:
        return UNWANTED
    return UNREACHABLE if row["channel"] == EMAIL and not person.email else ""


def _facts_of(row: Row, person: Person, now: datetime) -> Facts:
    return Facts(
        workflow=WORKFLOWS[row["workflow"]],
        priority=row["priority"],
        recipient_id=row["user_id"],
        person=person,
        actor_id="",
        group_key=row["group_key"],
        expire_time=row["expire_time"],
        now=now,
    )


def _merged(going: Sequence[Row]) -> tuple[list[Row], list[End]]:
    """What goes out, and what is told by it. What has waited comes as one, but for a few after quiet hours."""
    are_few = len(going) <= FEW_AFTER_QUIET_HOURS and all(row["reason"] == QUIET_HOURS for row in going)
    if len(going) <= 1 or are_few:
        return list(going), []
    *others, newest = going
    titles = [row["title"] for row in reversed(others)]
    lines = [newest["body"], *titles[:LINES], f"… (+{len(titles) - LINES})" if len(titles) > LINES else ""]
    summary: Row = {
        **newest,
        "title": f"{newest['title']} (+{len(others)})",
        "body": "\n".join(line for line in lines if line),
    }
    return [summary], [End(row, MERGED, merged_into_id=newest["id"]) for row in others]
