"""Delivery: queued messages are sent, each queue in order, every message until it is accepted or given up.

A message is sent at least once: a worker that dies between sending and recording leaves it to be sent again, under the
same id. In a queue, the result of a message is stored before the next one is sent, so that a repetition never arrives
after a later event.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import psycopg
from cryptography.exceptions import InvalidTag
from psycopg_pool import PoolTimeout

from server.domains.webhooks.cancellation import cancel_waiting
from server.domains.webhooks.courier import Courier
from server.domains.webhooks.health import Happening
from server.domains.webhooks.outcomes import Chance
from server.domains.webhooks.pauses import Pauses
from server.domains.webhooks.queues import Pool, Queues, Visit, open_pool
from server.domains.webhooks.results import LEASE, Delivered, Result, Results, Unwritten
from server.domains.webhooks.secrets import SecretBox, UnknownKey
from server.domains.webhooks.slots import Slots
from server.kernel.clock import Clock, utc_now
from server.kernel.ports import Senders

log = logging.getLogger("plinth.webhooks")
CONNECTIONS = 4
# Seconds between two looks at the queues without a hint.
POLL = 0.5
RECONNECT = 0.5
# Seconds between two claims, so that one claim finds more than one free slot.
GATHER = 0.005
# Somewhat more than an attempt may take. With less left of the lease, no further message is sent.
LONGEST_ATTEMPT = timedelta(seconds=20)
# The pause of a webhook whose secret cannot be opened, until an administrator corrects the deployment's keys.
KEYLESS_PAUSE = timedelta(minutes=5)
# Seconds for a claim under way, and for unwritten results, when the worker ends.
LAST_STATEMENTS = 2.0
# A lock on a row of one webhook must not hold up the results of all others for long.
OPTIONS = "-c lock_timeout=1000"


class DeliveryEngine:
    """A background service that delivers for the webhooks of all tenants. Several workers run it."""

    def __init__(
        self,
        dsn: str,
        senders: Senders,
        box: SecretBox,
        *,
        name: str,
        concurrency: int,
        patience: float,
        clock: Clock = utc_now,
        chance: Chance = random.random,
    ) -> None:
        """`dsn` is that of the dispatch role. When the worker ends, attempts under way have `patience` seconds left."""
        self._dsn = dsn
        self._senders = senders
        self._box = box
        self._name = name
        self._concurrency = concurrency
        self._patience = patience
        self._clock = clock
        self._chance = chance
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look for deliveries now."""
        self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        pool = open_pool(self._dsn, f"plinth {self._name} webhooks", size=CONNECTIONS, options=OPTIONS)
        async with pool, self._senders() as sender:
            courier = Courier(sender, self._box, clock=self._clock, chance=self._chance)
            run = Run(pool, courier, self._news, concurrency=self._concurrency, clock=self._clock)
            await run.until_cancelled(self._patience)


class Run:
    """One run of the engine: the visits under way, and the state that lasts as long as the run."""

    def __init__(self, pool: Pool, courier: Courier, news: asyncio.Event, *, concurrency: int, clock: Clock) -> None:
        self._pool = pool
        self._courier = courier
        self._news = news
        self._clock = clock
        self._queues = Queues(pool)
        self._slots = Slots(concurrency)
        self._visits: dict[asyncio.Task[None], Visit] = {}
        self._results = Results(pool, self._visits.values(), clock)
        self._pauses = Pauses()
        self._cancelling: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._is_ending = False

    async def until_cancelled(self, patience: float) -> None:
        """Claim and deliver until cancelled.

        Then finish the visits under way within `patience` seconds, and release the rest.
        """
        writing = asyncio.create_task(self._results.run())
        claiming = asyncio.create_task(self._claim_forever())
        try:
            ended, _ = await asyncio.wait((writing, claiming), return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            self._is_ending = True
            self._news.set()
            # A claim under way is not cancelled: its queues would be blocked until their leases expire.
            await _end([claiming], LAST_STATEMENTS)
            await _end(self._visits, patience)
            self._results.close()
            await _end([writing, *self._cancelling.values()], LAST_STATEMENTS)

    # Claiming ------------------------------------------------------------------------------------------------------

    async def _claim_forever(self) -> None:
        while not self._is_ending:
            try:
                found = await self._claim() if self._slots.free else False
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("nothing can be delivered: %s", type(error).__name__)
                await asyncio.sleep(RECONNECT)
            else:
                if not found:
                    await self._wait_for_news()
                await asyncio.sleep(GATHER)

    async def _claim(self) -> bool:
        """Begin visits. Returns whether to look again at once."""
        self._news.clear()
        now = self._clock()
        claim = await self._queues.claim(self._slots.room, now, now + LEASE)
        for visit in claim.visits:
            self._slots.take(visit)
            task = asyncio.create_task(self._visit(visit))
            self._visits[task] = visit
            task.add_done_callback(self._ended)
        for tenant_id, webhook_id in claim.stopped:
            self._cancel_waiting(tenant_id, webhook_id)
        return bool(claim.visits) or not claim.is_all

    async def _wait_for_news(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await self._news.wait()

    def _leave(self, visit: Visit) -> None:
        """Free the slot of a visit whose remaining work takes no time of its receiver."""
        if visit.has_slot:
            visit.has_slot = False
            self._slots.give_back(visit)
            self._news.set()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._leave(self._visits.pop(task))
        if not task.cancelled() and task.exception() is not None:
            log.error("a visit of a webhook failed", exc_info=task.exception())

    # Visiting ------------------------------------------------------------------------------------------------------

    async def _visit(self, visit: Visit) -> None:
        """Send the loaded deliveries of a queue one after another, up to the first failure."""
        again: datetime | None = None
        ends = False
        try:
            for pending in visit.deliveries if visit.receiver is not None else ():
                now = self._clock()
                again = self._pauses.end_for(visit, now)
                if again is not None or visit.lost or visit.lease - now < LONGEST_ATTEMPT:
                    break
                delivered = await self._courier.attempt(visit, pending)
                again = delivered.again
                ends = again is not None or pending is visit.deliveries[-1]
                # A known result is written even if the worker ends now.
                await asyncio.shield(self._write(visit, delivered, ends=ends))
                if ends:
                    return
        except Unwritten:
            # When the lease expires, another worker continues from what is stored.
            return
        except (UnknownKey, InvalidTag):
            log.exception("the secret of webhook %s cannot be opened", visit.webhook_id)
            again = self._clock() + KEYLESS_PAUSE
        except asyncio.CancelledError:
            if not ends:
                # Release the lease, so that the next worker need not wait for its expiry.
                _ignore(self._results.add(Result(visit, ends=True)))
            raise
        with suppress(Unwritten):
            await self._results.add(Result(visit, ends=True, again=again))

    def _write(self, visit: Visit, delivered: Delivered, *, ends: bool) -> "asyncio.Future[None]":
        """Write the result of an attempt. Other visits of the same webhook observe a pause at once."""
        end = delivered.time + LEASE if delivered.happening is Happening.GONE else delivered.pause_until
        written = self._results.add(Result(visit, delivered, ends=ends, again=delivered.again))
        if end is not None:
            self._pauses.note(visit.webhook_id, end)
            written.add_done_callback(lambda _: self._pauses.settle(visit.webhook_id, self._clock()))
        if ends and delivered.happening is Happening.SUCCESS:
            # After a failure, the slot stays taken until the next claim can see the failure.
            self._leave(visit)
        return written

    # Webhooks that were disabled -----------------------------------------------------------------------------------

    def _cancel_waiting(self, tenant_id: str, webhook_id: str) -> None:
        key = (tenant_id, webhook_id)
        if key not in self._cancelling:
            self._cancelling[key] = asyncio.create_task(self._cancel(tenant_id, webhook_id))
            self._cancelling[key].add_done_callback(lambda _: self._cancelling.pop(key, None))

    async def _cancel(self, tenant_id: str, webhook_id: str) -> None:
        try:
            number = await cancel_waiting(self._pool, tenant_id, webhook_id, self._clock())
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("deliveries cannot be cancelled: %s", type(error).__name__)
        else:
            log.info("%d deliveries of webhook %s are cancelled", number, webhook_id)


async def _end(tasks: Iterable["asyncio.Task[None]"], patience: float) -> None:
    """Wait for tasks, and cancel those that take longer than `patience` seconds."""
    waiting = tuple(tasks)
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LAST_STATEMENTS)


def _ignore(future: "asyncio.Future[None]") -> None:
    """Retrieve the exception of a future that is not awaited, so that asyncio logs no warning."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
