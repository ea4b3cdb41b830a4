"""The composition root: the only place that constructs things. Everything else takes what it needs as arguments."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from importlib.resources import files
from socket import gethostname
from typing import TYPE_CHECKING

from server import access
from server.adapters import redis as redis_adapter
from server.adapters.redis_probe import RedisProbe
from server.adapters.statistics import RedisStatistics
from server.adapters.webhook_sender import WebhookSenders
from server.data import schema
from server.data.connections import Connections, Doubt
from server.data.liveness import IN_TRANSACTION, LONG_IN_TRANSACTION
from server.data.open_transactions import OpenTransactions
from server.data.probe import Probe
from server.data.tables import metadata
from server.data.transactions import Database
from server.domains.audit.checkpoints import CheckpointKeys
from server.domains.audit.proofs import Proofs
from server.domains.audit.service import AuditService
from server.domains.identity.api_key_usage import UsageCounter
from server.domains.identity.api_keys import ApiKeyService
from server.domains.identity.auth import AuthService
from server.domains.identity.passwords import Passwords
from server.domains.identity.sessions import Sessions
from server.domains.identity.sign_in_guard import SignInGuard
from server.domains.operations.background import Background, of_host
from server.domains.operations.cache import CacheService, CacheStatistics
from server.domains.operations.dependencies import Dependencies, Dependency
from server.domains.operations.health import HealthService
from server.domains.operations.ip_blocks import IpBlockService
from server.domains.sites.pages import PageService
from server.domains.tenancy.branding import BrandingService
from server.domains.tenancy.member_roles import MembershipService
from server.domains.tenancy.memberships import Memberships
from server.domains.tenancy.rate_limits import RateLimitsService
from server.domains.tenancy.roles import RoleService
from server.domains.tenancy.tenants import TenantService
from server.domains.webhooks.event_types import EventTypes
from server.domains.webhooks.secrets import SecretBox
from server.domains.webhooks.service import WebhookService
from server.domains.webhooks.trial import Trials
from server.guard import Guard
from server.kernel.call import Call
from server.kernel.chain import Route, Step, stream_route, unary_route
from server.kernel.clock import utc_now
from server.kernel.egress import Egress
from server.kernel.keys import derive_key
from server.kernel.live.downloads import Downloads
from server.kernel.live.reader import LiveEvents
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.policy import MethodPolicy, methods_by_permission, read_policies
from server.kernel.queries.pages import PageTokens
from server.kernel.record.logs import call_log
from server.kernel.record.refusals import RefusalLog
from server.kernel.resources.service import Service, narrowed_services
from server.kernel.resources.standard import ServiceHandlers
from server.kernel.steps.audit import Audit
from server.kernel.steps.telemetry import Telemetry
from server.kernel.steps.transaction import InTransaction
from server.kernel.warm import Warmer
from server.metrics import files as metrics_files
from server.metrics import metering
from server.metrics.metering import Meter
from server.settings import Settings
from server.workers.attendance import Attendance
from server.workers.clock_watch import ClockWatch

if TYPE_CHECKING:
    from server.adapters.tracing import Tracing

VERSION = version("plinth-server")

SERVICES: tuple[type[Service], ...] = (
    AuthService,
    ApiKeyService,
    TenantService,
    RoleService,
    MembershipService,
    RateLimitsService,
    BrandingService,
    PageService,
    IpBlockService,
    CacheService,
    HealthService,
    AuditService,
    WebhookService,
)


@dataclass
class Application:
    """Everything one process needs to serve calls."""

    settings: Settings
    databases: tuple[Database, ...]
    guard: Guard
    meter: Meter
    announcer: redis_adapter.EventAnnouncer
    probe: Probe
    dependencies: Dependencies
    usage: UsageCounter
    refusals: RefusalLog
    statistics: CacheStatistics
    live: LiveEvents | None
    tracing: "Tracing | None"
    routes: dict[str, Route]

    @property
    def services(self) -> list[str]:
        """The services that this process serves, at least in part."""
        return sorted({route.method.descriptor.containing_service.full_name for route in self.routes.values()})

    def open(self) -> None:
        """Connect, and refuse a database that would not keep tenants apart."""
        schema.check_walls(self.settings.runtime_dsn, metadata)
        self.guard.generations.open()
        if self.tracing is not None:
            self.tracing.start()
        for database in self.databases:
            database.connections.open()
        for part in (self.announcer, self.dependencies, self.usage, self.refusals, self.statistics, self.meter):
            part.start()

    def close(self) -> None:
        """Let go of everything."""
        self.meter.close()
        self.dependencies.stop()
        self.probe.close()
        self.statistics.close()
        self.usage.close()
        self.refusals.close()
        self.announcer.close()
        for database in self.databases:
            database.connections.close()
        if self.tracing is not None:
            self.tracing.close()
        call_log.close()


def descriptors() -> bytes:
    """The descriptor set that the stubs were generated with."""
    return (files("plinth") / "descriptors.binpb").read_bytes()


def policies() -> dict[str, MethodPolicy]:
    """Every RPC's policy. Raises PolicyError, which no start survives."""
    return read_policies(service.descriptor for service in SERVICES)


def build(settings: Settings, name: str, *, streams: bool) -> Application:
    """Construct one process: `streams` for the realtime role, which serves streaming RPCs; else the unary ones."""
    doubt = Doubt()
    database = Database(connect(settings, name, doubt=doubt), access.GONE)
    slow = connect(
        settings.model_copy(update={"database_pool_size": settings.slow_threads}),
        f"{name} slow",
        idle=0,
        doubt=doubt,
        in_transaction=LONG_IN_TRANSACTION,
    )
    slow_database = Database(slow, access.GONE)
    redis = redis_adapter.connect(settings.redis_dsn, settings.redis_timeout)
    # Told apart from the processes of other hosts, and from the one that ran here before.
    unique = f"{gethostname()}:{os.getpid()}:{name}"
    guard = Guard(settings, unique, redis, database, policies())
    announcer = redis_adapter.EventAnnouncer(redis)
    probe = Probe(settings.runtime_dsn, settings.database_connect_timeout, doubt=doubt)
    redis_probe = RedisProbe(redis, guard.breakers, _refused_without_redis(settings))
    dependencies = _dependencies(settings, name, probe, redis_probe)
    usage = UsageCounter(database)
    refusals = RefusalLog(database)
    statistics = CacheStatistics(RedisStatistics(redis, guard.breakers.make("statistics")), guard.cache, unique)
    live = _live(settings, database, guard) if streams else None
    warmer, tokens = Warmer(), PageTokens(*(derive_key(secret, "page token") for secret in settings.secrets.accepted))
    services = _services(
        settings,
        guard,
        dependencies=dependencies,
        statistics=statistics,
        warmer=warmer,
        live=live,
        tokens=tokens,
        downloads=Downloads(database, guard.authorize.recheck),
    )
    transaction = InTransaction(database, slow_database, announcer, guard.generations, access.ACCESS_CHANGED)
    audit, telemetry = Audit(refusals, utc_now), Telemetry(usage)
    tracing = tracing_of(settings, "realtime" if streams else "api", unique)
    trace = tracing.follow(database.connections, slow) if tracing else None
    steps = guard.steps(telemetry, audit, transaction, narrowed_services(services), trace)
    routes = compose(
        policies().values(), services, steps, tokens, streams=streams, slow=guard.slow_threads, warmer=warmer
    )
    databases = (database, slow_database)
    meter = Meter(
        metering.of_process(name),
        metering.of_calls(telemetry.tallies),
        metering.of_dependencies(name, dependencies),
        metering.of_pulses(name),
        metering.of_breakers(name, guard.breakers),
        metering.of_connections(name, "fast", database.connections),
        metering.of_connections(name, "slow", slow),
        *guard.readings(name, streams=streams),
    )
    return Application(
        settings,
        databases,
        guard,
        meter,
        announcer,
        probe,
        dependencies,
        usage,
        refusals,
        statistics,
        live,
        tracing,
        routes,
    )


def _dependencies(settings: Settings, name: str, probe: Probe, redis: RedisProbe) -> Dependencies:
    """What a process depends on, for its health."""
    return Dependencies(
        [
            Dependency("database", probe.ask, vital=True),
            Dependency("database writes", probe.ask_to_write, vital=False),
            Dependency("redis", redis.ask, vital=False),
            Dependency("transactions", OpenTransactions(probe.run).ask, vital=False),
            Dependency("jobs", Attendance(probe.run, settings.job_patience).ask, vital=False),
            Dependency("background", Background(of_host(metrics_files.shared())).ask, vital=False),
            Dependency("clock", ClockWatch(probe.run, name).ask, vital=False),
        ]
    )


def compose(
    methods: Iterable[MethodPolicy],
    services: list[Service],
    steps: list[Step],
    tokens: PageTokens,
    *,
    streams: bool,
    slow: ThreadPoolExecutor | None = None,
    warmer: Warmer | None = None,
) -> dict[str, Route]:
    """The routes of one role by path. Raises MissingHandler when an RPC is declared that nothing serves."""
    handlers = ServiceHandlers(services, tokens)
    routes = []
    for method in methods:
        if method.streaming != streams:
            continue
        if streams:
            routes.append(stream_route(method, steps, handlers.stream(method)))
            continue
        handler = handlers.unary(method)
        routes.append(unary_route(method, steps, handler, slow if method.is_slow else None))
        if warmer is not None:
            warmer.add(method, steps, handler)
    return {route.method.path: route for route in routes}


def connect(
    settings: Settings, name: str, *, idle: int = 2, doubt: Doubt | None = None, in_transaction: float = IN_TRANSACTION
) -> Connections:
    """Connections of one process, at least `idle` of them ready."""
    return Connections(
        settings.runtime_dsn,
        size=settings.database_pool_size,
        idle=idle,
        wait=settings.database_connect_timeout,
        statement_timeout=settings.statement_timeout,
        name=f"plinth {name}",
        doubt=doubt,
        in_transaction=in_transaction,
    )


def tracing_of(settings: Settings, role: str, instance: str) -> "Tracing | None":
    """Where the spans of one process go, if anywhere; otherwise not even the library is imported."""
    if settings.otlp_endpoint is None:
        return None
    from server.adapters.tracing import Tracing  # noqa: PLC0415

    return Tracing(
        settings.otlp_endpoint,
        settings.trace_sample_rate,
        service=f"plinth-{role}",
        version=VERSION,
        instance=instance,
        certificates=settings.trusted_certificates,
    )


def _refused_without_redis(settings: Settings) -> str:
    """Which calls are refused while Redis does not count them, in words; empty when none is."""
    strict = settings.rate_limits_strict if settings.rate_limits_enabled else ()
    methods = [method for method in policies().values() if method.rate_class in strict]
    names = sorted({f"{method.descriptor.containing_service.name}.{method.descriptor.name}" for method in methods})
    return f"refused meanwhile: {', '.join(names)}" if names else ""


def _live(settings: Settings, database: Database, guard: Guard) -> LiveEvents:
    standing = access.Standing(database)

    def review(calls: Sequence[Call]) -> None:
        for call in standing.fallen(calls):
            guard.authorize.forget(call)

    def alive(call: Call) -> None:
        if call.client_address:
            guard.blocks.check(call.client_address)
        if call.access is not None:
            guard.authorize.glance(call)
            return
        with database.read(call.scope) as transaction:
            transaction.run(access.NOTHING)

    return LiveEvents(
        settings.dispatch_dsn,
        lambda: redis_adapter.hints(settings.redis_dsn, settings.redis_timeout),
        alive,
        review,
        StreamPlaces(settings.streams_per_caller, settings.streams_per_tenant),
        queue=settings.stream_queue,
        keep_alive=settings.stream_keepalive,
        stall=settings.stream_stall,
    )


def _services(
    settings: Settings,
    guard: Guard,
    *,
    dependencies: Dependencies,
    statistics: CacheStatistics,
    warmer: Warmer,
    live: LiveEvents | None,
    tokens: PageTokens,
    downloads: Downloads,
) -> list[Service]:
    sessions = Sessions(settings.secrets, timedelta(seconds=settings.refresh_token_lifetime), utc_now)
    permissions = guard.permissions
    return [
        AuthService(
            guard.tokens,
            sessions,
            Memberships(),
            Passwords(settings.password_memory),
            guard=SignInGuard(guard.limiter, guard.guesses, guard.rates["auth_failure"]),
            default_tenant=settings.default_tenant,
        ),
        ApiKeyService(guard.keys, permissions, access.UserGrants(permissions)),
        TenantService(settings.sites_domain),
        RoleService(permissions, methods_by_permission(policies().values()), access.KeyGrants()),
        MembershipService(permissions),
        RateLimitsService(guard.rates),
        BrandingService(),
        PageService(live),
        IpBlockService(),
        CacheService(statistics, guard.generations, warmer.warm),
        HealthService(dependencies, VERSION),
        AuditService(tokens, Proofs(CheckpointKeys(settings.secrets)), downloads),
        _webhooks(settings, tokens),
    ]


def _webhooks(settings: Settings, tokens: PageTokens) -> WebhookService:
    box, where = secret_box(settings), egress(settings)
    return WebhookService(
        box=box,
        egress=where,
        event_types=EventTypes(SERVICES, descriptors()),
        trials=Trials(box, WebhookSenders(where), utc_now),
        tokens=tokens,
    )


def secret_box(settings: Settings) -> SecretBox:
    """What seals and opens the secrets of webhooks."""
    return SecretBox(settings.secrets)


def egress(settings: Settings) -> Egress:
    """Where calls may go whose URL a tenant chose."""
    return Egress(allow_http=settings.webhook_allow_http, allowed_networks=settings.webhook_allowed_networks)
