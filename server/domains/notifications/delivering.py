"""Delivering: what waits in the queue of deliveries is handed to the queue of mail, or pushed to devices."""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import psycopg

from server.data.connections import DatabaseUnavailable
from server.data.statements import Row
from server.data.transactions import Database
from server.domains.notifications.delivery_queue import FAILED, End, claim
from server.domains.notifications.fcm import Fcm
from server.domains.notifications.preparing import Preparer, Push
from server.domains.notifications.push_outcomes import REFUSED, Chance, Verdict, outcome_of, verdict_of
from server.domains.notifications.subscriptions import FcmToken
from server.domains.notifications.vapid import VapidKeys
from server.domains.notifications.web_push import Sendable, Subscription, sendable
from server.kernel.clock import Clock
from server.kernel.ports import Sender, Senders
from server.kernel.work_queue import WorkQueue

log = logging.getLogger("plinth.notifications")
FCM_THREADS = 8
# What another attempt may find over. Other errors of the database are faults of ours.
PASSING = (psycopg.OperationalError, DatabaseUnavailable)
T = TypeVar("T")


class Deliverer:
    """A background service that sends what is due in all tenants. Several workers run it."""

    def __init__(
        self,
        dispatch: Database,
        threads: Executor,
        preparer: Preparer,
        senders: Senders,
        *,
        keys: VapidKeys,
        fcm: Fcm | None,
        at_once: int,
        clock: Clock,
        chance: Chance = random.random,
    ) -> None:
        """`dispatch` claims. `fcm` is None where it is not set up."""
        self._queue = WorkQueue(partial(claim, dispatch), threads, at_once=at_once, what="delivery of a notification")
        self._threads, self._preparer, self._senders = threads, preparer, senders
        self._keys, self._fcm, self._clock, self._chance = keys, fcm, clock, chance
        # A provider's answer takes as long as it takes.
        self._fcm_threads = ThreadPoolExecutor(FCM_THREADS, thread_name_prefix="fcm")

    async def run(self) -> None:
        """Send until cancelled. What is being sent then is sent to its end."""
        async with self._senders() as sender:
            await self._queue.run(partial(self._deliver, sender))

    async def _deliver(self, sender: Sender, group: list[Row]) -> None:
        try:
            for push in await self._in_thread(partial(self._preparer.prepare, group)):
                verdict = await self._push(sender, push)
                outcome = outcome_of(verdict, push.row["attempts"], self._clock(), self._chance)
                end = End(push.row, outcome.state, outcome.reason, is_attempt=True, again=outcome.again)
                await self._in_thread(partial(self._preparer.finish, end))
        except PASSING as error:
            # The lease ends, and the delivery is claimed again.
            log.warning("a notification cannot be delivered: %s", type(error).__name__)
        except Exception:
            log.exception("a notification could not be delivered")
            await self._in_thread(partial(self._preparer.give_up, group))

    async def _push(self, sender: Sender, push: Push) -> Verdict:
        if isinstance(push.target, FcmToken):
            by_fcm = partial(self._push_by_fcm, push, push.target.token)
            return await asyncio.get_running_loop().run_in_executor(self._fcm_threads, by_fcm)
        message = await self._in_thread(partial(self._encrypted, push, push.target))
        return verdict_of(await sender.send(push.target.endpoint, message.headers, message.body))

    def _push_by_fcm(self, push: Push, token: str) -> Verdict:
        if self._fcm is None:
            return Verdict(FAILED, REFUSED)
        seconds = int(push.ttl.total_seconds())
        return self._fcm.send(token, push.text, push.row["priority"], ttl_seconds=seconds)

    def _encrypted(self, push: Push, subscription: Subscription) -> Sendable:
        return sendable(subscription, self._keys, push.text, push.row["priority"], ttl=push.ttl, now=self._clock())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
