"""Modules: what a domain declares of itself, and what it may be given.

`server/domains/<domain>/module.py` is all that the rest of Plinth knows of a domain; `server/modules.py` lists them.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from sqlalchemy import Table

from server.data.grants import NO_GRANTS, Grants
from server.data.transactions import Database
from server.kernel.caching import AnswerCache, Generations
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.dependencies import Dependencies
from server.kernel.egress import Egress
from server.kernel.guard import AccessTokens, Guesses, Permissions, RateLimiter
from server.kernel.jobs import Job, Schedule
from server.kernel.live import Downloads, LiveEvents
from server.kernel.policy import MethodPolicy
from server.kernel.ports import KeyGrants, Offers, Ports, Senders, StatisticsStore, UserGrants
from server.kernel.queries import PageTokens
from server.kernel.rates import Rate
from server.kernel.resources import AnyService
from server.kernel.roles import Patterns
from server.settings import DomainSettings, Settings


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What a process has before it knows any domain."""

    settings: Settings
    clock: Clock
    database: Database
    """As the runtime role, which row-level security binds."""
    generations: Generations


@dataclass(frozen=True, kw_only=True)
class Platform(Foundation):
    """What the services of a domain may be given."""

    process: Callable[[], str]
    """Gives the name of this process, unlike that of any other of the deployment. Not before it is forked."""
    version: str
    """Of Plinth."""
    services: tuple[type[AnyService], ...]
    """Those of every domain."""
    policies: Mapping[str, MethodPolicy]
    """By path."""
    descriptors: Callable[[], bytes]
    """The descriptor set of the contract, with its comments."""
    permissions: Permissions
    page_tokens: PageTokens
    ports: Ports
    user_grants: UserGrants
    key_grants: KeyGrants
    access_tokens: AccessTokens
    limiter: RateLimiter
    guesses: Guesses
    rates: Mapping[str, Rate]
    """The rate of each class, where a tenant has none of its own."""
    cache: AnswerCache | None
    """None where answers are not cached."""
    statistics: StatisticsStore
    warm: Callable[[Call, str], list[str]]
    """Reads what everyone in a tenant shares, through the cache; the names of the methods."""
    dependencies: Dependencies
    egress: Egress
    senders: Senders
    live: LiveEvents | None
    """None but in the realtime role, which serves the streams."""
    downloads: Downloads


class BackgroundService(Protocol):
    """Something that a worker does all the time."""

    async def run(self) -> None:
        """Do it until cancelled. Whatever it raises, it is run again."""


@dataclass(frozen=True, kw_only=True)
class WorkerPlatform:
    """What the background work of a domain may be given."""

    settings: Settings
    clock: Clock
    process: str
    """The name of this worker."""
    database: Database
    """As the runtime role, for jobs; statements may take two minutes."""
    dispatch: Database
    """As the role that does the background work of every tenant; statements may take two minutes."""
    quick_dispatch: Database
    """Likewise, for what is done every few seconds."""
    house_threads: Executor
    """Threads for what is done every few seconds."""
    egress: Egress
    senders: Senders
    hints: Callable[[], AsyncIterator[None]]
    """Hints that an event was written, from Redis."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """What a domain has done in the background."""

    jobs: tuple[Job, ...] = ()
    """Done when they are enqueued; those of schedules need not be among them."""
    schedules: tuple[Schedule, ...] = ()
    services: tuple[BackgroundService, ...] = ()


@dataclass(frozen=True)
class Serve:
    """A service that takes something of the platform."""

    service: type[AnyService]
    make: Callable[[Platform], AnyService]


Kept = timedelta | Callable[[Settings], timedelta]
"""For how long, or by which setting."""


@dataclass(frozen=True, kw_only=True)
class Expire:
    """Rows go some time after a moment that stands in them."""

    table: Table
    by: str
    """The column of that moment, which leads an index; a day is text such as `2026-11-21`."""
    after: Kept = timedelta()
    every_tenant: bool = False
    """Whether that takes the role that does the background work of every tenant."""


@dataclass(frozen=True, kw_only=True)
class DropPartitions:
    """The months of a table that is cut by month are dropped when their last row is older than that."""

    table: Table
    after: Kept


def kept_for(kept: Kept, settings: Settings) -> timedelta:
    """For how long."""
    return kept if isinstance(kept, timedelta) else kept(settings)


@dataclass(frozen=True)
class Module:
    """One domain."""

    name: str
    """That of its package, `plinth.<name>.v1`."""
    services: tuple[type[AnyService] | Serve, ...] = ()
    """A class is made without arguments."""
    roles: Mapping[str, Patterns] = field(default_factory=dict)
    """What built-in roles hold of it beside the owner and the administrators."""
    settings: type[DomainSettings] | None = None
    """Those of `settings.py` beside it, which is read without the rest of the domain."""
    offers: Callable[[Foundation], Offers] | None = None
    grants: Grants = NO_GRANTS
    retention: tuple[Expire | DropPartitions, ...] = ()
    background: Callable[[WorkerPlatform], Background] | None = None
    """Called in workers only. It imports what it needs itself: serving processes do without."""

    @property
    def service_classes(self) -> tuple[type[AnyService], ...]:
        """Its services."""
        return tuple(each.service if isinstance(each, Serve) else each for each in self.services)

    def serve(self, platform: Platform) -> list[AnyService]:
        """Its services for one process."""
        return [each.make(platform) if isinstance(each, Serve) else each() for each in self.services]


class ModuleFault(Exception):
    """The modules contradict each other or the contract; the server must not start. Lists every fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("the modules are faulty:\n" + "\n".join(f"  - {fault}" for fault in self.faults))
