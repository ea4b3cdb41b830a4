"""Modules: what a domain declares, and what the platform gives to it.

`server/domains/<domain>/module.py` is all that the rest of Plinth knows of a domain; `server/modules.py` lists them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy import Table

from server.data.grants import NO_GRANTS, Grants
from server.data.transactions import Database
from server.kernel.caching import AnswerCache, Generations
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.current_access import CurrentAccess
from server.kernel.delegation import Delegate, Started
from server.kernel.dependencies import Dependencies
from server.kernel.egress import Egress
from server.kernel.guard import AccessTokens, Guesses, LimitStandings, Permissions, RateLimiter
from server.kernel.inbound import InboundSignature
from server.kernel.jobs import Job, Schedule
from server.kernel.live import LiveEvents
from server.kernel.operations import LongJob
from server.kernel.policy import MethodPolicy
from server.kernel.ports import (
    CacheExplainer,
    KeyGrants,
    Offers,
    Ports,
    Reference,
    Senders,
    StatisticsStore,
    UserGrants,
)
from server.kernel.privacy.declaration import Decision, Export
from server.kernel.privacy.plan import Privacy
from server.kernel.providers import Move, Providers
from server.kernel.queries import PageTokens
from server.kernel.rates import Rate
from server.kernel.resources import AnyService
from server.kernel.roles import Patterns
from server.kernel.transfers import Downloads
from server.settings import DomainSettings, Settings


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """The parts of a process that exist before any domain is loaded."""

    settings: Settings
    clock: Clock
    database: Database
    """Connected as the runtime role, which is subject to row-level security."""
    generations: Generations


class HostFacts(NamedTuple):
    """What a process tells of its host."""

    settings: Callable[[], Iterator[tuple[str, str, bool]]]
    """The settings in force: variable, value (a secret as asterisks), and whether that is the default."""
    metrics: Callable[[], bytes]
    """The metrics of all processes of the host, in the text format of Prometheus."""
    data_dir: Path
    """The folder of data, whose disk must not become full."""


@dataclass(frozen=True, kw_only=True)
class Platform(Foundation):
    """The parts of the platform that the services of a domain may take."""

    process: Callable[[], str]
    """Returns the name of this process, unique in the deployment. Not to be called before the fork."""
    version: str
    """The version of Plinth."""
    services: tuple[type[AnyService], ...]
    """The services of all domains."""
    policies: Mapping[str, MethodPolicy]
    """The policies of all RPCs, by path."""
    reference: Reference
    permissions: Permissions
    page_tokens: PageTokens
    ports: Ports
    user_grants: UserGrants
    key_grants: KeyGrants
    access_tokens: AccessTokens
    limiter: RateLimiter
    guesses: Guesses
    rates: Mapping[str, Rate]
    """The rate of each class, for tenants without a rate of their own."""
    limit_standings: LimitStandings | None
    """None if calls are not limited."""
    cache: AnswerCache | None
    """None if answers are not cached."""
    cache_explainer: CacheExplainer
    statistics: Callable[[str], StatisticsStore]
    """Makes the store of one kind of statistics, such as `cache`."""
    warm: Callable[[Call, str], list[str]]
    """Reads the data that all users of a tenant share through the cache. Returns the names of the methods."""
    dependencies: Dependencies
    host: HostFacts
    egress: Egress
    senders: Senders
    providers: Providers
    live: LiveEvents | None
    """None except in the realtime role, which serves the streams."""
    downloads: Downloads
    privacy: Privacy
    """What becomes of a person's data in all domains."""
    current_access: CurrentAccess
    """Reads for streams, and for other calls without a transaction of their own."""


class BackgroundService(Protocol):
    """Something that a worker runs all the time."""

    async def run(self) -> None:
        """Run until cancelled. It is started again after any exception."""


@dataclass(frozen=True, kw_only=True)
class WorkerPlatform:
    """The parts of the platform that the background work of a domain may take."""

    settings: Settings
    clock: Clock
    process: str
    """The name of this worker."""
    database: Database
    """Connected as the runtime role, for jobs. Statements may take two minutes."""
    dispatch: Database
    """Connected as the role for background work across tenants. Statements may take two minutes."""
    quick_dispatch: Database
    """The same role, for work that repeats every few seconds."""
    house_threads: Executor
    """Threads for work that repeats every few seconds."""
    egress: Egress
    senders: Senders
    providers: Providers
    hints: Callable[[], AsyncIterator[None]]
    """Hints from Redis that an event was written."""
    generations: Generations
    ports: Ports
    privacy: Privacy
    """What becomes of a person's data in all domains."""
    on_behalf: Callable[[Started], Delegate]
    """Who calls RPCs on behalf of the owner of an operation."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """The background work of a domain."""

    jobs: tuple[Job, ...] = ()
    """Jobs that are enqueued. Jobs of schedules may be left out."""
    long_jobs: tuple[LongJob, ...] = ()
    """The work of operations, which calls start with `Call.start`."""
    schedules: tuple[Schedule, ...] = ()
    services: tuple[BackgroundService, ...] = ()
    moves: tuple[Move, ...] = ()
    """The moves of its services, which are carried on when a process dies or an answer is lost."""


@dataclass(frozen=True)
class Serve:
    """A service that is made from parts of the platform."""

    service: type[AnyService]
    make: Callable[[Platform], AnyService]


Kept = timedelta | Callable[[Settings], timedelta]
"""A duration, or a function that reads it from the settings."""


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Rows are deleted some time after the time in one of their columns."""

    table: Table
    by: str
    """The column with that time, which leads an index. A day is text such as `2026-11-21`."""
    after: Kept = timedelta()
    every_tenant: bool = False
    """Whether the deletion needs the role for background work across tenants."""


@dataclass(frozen=True, kw_only=True)
class DropPartitions:
    """Monthly partitions of a table are dropped when their last row is older than `after`."""

    table: Table
    after: Kept


def kept_for(kept: Kept, settings: Settings) -> timedelta:
    """The duration."""
    return kept if isinstance(kept, timedelta) else kept(settings)


@dataclass(frozen=True)
class Module:
    """One domain."""

    name: str
    """The name of its package, `plinth.<name>.v1`."""
    services: tuple[type[AnyService] | Serve, ...] = ()
    """A class in it is constructed without arguments."""
    roles: Mapping[str, Patterns] = field(default_factory=dict)
    """What built-in roles hold of this domain, beside the owner and the administrators."""
    settings: type[DomainSettings] | None = None
    """The settings class from its `settings.py`, which is read without the rest of the domain."""
    offers: Callable[[Foundation], Offers] | None = None
    grants: Grants = NO_GRANTS
    retention: tuple[Expire | DropPartitions, ...] = ()
    erases: tuple[Decision, ...] = ()
    """What becomes of its tables when a person is erased (docs/privacy.md)."""
    exports: tuple[Export, ...] = ()
    """What of its tables a person's export holds."""
    inbound: Callable[[Foundation], tuple[InboundSignature, ...]] | None = None
    """How calls are verified that providers sign, by the names in `provider_signature` of policies."""
    background: Callable[[WorkerPlatform], Background] | None = None
    """Called in workers only. It does its own imports, so that serving processes do not load them."""

    @property
    def service_classes(self) -> tuple[type[AnyService], ...]:
        """The classes of its services."""
        return tuple(each.service if isinstance(each, Serve) else each for each in self.services)

    def serve(self, platform: Platform) -> list[AnyService]:
        """The services of the domain, made for one process."""
        return [each.make(platform) if isinstance(each, Serve) else each() for each in self.services]


class ModuleFault(Exception):
    """The modules contradict each other or the contract, and the server must not start. Lists every fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("the modules are faulty:\n" + "\n".join(f"  - {fault}" for fault in self.faults))
