"""Delivering: what waits in the queue of deliveries is handed to the queue of mail, or pushed to devices.

Whether it is still wanted is asked again when it goes out: preferences may have changed, and it may have been read.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import psycopg
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
    claim,
    finish,
)
from server.domains.notifications.fcm import Fcm
from server.domains.notifications.people import People
from server.domains.notifications.pipeline import (
    NOT_A_MEMBER,
    UNREACHABLE,
    UNWANTED,
    Facts,
    Person,
    waits,
)
from server.domains.notifications.push_outcomes import GONE, REFUSED, Chance, Verdict, outcome_of, verdict_of
from server.domains.notifications.settings import NotificationSettings
from server.domains.notifications.subscriptions import FcmToken, Target, unseal
from server.domains.notifications.tables import notification_devices, notifications
from server.domains.notifications.vapid import UnknownVapidKey, VapidKeys
from server.domains.notifications.waiting import QUIET_HOURS
from server.domains.notifications.web_push import PushText, Sendable, sendable
from server.domains.notifications.workflows import EMAIL, WORKFLOWS
from server.kernel.clock import Clock
from server.kernel.ports import Mail, Ports, Sender, Senders
from server.kernel.record import record_platform_change
from server.kernel.resources import ConversionPlan
from server.kernel.sealing import SealedBox, UnknownKey

log = logging.getLogger("plinth.notifications")
CAUSE = "notifications.deliver"
DEVICE_GONE = "notification_device.gone"
READ, FAULT = "READ", "FAULT"
# Seconds between two looks at the queue that found nothing.
POLL = 1.0
RECONNECT = 2.0
FEW_AFTER_QUIET_HOURS = 3
"""As many come one by one; more come as one."""
LINES = 10
FCM_THREADS = 8
LIFETIME = timedelta(days=1)
"""How long a push service keeps what it cannot deliver."""
T = TypeVar("T")
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
    """A push that is ready to go."""

    row: Row
    target: Target
    text: PushText
    ttl: timedelta
    message: Sendable | None
    """By Web Push."""


class Deliverer:
    """A background service that sends what is due in all tenants. Several workers run it."""

    def __init__(
        self,
        dispatch: Database,
        database: Database,
        threads: Executor,
        ports: Ports,
        senders: Senders,
        *,
        box: SealedBox,
        keys: VapidKeys,
        settings: NotificationSettings,
        fcm: Fcm | None,
        clock: Clock,
        chance: Chance = random.random,
    ) -> None:
        """`dispatch` claims; `database` reads and writes within one tenant. `fcm` is None where it is not set up."""
        self._dispatch, self._database, self._threads = dispatch, database, threads
        self._people, self._mails, self._senders = People(ports), ports.mails, senders
        self._box, self._keys, self._settings = box, keys, settings
        self._fcm, self._clock, self._chance = fcm, clock, chance
        # A provider's answer takes as long as it takes.
        self._fcm_threads = ThreadPoolExecutor(FCM_THREADS, thread_name_prefix="fcm")

    async def run(self) -> None:
        """Send until cancelled. What is being sent then is sent to its end."""
        under_way: set[asyncio.Task[None]] = set()
        async with self._senders() as sender:
            try:
                while True:
                    groups = await self._claim(self._settings.notification_push_concurrency - len(under_way))
                    for group in groups:
                        task = asyncio.create_task(self._deliver(sender, group))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                        task.add_done_callback(_note_fault)
                    if under_way:
                        await asyncio.wait(under_way, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        await asyncio.sleep(POLL)
            finally:
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _claim(self, room: int) -> list[list[Row]]:
        if room < 1:
            return []
        try:
            return await self._in_thread(lambda: claim(self._dispatch, room))
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("no notification can be delivered: %s", type(error).__name__)
            await asyncio.sleep(RECONNECT)
            return []

    async def _deliver(self, sender: Sender, group: list[Row]) -> None:
        try:
            for push in await self._in_thread(lambda: self._prepare(group)):
                verdict = await self._push(sender, push)
                outcome = outcome_of(verdict, push.row["attempts"], self._clock(), self._chance)
                end = End(push.row, outcome.state, outcome.reason, is_attempt=True, again=outcome.again)
                await self._in_thread(partial(self._finish, end))
        except (psycopg.Error, DatabaseUnavailable) as error:
            # The lease ends, and the delivery is claimed again.
            log.warning("a notification cannot be delivered: %s", type(error).__name__)
        except Exception:
            log.exception("a notification could not be delivered")
            await self._in_thread(partial(self._give_up, group))

    async def _push(self, sender: Sender, push: Push) -> Verdict:
        if isinstance(push.target, FcmToken):
            return await asyncio.get_running_loop().run_in_executor(self._fcm_threads, self._push_by_fcm, push)
        message = push.message or Sendable({}, b"")
        return verdict_of(await sender.send(push.target.endpoint, message.headers, message.body))

    def _push_by_fcm(self, push: Push) -> Verdict:
        if self._fcm is None or not isinstance(push.target, FcmToken):
            return Verdict(FAILED, REFUSED)
        seconds = int(push.ttl.total_seconds())
        return self._fcm.send(push.target.token, push.text, push.row["priority"], ttl_seconds=seconds)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # In threads -----------------------------------------------------------------------------------------------------

    def _prepare(self, group: list[Row]) -> list[Push]:
        """End what does not go out, hand over mail, and make the pushes."""
        tenant_id = group[0]["tenant_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            ends, going = self._still_wanted(transaction, tenant_id, group)
            shown, merged = _merged(going)
            ends += merged
            pushes: list[Push] = []
            for row in shown:
                if row["channel"] == EMAIL:
                    self._mail(transaction, row)
                    ends.append(End(row, SENT, is_attempt=True))
                else:
                    self._add_push(transaction, row, ends, pushes)
            held = finish(transaction, tenant_id, ends) if ends else set()
            if len(held) < len(ends):
                # Another worker has claimed them meanwhile: nothing of this happens here.
                raise LostLease
        return pushes

    def _still_wanted(
        self, transaction: WriteTransaction, tenant_id: str, group: Sequence[Row]
    ) -> tuple[list[End], list[Row]]:
        """What has ended otherwise, and what goes out."""
        user_id = group[0]["user_id"]
        person = self._people.among(transaction, tenant_id, [user_id]).get(user_id, Person())
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

    def _mail(self, transaction: WriteTransaction, row: Row) -> None:
        """Hand it to the queue of mail, in the transaction that ends the delivery."""
        link = self._settings.link(row["url"])
        text = "\n\n".join(part for part in (row["title"], row["body"], link) if part)
        mail = Mail(
            to=row["email"],
            subject=row["title"],
            text=text,
            user_id=row["user_id"],
            tenant_id=row["tenant_id"],
        )
        self._mails.add(transaction, mail)

    def _add_push(self, transaction: WriteTransaction, row: Row, ends: list[End], pushes: list[Push]) -> None:
        device = row["notification_device_id"]
        found = transaction.run(DEVICE, tenant=row["tenant_id"], device=device).first()
        if found is None:
            ends.append(End(row, CANCELLED, UNREACHABLE))
            return
        try:
            pushes.append(self._push_of(row, unseal(self._box, found["subscription"], device)))
            # From the commit on, nobody knows whether it was sent, until its end is written.
            ends.append(End(row, SENDING, again=row["lease_time"]))
        except (UnknownKey, InvalidTag, UnknownVapidKey):
            self._remove(transaction, row)
            ends.append(End(row, FAILED, GONE))

    def _push_of(self, row: Row, target: Target) -> Push:
        """Raises UnknownVapidKey."""
        now = self._clock()
        text = PushText(row["notification_id"], row["title"], row["body"], self._settings.link(row["url"]))
        ttl = LIFETIME if row["expire_time"] is None else min(LIFETIME, row["expire_time"] - now)
        message = None
        if not isinstance(target, FcmToken):
            message = sendable(target, self._keys, text, row["priority"], ttl=ttl, now=now)
        return Push(row, target, text, ttl, message)

    def _give_up(self, group: Sequence[Row]) -> None:
        """A fault of ours would come again and again."""
        tenant_id = group[0]["tenant_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            finish(transaction, tenant_id, [End(row, FAILED, FAULT) for row in group])

    def _finish(self, end: End) -> None:
        tenant_id = end.row["tenant_id"]
        with self._database.write(Scope(tenant_id=tenant_id)) as transaction:
            if not finish(transaction, tenant_id, [end]):
                return
            if end.reason == GONE:
                self._remove(transaction, end.row)
            elif end.state == SENT:
                transaction.queue(TOOK, tenant=tenant_id, device=end.row["notification_device_id"])

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
    if row["channel"] == EMAIL:
        row["email"] = person.email
        return "" if person.email else UNREACHABLE
    return ""


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


def _note_fault(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a notification could not be delivered", exc_info=task.exception())
