"""The adapter to procrastinate: how it connects, which tasks it has, and when it retries."""

import asyncio
import json
from asyncio import CancelledError
from collections.abc import Coroutine, Iterable
from datetime import timedelta
from typing import LiteralString, TypeVar

import psycopg
from procrastinate import BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job as QueuedJob
from procrastinate.tasks import Task
from psycopg_pool import AsyncConnectionPool

from server.data.liveness import CONNECT_TIMEOUT, AsyncConnection, WatchedPool, service_of, session
from server.kernel.clock import Clock
from server.kernel.hints import PACE, HintListener, Hints
from server.kernel.jobs import Retry

CONNECTIONS = 4
# procrastinate sends its heartbeat every 10 s, and looks for jobs every 4 to 6 s.
LATE = 12.0
# Seconds after which a connection that waits for notifications is tested.
LISTENED = 10.0
# What procrastinate's own trigger would notify of.
NEW_JOB = json.dumps({"type": "job_inserted", "job_id": 0})
# Seconds between the attempts to store something in the database, such as the result of a job.
INSISTENCE = (0.2, 0.5, 1.0, 2.0, 4.0)

T = TypeVar("T")
JobTask = Task[..., Coroutine[object, None, None], ...]


class InsistentConnector(PsycopgConnector):
    """A pool of connections that does not give up at once when PostgreSQL restarts.

    The result of a job is stored in one statement. If that were lost, the job would count as running for ever.
    """

    def __init__(self, dsn: str, hints: Hints, *, name: str, statement_timeout: float) -> None:
        """`hints` tell of new jobs. `name` appears in pg_stat_activity.

        A statement may take `statement_timeout` seconds.
        """
        self._hints = HintListener(hints)
        super().__init__(
            conninfo=dsn,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_TIMEOUT,
            pool_factory=WatchedPool,
            pulse=(service_of(name), LATE),
            kwargs={
                "application_name": name,
                "options": session(statement_timeout),
            },
        )

    async def open_async(self, pool: AsyncConnectionPool | None = None) -> None:
        """Connect.

        Raises psycopg_pool.PoolTimeout if PostgreSQL does not answer soon; the service is then run again.
        """
        own = pool or await self._create_pool(self._pool_args)
        self._async_pool = own
        self._pool_externally_set = pool is not None
        await own.open(wait=True, timeout=CONNECT_TIMEOUT)

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Pass notifications on until cancelled: of jobs by hints, of scheduled and cancelled ones from PostgreSQL."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hints.listen())
            group.create_task(self._pass_on_hints(on_notification))
            await super().listen_notify(on_notification, channels)

    async def _pass_on_hints(self, on_notification: Notify) -> None:
        while True:
            if await self._hints.wait(LISTENED):
                await on_notification(channel="hints", payload=NEW_JOB)
                # procrastinate forgets a notification that arrives while it asks for jobs.
                await asyncio.sleep(PACE)
                await on_notification(channel="hints", payload=NEW_JOB)

    async def _loop_notify(
        self, on_notification: Notify, connection: AsyncConnection, timeout: float = LISTENED
    ) -> None:
        """Pass notifications on, until the connection is lost or no longer answers."""
        await super()._loop_notify(on_notification, connection, timeout)

    async def execute_query_async(self, query: LiteralString, **arguments: object) -> None:
        """Run a statement whose result is not needed. All statements of procrastinate may safely run twice."""
        for pause in INSISTENCE:
            try:
                await super().execute_query_async(query, **arguments)
            except ConnectorException as error:
                if not isinstance(error.__cause__, psycopg.OperationalError):
                    raise
                await asyncio.sleep(pause)
            else:
                return
        await super().execute_query_async(query, **arguments)


class KnownTasks(dict[str, JobTask]):
    """The tasks by name. `unknown` handles all others, which a later release may have enqueued."""

    def __init__(self, unknown: JobTask) -> None:
        super().__init__()
        self._unknown = unknown

    def get(self, name: str, default: T | None = None, /) -> JobTask | T:
        """The task of this name, or the one for unknown names."""
        return super().get(name, default or self._unknown)


class RetryStrategy(BaseRetryStrategy):
    """Decides when a job is retried."""

    def __init__(self, retry: Retry, clock: Clock) -> None:
        self._retry = retry
        self._clock = clock

    def get_retry_decision(self, *, exception: BaseException, job: QueuedJob) -> RetryDecision | None:
        """Retry at once if the worker ended, else after a pause, unless that was the last attempt."""
        if isinstance(exception, CancelledError):
            return RetryDecision(retry_at=self._clock())
        pause = self._retry.pause(job.attempts + 1)
        return None if pause is None else RetryDecision(retry_at=self._clock() + timedelta(seconds=pause))
