"""The worker's composition root: the only place that constructs the parts of a background worker.

The background work of a domain is declared in its module.py.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from server import parts
from server.adapters import redis
from server.adapters.breaker import Breaker
from server.adapters.generations import RedisGenerations
from server.adapters.providers import HttpProviders
from server.adapters.webhook_sender import WebhookSenders
from server.data.connections import Connections, Doubt
from server.data.liveness import LONG_IN_TRANSACTION
from server.data.liveness import STATEMENT_TIMEOUT as STATEMENT_TIMEOUT_OF_READERS
from server.data.tables import metadata
from server.data.transactions import Database
from server.job_calls import JobCalls
from server.kernel.caching import Generations
from server.kernel.clock import utc_now
from server.kernel.jobs import Job, Schedule
from server.kernel.module import Background, BackgroundService, Foundation, WorkerPlatform
from server.kernel.ports import join_offers
from server.kernel.providers.carrying import Carrier
from server.metrics import metering
from server.metrics.metering import Meter, Reading
from server.modules import MODULES, privacy, services
from server.settings import Settings
from server.workers.clock_watch import ClockKeeper
from server.workers.gauges import Gauges
from server.workers.job_worker import JobWorker
from server.workers.lost_sessions import LostSessions
from server.workers.maintenance import Maintenance
from server.workers.rescue import Rescue, stalled_after
from server.workers.search import SearchUpkeep
from server.workers.supervision import run_until

# Number of threads for jobs that are plain functions, and of their connections.
JOB_THREADS = 4
HOUSE_THREADS = 3
# Seconds for one SQL statement: less than a job may take, but more than a waiting caller would accept.
STATEMENT_TIMEOUT = 120.0
# Seconds for the rest of the shutdown, after the jobs have been put back.
LAST_SECONDS = 1.0


class Worker:
    """All parts that one background worker needs."""

    def __init__(self, settings: Settings, name: str) -> None:
        """`name` appears in logs, in metrics, and in PostgreSQL."""
        self._settings = settings
        self._name = name
        self._threads = ThreadPoolExecutor(JOB_THREADS, thread_name_prefix="job")
        # Separate threads, so that long jobs do not delay the rescue of other jobs or the gauges of the queues.
        self._house_threads = ThreadPoolExecutor(HOUSE_THREADS, thread_name_prefix="housekeeping")
        own = settings.model_copy(update={"database_pool_size": JOB_THREADS, "statement_timeout": STATEMENT_TIMEOUT})
        # Shared, so that one pool learns from another that the peer has fallen silent.
        doubt = Doubt()
        self.database = Database(parts.connect(own, name, doubt=doubt, in_transaction=LONG_IN_TRANSACTION))
        # For short work that repeats every few seconds, with the normal statement timeout instead of that of jobs.
        house = settings.model_copy(update={"database_pool_size": HOUSE_THREADS})
        self.house = Database(parts.connect(house, f"{name} house", idle=0, doubt=doubt))
        self.dispatch = Database(_dispatch(own, f"{name} dispatch", doubt))
        # For sealing, which repeats every few seconds. Other work with this role may take longer.
        self.sealing = Database(_dispatch(settings, f"{name} sealing", doubt))
        self._meter = Meter(self._readings)
        self._providers = HttpProviders(settings)
        self._generations = _generations(settings)
        self._calls = JobCalls(settings, name, JOB_THREADS)
        platform = self._platform()
        self._backgrounds = [module.background(platform) for module in MODULES if module.background]
        self._backgrounds.append(self._carried_on(platform))
        self._search = SearchUpkeep(self.database, (service.resource for service in services()))
        schedules = [
            *self._maintenance().schedules(),
            self._search.schedule,
            *(each for one in self._backgrounds for each in one.schedules),
        ]
        self._jobs_worker = JobWorker(
            settings.runtime_dsn,
            distinct_jobs(self._backgrounds, schedules, self._long_jobs()),
            schedules,
            partial(redis.hints, settings.redis_dsn, settings.redis_timeout, redis.JOBS),
            slots=settings.job_slots,
            threads=self._threads,
            patience=settings.drain_timeout,
            statement_timeout=min(settings.statement_timeout, STATEMENT_TIMEOUT_OF_READERS),
            name=name,
        )
        self._clock = ClockKeeper(self.database, name, self._house_threads)
        self._running = self._services()

    def _readings(self) -> tuple[Reading, ...]:
        return (
            metering.of_process(self._name),
            metering.of_pulses(self._name),
            metering.of_connections(self._name, "fast", self.database.connections),
        )

    def open(self) -> None:
        """Connect."""
        self.database.connections.open()
        self.house.connections.open()
        self.dispatch.connections.open()
        self.sealing.connections.open()
        self._generations.open()
        self._meter.start()

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until the event. Jobs that run then have the drain timeout left."""
        # Stored times are compared by PostgreSQL's clock, which must be known first.
        if await self._clock.begin(stopped):
            await run_until(stopped, self._running, patience=self._settings.drain_timeout + LAST_SECONDS)

    def close(self) -> None:
        """Close all parts."""
        for threads in (self._threads, self._house_threads):
            threads.shutdown(wait=False, cancel_futures=True)
        self._meter.close()
        self._calls.close()
        self._providers.close()
        self.sealing.connections.close()
        self.dispatch.connections.close()
        self.house.connections.close()
        self.database.connections.close()

    def _services(self) -> list[BackgroundService]:
        """The services that run all the time."""
        settings = self._settings
        return [
            self._jobs_worker,
            Rescue(self.house, stalled_after(settings.drain_timeout), self._house_threads),
            Gauges(self.house, self._jobs_worker.queues, settings.job_patience, self._house_threads),
            LostSessions((self.house, self.sealing), self._house_threads),
            self._clock,
            self._search.at_start(self._threads),
            *(service for background in self._backgrounds for service in background.services),
        ]

    def _platform(self) -> WorkerPlatform:
        """The parts of the platform that the background work of a domain may take."""
        settings, egress = self._settings, parts.egress(self._settings)
        foundation = Foundation(settings=settings, clock=utc_now, database=self.database, generations=self._generations)
        return WorkerPlatform(
            settings=settings,
            clock=utc_now,
            process=self._name,
            database=self.database,
            dispatch=self.dispatch,
            quick_dispatch=self.sealing,
            house_threads=self._house_threads,
            egress=egress,
            senders=WebhookSenders(egress),
            providers=self._providers,
            hints=partial(redis.hints, settings.redis_dsn, settings.redis_timeout),
            generations=self._generations,
            ports=join_offers({module.name: module.offers(foundation) for module in MODULES if module.offers}),
            privacy=privacy(),
            on_behalf=self._calls.of,
        )

    def _carried_on(self, platform: WorkerPlatform) -> Background:
        """The work that brings the moves of all domains to an end."""
        moves = [move for background in self._backgrounds for move in background.moves]
        carrier = Carrier(moves, platform.database, platform.dispatch, self._generations, platform.clock)
        return Background(jobs=carrier.jobs, schedules=carrier.schedules)

    def _long_jobs(self) -> list[Job]:
        return [each.job(self.database) for background in self._backgrounds for each in background.long_jobs]

    def _maintenance(self) -> Maintenance:
        retention = [each for module in MODULES for each in module.retention]
        return Maintenance(self.database, self.dispatch, self._settings, metadata.sorted_tables, retention)


def distinct_jobs(backgrounds: list[Background], schedules: list[Schedule], long_jobs: Iterable[Job] = ()) -> list[Job]:
    """Every job, once. Raises LookupError for two jobs of one name."""
    jobs: dict[str, Job] = {}
    for job in (
        *(job for background in backgrounds for job in background.jobs),
        *(schedule.job for schedule in schedules),
        *long_jobs,
    ):
        if jobs.setdefault(job.name, job) != job:
            raise LookupError(f"the job `{job.name}` is declared twice")
    return list(jobs.values())


def _dispatch(settings: Settings, name: str, doubt: Doubt) -> Connections:
    """Connections as the role for background work across tenants, for work in threads."""
    return Connections(
        settings.dispatch_dsn,
        size=JOB_THREADS,
        idle=0,
        wait=settings.database_connect_timeout,
        statement_timeout=settings.statement_timeout,
        name=f"plinth {name}",
        doubt=doubt,
    )


def _generations(settings: Settings) -> Generations:
    """The generations of cached answers, which jobs invalidate too."""
    if not settings.redis_url:
        return Generations(settings.socket_dir / "generations")
    client = redis.connect(settings.redis_dsn, settings.redis_timeout)
    return Generations(settings.socket_dir / "generations", RedisGenerations(client, Breaker("generations")))
