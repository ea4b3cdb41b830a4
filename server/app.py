"""The composition root: the only place that constructs a serving process. Everything else gets its parts passed."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files

from redis import Redis

from server import access, modules, parts
from server.adapters import redis as redis_adapter
from server.adapters.providers import HttpProviders
from server.adapters.redis_probe import RedisProbe
from server.adapters.statistics import RedisStatistics
from server.data import schema
from server.data.probe import Probe
from server.data.tables import metadata
from server.guard import Guard
from server.kernel import provider_checks
from server.kernel.chain import Route
from server.kernel.current_access import CurrentAccess
from server.kernel.dependencies import Dependencies
from server.kernel.live import LiveEvents
from server.kernel.module import Platform
from server.kernel.policy import MethodPolicy, read_policies
from server.kernel.ports import Part
from server.kernel.record.logs import call_log
from server.kernel.record.refusals import RefusalLog
from server.kernel.resources import AnyService
from server.kernel.resources.service import private_events
from server.kernel.resources.standard import ServiceHandlers
from server.kernel.steps.audit import Audit
from server.kernel.steps.telemetry import Telemetry
from server.kernel.steps.transaction import InTransaction
from server.kernel.transfers import Downloads
from server.kernel.warm import Warmer
from server.metrics.metering import Meter
from server.parts import VERSION, Databases
from server.reference import Reference
from server.routes import api_routes, realtime_routes
from server.settings import Settings

SERVICES = modules.services()


@dataclass
class Application:
    """All parts that one process needs to serve calls."""

    settings: Settings
    name: str
    databases: Databases
    guard: Guard
    dependencies: Dependencies
    live: LiveEvents | None
    routes: dict[str, Route]
    parts: tuple[Part, ...]
    """Parts that run beside the calls, in starting order. They are closed in the opposite order."""

    @property
    def services(self) -> list[str]:
        """The services of which this process serves at least one RPC."""
        return sorted({route.method.descriptor.containing_service.full_name for route in self.routes.values()})

    def open(self) -> None:
        """Connect. Refuses a database that would not isolate tenants."""
        schema.check_walls(self.settings.runtime_dsn, metadata)
        self.guard.generations.open()
        for part in self.parts:
            part.start()

    def close(self) -> None:
        """Close all parts."""
        with ExitStack() as ending:
            ending.callback(call_log.close)
            for part in self.parts:
                ending.callback(part.close)


def descriptors() -> bytes:
    """The descriptor set from which the stubs were generated."""
    return (files("plinth") / "descriptors.binpb").read_bytes()


@cache
def policies() -> dict[str, MethodPolicy]:
    """The policies of all RPCs. Raises PolicyError and ModuleFault, which prevent the start."""
    modules.check(descriptors=descriptors())
    modules.check_privacy()
    return read_policies(service.descriptor for service in SERVICES)


def reference() -> Reference:
    """The reference of all RPCs."""
    return Reference(policies().values(), descriptors, VERSION)


def build(settings: Settings, name: str, *, streams: bool) -> Application:
    """Construct one process: with `streams` for the realtime role, which serves streaming RPCs; else for unary RPCs.

    It is forked afterwards, possibly several times. The construction must therefore not connect, open a file, start a
    thread, or keep anything that is true only now, such as the time or the process id (tests/embedded/test_build.py).
    """
    made = make(settings, name, streams=streams)
    databases, guard, platform = made.databases, made.guard, made.platform
    tracing = parts.tracing_of(settings, "realtime" if streams else "api", platform.process)
    refusals, telemetry = RefusalLog(databases.fast), Telemetry(platform.ports.usage)
    steps = guard.steps(
        telemetry,
        Audit(refusals, platform.clock),
        made.in_transaction,
        tracing.follow(*databases.both) if tracing else None,
    )
    if streams:
        routes = realtime_routes(policies(), made.handlers, steps, platform.live)
    else:
        routes = api_routes(policies(), made.handlers, steps, guard.slow_threads, made.warmer)
        guard.count_cached_reads()
    running = (
        *((tracing,) if tracing else ()),
        *(databases, made.announcer, refusals, platform.ports.usage, made.providers),
        *(part for service in made.services for part in service.parts),
        *(made.probe, platform.dependencies),
        Meter(lambda: parts.readings(name, databases, guard, platform.dependencies, telemetry, streams=streams)),
    )
    return Application(settings, name, databases, guard, platform.dependencies, platform.live, routes, running)


@dataclass(frozen=True, slots=True)
class Made:
    """What serves calls, whether they come from a connection or from a job."""

    databases: Databases
    guard: Guard
    platform: Platform
    services: list[AnyService]
    handlers: ServiceHandlers
    warmer: Warmer
    probe: Probe
    providers: HttpProviders
    announcer: redis_adapter.CommitAnnouncer

    @property
    def in_transaction(self) -> InTransaction:
        """The step with the transaction of a call."""
        databases, generations = self.databases, self.guard.generations
        parts_of_it = (databases.fast, databases.slow, self.announcer, generations, access.ACCESS_CHANGED)
        return InTransaction(*parts_of_it, private=private_events(SERVICES))


def make(settings: Settings, name: str, *, streams: bool) -> Made:
    """Construct the parts of a process of this name that serve calls. The same holds for it as for `build`."""
    process = partial(parts.process_of, name)
    redis = redis_adapter.connect(settings.redis_dsn, settings.redis_timeout)
    databases = parts.databases(settings, name)
    guard = Guard(settings, process, redis, databases.fast, policies=policies(), modules=modules.MODULES)
    probe = Probe(settings.runtime_dsn, settings.database_connect_timeout, doubt=databases.doubt)
    without_redis = parts.refused_without_redis(settings, policies().values())
    dependencies = parts.dependencies(settings, name, probe, RedisProbe(redis, guard.breakers, without_redis))
    warmer, providers, announcer = Warmer(), HttpProviders(settings), redis_adapter.CommitAnnouncer(redis)
    live = parts.live_events(settings, databases.fast, guard, SERVICES) if streams else None
    platform = _platform(
        process, guard, redis, providers=providers, dependencies=dependencies, live=live, warmer=warmer
    )
    services = [service for module in modules.MODULES for service in module.serve(platform)]
    provider_checks.check(services, policies().values())
    handlers = ServiceHandlers(services, platform.page_tokens)
    return Made(databases, guard, platform, services, handlers, warmer, probe, providers, announcer)


def _platform(
    process: Callable[[], str],
    guard: Guard,
    redis: Redis,
    *,
    providers: HttpProviders,
    dependencies: Dependencies,
    live: LiveEvents | None,
    warmer: Warmer,
) -> Platform:
    """The parts of the platform for the services of a process."""
    return Platform(
        settings=guard.foundation.settings,
        clock=guard.foundation.clock,
        database=guard.foundation.database,
        generations=guard.generations,
        process=process,
        version=VERSION,
        services=SERVICES,
        policies=policies(),
        reference=reference(),
        permissions=guard.permissions,
        page_tokens=parts.page_tokens(guard.foundation.settings),
        ports=guard.ports,
        user_grants=access.UserGrants(guard.permissions),
        key_grants=access.KeyGrants(),
        access_tokens=guard.tokens,
        limiter=guard.limiter,
        guesses=guard.guesses,
        rates=guard.rates,
        limit_standings=guard.limit_standings,
        cache=guard.cache,
        cache_explainer=guard.cache_explainer,
        statistics=lambda kind: RedisStatistics(redis, guard.breakers.make(f"{kind} statistics"), kind),
        warm=warmer.warm,
        dependencies=dependencies,
        host=parts.host_facts(guard.foundation.settings),
        egress=parts.egress(guard.foundation.settings),
        senders=parts.senders(guard.foundation.settings),
        providers=providers,
        live=live,
        privacy=modules.privacy(),
        downloads=Downloads(guard.foundation.database, guard.authorize.recheck),
        current_access=CurrentAccess(guard.foundation.database, guard.authorize.recheck),
    )
