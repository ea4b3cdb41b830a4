"""The composition root: the only place that constructs things. Everything else takes what it needs as arguments."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import grpc

from server import liveness, serving
from server.adapters import redis as redis_adapter
from server.data import schema
from server.data.connections import Connections, Probe
from server.data.tables import metadata
from server.data.transactions import Database
from server.domains.identity.auth import AuthService
from server.domains.identity.sessions import Lifetimes, Sessions
from server.domains.operations.dependencies import Dependencies, Dependency
from server.domains.operations.health import HealthService
from server.domains.sites.pages import PageService
from server.domains.tenancy.branding import BrandingService
from server.domains.tenancy.memberships import Memberships
from server.domains.tenancy.roles import BUILT_IN_ROLES
from server.domains.tenancy.tenants import TenantService
from server.kernel.call import Call
from server.kernel.chain import Route, RouteTable, Step, stream_route, unary_route
from server.kernel.clock import utc_now
from server.kernel.keys import derive_key
from server.kernel.live import LiveEvents
from server.kernel.logs import call_log, configure_logging
from server.kernel.pages import PageTokens
from server.kernel.policy import MethodPolicy, read_policies
from server.kernel.service import Service
from server.kernel.standard import ServiceHandlers
from server.kernel.steps.authenticate import Authenticate
from server.kernel.steps.authorize import Authorize, Permissions
from server.kernel.steps.errors import Errors
from server.kernel.steps.respond import Respond
from server.kernel.steps.telemetry import Telemetry
from server.kernel.steps.transaction import InTransaction
from server.kernel.steps.validate import Validate
from server.kernel.tokens import AccessTokens
from server.seed import Seeded, seed_tenant
from server.settings import Settings
from server.workers.maintenance import Maintenance

log = logging.getLogger("plinth.app")
VERSION = version("plinth-server")

SERVICES: tuple[type[Service], ...] = (
    AuthService,
    TenantService,
    BrandingService,
    PageService,
    HealthService,
)
Ready = Callable[[], None]


@dataclass
class Application:
    """Everything one process needs to serve calls."""

    settings: Settings
    database: Database
    announcer: redis_adapter.EventAnnouncer
    dependencies: Dependencies
    live: LiveEvents | None
    routes: dict[str, Route]

    @property
    def services(self) -> list[str]:
        """The services that this process serves, at least in part."""
        return sorted({route.method.descriptor.containing_service.full_name for route in self.routes.values()})

    def open(self) -> None:
        """Connect, and refuse a database that would not keep tenants apart."""
        schema.check_walls(self.settings.runtime_dsn, metadata)
        self.database.connections.open()
        self.announcer.start()
        self.dependencies.start()

    def close(self) -> None:
        """Let go of everything."""
        self.dependencies.stop()
        self.announcer.close()
        self.database.connections.close()
        call_log.flush()


def descriptors() -> bytes:
    """The descriptor set that the stubs were generated with."""
    return (files("plinth") / "descriptors.binpb").read_bytes()


def policies() -> dict[str, MethodPolicy]:
    """Every RPC's policy. Raises PolicyError, which no start survives."""
    return read_policies(service.descriptor for service in SERVICES)


def build(settings: Settings, name: str, *, streams: bool) -> Application:
    """Construct one process: `streams` for the realtime role, which serves streaming RPCs; else the unary ones."""
    database = Database(_connections(settings, name), liveness.GONE)
    redis = redis_adapter.connect(settings.redis_dsn, settings.redis_timeout)
    announcer = redis_adapter.EventAnnouncer(redis)
    dependencies = Dependencies(
        [
            Dependency("database", Probe(settings.runtime_dsn, settings.database_connect_timeout).ask, vital=True),
            Dependency("redis", lambda: _ask_redis(redis), vital=False),
        ]
    )
    live = _live(settings, database) if streams else None
    memberships = Memberships(database)
    tokens = _tokens(settings)
    services = _services(settings, tokens, memberships, dependencies, live)
    steps = _steps(tokens, memberships, database, announcer)
    routes = compose(policies().values(), services, steps, settings.secret, streams=streams)
    return Application(settings, database, announcer, dependencies, live, routes)


def compose(
    methods: Iterable[MethodPolicy], services: list[Service], steps: list[Step], secret: bytes, *, streams: bool
) -> dict[str, Route]:
    """The routes of one role by path. Raises MissingHandler when an RPC is declared that nothing serves."""
    handlers = ServiceHandlers(services, PageTokens(derive_key(secret, "page token")))
    routes = [
        stream_route(method, steps, handlers.stream(method))
        if streams
        else unary_route(method, steps, handlers.unary(method))
        for method in methods
        if method.streaming == streams
    ]
    return {route.method.path: route for route in routes}


def _connections(settings: Settings, name: str) -> Connections:
    return Connections(
        settings.runtime_dsn,
        size=settings.database_pool_size,
        wait=settings.database_connect_timeout,
        statement_timeout=settings.statement_timeout,
        name=f"plinth {name}",
    )


def _ask_redis(client: Any) -> None:
    client.ping()


def _tokens(settings: Settings) -> AccessTokens:
    return AccessTokens(
        settings.secret,
        _previous(settings),
        issuer=settings.token_issuer,
        lifetime=settings.access_token_lifetime,
    )


def _previous(settings: Settings) -> bytes | None:
    return settings.secret_key_previous.get_secret_value().encode() if settings.secret_key_previous else None


def _live(settings: Settings, database: Database) -> LiveEvents:
    def alive(call: Call) -> None:
        with database.read(call.scope) as transaction:
            transaction.run(liveness.NOTHING)

    return LiveEvents(
        settings.dispatch_dsn,
        lambda: redis_adapter.hints(settings.redis_dsn, settings.redis_timeout),
        alive,
        queue=settings.stream_queue,
        keep_alive=settings.stream_keepalive,
    )


def _services(
    settings: Settings,
    tokens: AccessTokens,
    memberships: Memberships,
    dependencies: Dependencies,
    live: LiveEvents | None,
) -> list[Service]:
    lifetimes = Lifetimes(
        timedelta(seconds=settings.refresh_token_lifetime), timedelta(seconds=settings.refresh_token_grace)
    )
    sessions = Sessions(settings.secret, _previous(settings), lifetimes, utc_now)
    return [
        AuthService(tokens, sessions, memberships, settings.default_tenant),
        TenantService(settings.sites_domain),
        BrandingService(),
        PageService(live),
        HealthService(dependencies, VERSION),
    ]


def _steps(
    tokens: AccessTokens, memberships: Memberships, database: Database, announcer: redis_adapter.EventAnnouncer
) -> list[Step]:
    """The chain, outermost first. authorise stands before validate (AIP-211): a stranger learns nothing."""
    catalogue = [method.permission for method in policies().values() if method.permission]
    permissions = Permissions(BUILT_IN_ROLES, catalogue)
    return [
        Errors(),
        Telemetry(),
        Respond(),
        Authenticate(tokens),
        Authorize(permissions, memberships.roles_in),
        Validate(),
        InTransaction(database, announcer),
    ]


# Roles -------------------------------------------------------------------------------------------------------------


def run_api(settings: Settings, index: int, ready: Ready) -> None:
    """Serve unary RPCs until SIGTERM or SIGINT, then let running calls finish."""
    configure_logging(settings.log_level)
    stopped = serving.Stop()
    name = f"api-{index}"
    application = build(settings, name, streams=False)
    application.open()
    server = grpc.server(
        ThreadPoolExecutor(settings.api_threads, thread_name_prefix="call"), options=serving.grpc_options(settings)
    )
    for service, handlers in RouteTable(application.routes).by_service().items():
        server.add_registered_method_handlers(service, handlers)
    statuses = serving.serve_health(server, application.dependencies, application.services)
    serving.serve_reflection(server, descriptors(), [service.descriptor.full_name for service in SERVICES])
    serving.listen(server, settings, name)
    server.start()
    ready()
    log.info("%s serves", name)
    stopped.asked.wait()
    statuses.enter_graceful_shutdown()
    # The gateway goes on sending until it has noticed, and gRPC cancels what arrives after stop().
    stopped.at_once.wait(settings.drain_notice)
    server.stop(settings.drain_timeout).wait()
    application.close()


def run_realtime(settings: Settings, index: int, ready: Ready) -> None:
    """Serve the live streams until SIGTERM, then end them, each with a last word."""
    configure_logging(settings.log_level)
    asyncio.run(_serve_streams(settings, f"realtime-{index}", ready))


async def _serve_streams(settings: Settings, name: str, ready: Ready) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    application = build(settings, name, streams=True)
    application.open()
    if application.live is None:
        raise LookupError("the realtime role has live events")
    await application.live.open()
    server = grpc.aio.server(handlers=[RouteTable(application.routes)], options=serving.grpc_options(settings))
    statuses = await serving.serve_async_health(server, application.dependencies, application.services)
    serving.listen(server, settings, name)
    await server.start()
    ready()
    log.info("%s serves", name)
    await stopped.wait()
    await statuses.enter_graceful_shutdown()
    await application.live.close()
    await server.stop(settings.drain_timeout)
    application.close()


def run_worker(settings: Settings, ready: Ready) -> None:
    """Do what has to be done in the background until SIGTERM."""
    configure_logging(settings.log_level)
    stopped = serving.Stop()
    connections = _connections(settings.model_copy(update={"database_pool_size": 2}), "worker")
    connections.open()
    maintenance = Maintenance(
        Database(connections), metadata.sorted_tables, timedelta(days=settings.deleted_retention_days)
    )
    ready()
    log.info("worker works")
    maintenance.run_until(stopped.asked)
    connections.close()


# Commands ----------------------------------------------------------------------------------------------------------


def migrate(settings: Settings) -> None:
    """Bring the schema up to date, and make the roles that the server logs in with unless they were set."""
    schema.migrate(settings.owner_dsn)
    names = {}
    for purpose, given in (("runtime", settings.database_runtime_url), ("dispatch", settings.database_dispatch_url)):
        if given is None:
            names[purpose] = settings.role_name(purpose)
            schema.ensure_login(settings.owner_dsn, names[purpose], settings.role_password(purpose))
        else:
            names[purpose] = schema.role_of(given.get_secret_value())
    schema.grant(settings.owner_dsn, runtime=names["runtime"], dispatch=names["dispatch"])


def seed(settings: Settings) -> Seeded:
    """Make the first tenant, with sample data and an owner, unless it is there. The same login every time."""
    connections = _connections(settings.model_copy(update={"database_pool_size": 10}), "seed")
    connections.open()
    try:
        return seed_tenant(Database(connections), settings)
    finally:
        connections.close()
