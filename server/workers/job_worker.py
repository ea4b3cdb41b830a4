"""Runs jobs and schedules: procrastinate's worker, on a small pool of connections of its own.

A job is never lost, because procrastinate marks it as running on a worker that shows a heartbeat. If the worker dies or
loses the job, any other worker puts it back (rescue.py). A worker that cannot store the result of a job retries. If
that does not help, it ends, and its jobs count as lost.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, cast

from croniter import croniter
from procrastinate import App, JobContext

from server.kernel.clock import Clock, utc_now
from server.kernel.hints import Hints
from server.kernel.jobs import Job, Retry, Schedule
from server.workers.adapter import InsistentConnector, KnownTasks, RetryStrategy
from server.workers.metrics import JOB_FAILURES, JOB_RETRIES, JOB_SECONDS
from server.workers.rescue import stalled_after

if TYPE_CHECKING:
    from procrastinate.tasks import ConfigureTaskOptions
    from procrastinate.types import JSONDict

log = logging.getLogger("plinth.jobs")
# procrastinate logs every job at INFO, and permanent failures at ERROR.
logging.getLogger("procrastinate").setLevel(logging.WARNING)
HEARTBEAT = 10.0
# The table is authoritative; notifications and hints may get lost.
POLL = 2.0
# A scheduled time that was missed is made up for within this time, so that nightly jobs are too.
CATCH_UP = timedelta(hours=25).total_seconds()
# The argument that procrastinate adds to scheduled jobs.
MOMENT = "timestamp"
# Removes the waiting runs of the same schedule when one starts, because it does their work too.
DROP_WAITING = "DELETE FROM procrastinate_jobs WHERE id > %(id)s AND lock = %(lock)s AND status = 'todo'"
# About a day.
UNKNOWN = Retry(attempts=40, first_pause=5.0, longest_pause=3600.0)


class UnknownJob(Exception):
    """The worker has no job of this name."""


class Cancelled(Exception):
    """A job has cancelled itself, which counts as its failure."""


class JobWorker:
    """A background service that runs jobs, and enqueues those that are due by a schedule."""

    def __init__(
        self,
        dsn: str,
        jobs: Sequence[Job],
        schedules: Sequence[Schedule],
        hints: Hints,
        *,
        slots: int,
        threads: ThreadPoolExecutor,
        patience: float,
        statement_timeout: float,
        name: str,
        clock: Clock = utc_now,
    ) -> None:
        """Up to `slots` jobs run at the same time; plain functions run in `threads`. `hints` tell of new jobs.

        Jobs that run when the service is cancelled have `patience` seconds left, and are then put back. Raises
        ValueError for two jobs of one name, an invalid schedule, two schedules with the same job and name, and a
        schedule whose job is not among the jobs.
        """
        _check(jobs, schedules)
        self._jobs = jobs
        for job in jobs:
            # Created at 0, so that the first failure is an increase.
            JOB_FAILURES.labels(job.name)
        self._schedules = schedules
        self._slots = slots
        self._threads = threads
        self._patience = patience
        self._connector = partial(
            InsistentConnector, dsn, hints, name=f"plinth {name} jobs", statement_timeout=statement_timeout
        )
        self._name = name
        self._clock = clock

    @property
    def queues(self) -> list[str]:
        """The queues of its jobs. Jobs in other queues wait for a worker that knows them."""
        return sorted({job.queue for job in self._jobs})

    async def run(self) -> None:
        """Work until cancelled, or until the database is lost."""
        async with self._app().open_async() as app:
            await app.run_worker_async(
                name=self._name,
                queues=self.queues,
                concurrency=self._slots,
                fetch_job_polling_interval=POLL * random.uniform(0.8, 1.2),  # noqa: S311 - jitter
                abort_job_polling_interval=POLL,
                shutdown_graceful_timeout=self._patience,
                delete_jobs="successful",
                install_signal_handlers=False,
                update_heartbeat_interval=HEARTBEAT,
                stalled_worker_timeout=stalled_after(self._patience),
            )

    def _app(self) -> App:
        """The configuration of procrastinate, made anew for each run because it keeps state."""
        app = App(connector=self._connector(), periodic_defaults={"max_delay": CATCH_UP})
        unknown = app.task(name="unknown", pass_context=True, retry=RetryStrategy(UNKNOWN, self._clock))(self._refuse)
        app.tasks = KnownTasks(unknown)
        for job in self._jobs:
            retry = RetryStrategy(job.retry, self._clock)
            app.task(name=job.name, queue=job.queue, pass_context=True, retry=retry)(partial(self._perform, job))
        for schedule in self._schedules:
            name = schedule.job.name
            options: ConfigureTaskOptions = {
                "task_kwargs": cast("JSONDict", dict(schedule.arguments)),
                "lock": f"schedule {name} {schedule.name}",
            }
            app.periodic_registry.register_task(app.tasks[name], schedule.cron, schedule.name, options)
        return app

    async def _perform(self, job: Job, context: JobContext, /, **arguments: object) -> None:
        """Make one attempt."""
        if context.job.lock is not None:
            # Only schedules have locks. Their runs do not pile up behind a long one.
            arguments.pop(MOMENT, None)
            await context.app.connector.execute_query_async(DROP_WAITING, id=context.job.id, lock=context.job.lock)
        started = perf_counter()
        try:
            async with asyncio.timeout(job.timeout):
                await self._do(job, arguments, context)
        except Exception as error:
            self._note_failure(job.name, job.retry, context, error)
            raise
        finally:
            JOB_SECONDS.labels(job.name).observe(perf_counter() - started)

    async def _do(self, job: Job, arguments: dict[str, object], context: JobContext) -> None:
        task = asyncio.current_task()
        try:
            if job.is_async:
                await job.run(**arguments)  # type: ignore[misc]
            else:
                await asyncio.get_running_loop().run_in_executor(self._threads, partial(job.run, **arguments))
        except asyncio.CancelledError:
            if task is not None and task.cancelling():
                raise
            # Not cancelled from outside.
            raise Cancelled(f"job {job.name} {context.job.id} has cancelled itself") from None

    async def _refuse(self, context: JobContext, /, **_: object) -> None:
        """Fail a job that this worker does not know."""
        error = UnknownJob(context.job.task_name)
        self._note_failure("unknown", UNKNOWN, context, error)
        raise error

    def _note_failure(self, label: str, retry: Retry, context: JobContext, error: Exception) -> None:
        """Count the failure. procrastinate logs permanent failures in full."""
        attempt = context.job.attempts + 1
        if retry.pause(attempt) is None:
            JOB_FAILURES.labels(label).inc()
            return
        JOB_RETRIES.labels(label).inc()
        log.warning("job %s %s failed for the %d. time: %r", context.job.task_name, context.job.id, attempt, error)


def _check(jobs: Sequence[Job], schedules: Sequence[Schedule]) -> None:
    names = Counter(job.name for job in jobs)
    moments = Counter((schedule.job.name, schedule.name) for schedule in schedules)
    faults = [f"{count} jobs are called {name}" for name, count in names.items() if count > 1]
    faults += [f"{count} schedules of {name} are called {own!r}" for (name, own), count in moments.items() if count > 1]
    faults += [f"{name} has a schedule but is no job" for name in {name for name, _ in moments} - names.keys()]
    faults += [f"{plan.cron!r} is no schedule" for plan in schedules if not croniter.is_valid(plan.cron)]
    if faults:
        raise ValueError("; ".join(faults))
