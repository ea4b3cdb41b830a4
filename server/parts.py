"""The parts of a process, made from the settings: connections, dependencies, live events, traces."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from socket import gethostname
from typing import TYPE_CHECKING

from server import access
from server.adapters import redis as redis_adapter
from server.adapters.redis_probe import RedisProbe
from server.adapters.webhook_sender import WebhookSenders
from server.data.connections import Connections, Doubt
from server.data.liveness import IN_TRANSACTION, LONG_IN_TRANSACTION
from server.data.open_transactions import OpenTransactions
from server.data.probe import Probe
from server.data.transactions import Database
from server.guard import Guard
from server.kernel.call import Call
from server.kernel.dependencies import Dependencies, Dependency
from server.kernel.egress import Egress
from server.kernel.keys import derive_key
from server.kernel.live import LiveEvents
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.live.visibility import Visibility
from server.kernel.module import HostFacts
from server.kernel.policy import MethodPolicy
from server.kernel.queries import PageTokens
from server.kernel.resources import AnyService
from server.kernel.resources.service import readable_by, revealed_by
from server.kernel.steps.telemetry import Telemetry
from server.metrics import files as metrics_files
from server.metrics import metering
from server.metrics.background import Background, of_host
from server.metrics.endpoint import exposition
from server.metrics.metering import Reading
from server.settings import Settings, in_force
from server.workers.attendance import Attendance
from server.workers.clock_watch import ClockWatch
from server.workers.stream_attendance import StreamAttendance

if TYPE_CHECKING:
    from server.adapters.tracing import Tracing

VERSION = version("plinth-server")


def process_of(name: str) -> str:
    """A name that is unique among hosts, and differs from that of an earlier process on this host."""
    return f"{gethostname()}:{os.getpid()}:{name}"


def connect(
    settings: Settings, name: str, *, idle: int = 1, doubt: Doubt | None = None, in_transaction: float = IN_TRANSACTION
) -> Connections:
    """The connections of one process, at least `idle` of them kept ready."""
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


@dataclass(frozen=True, slots=True)
class Databases:
    """The connections of one serving process, as the runtime role."""

    fast: Database
    slow: Database
    """For RPCs that wait for others or compute for long."""
    doubt: Doubt
    """What connections learn about a peer that has fallen silent."""

    @property
    def both(self) -> tuple[Connections, Connections]:
        """The two pools."""
        return self.fast.connections, self.slow.connections

    def start(self) -> None:
        """Connect, in the background."""
        for connections in self.both:
            connections.open()

    def close(self) -> None:
        """Close every connection."""
        for connections in self.both:
            connections.close()


def databases(settings: Settings, name: str) -> Databases:
    """The databases of a process with this name."""
    doubt = Doubt()
    slow = connect(
        settings.model_copy(update={"database_pool_size": settings.slow_threads}),
        f"{name} slow",
        idle=0,
        doubt=doubt,
        in_transaction=LONG_IN_TRANSACTION,
    )
    return Databases(Database(connect(settings, name, doubt=doubt), access.GONE), Database(slow, access.GONE), doubt)


def dependencies(settings: Settings, name: str, probe: Probe, redis: RedisProbe) -> Dependencies:
    """The dependencies of a process, for its health."""
    told = of_host(metrics_files.shared())
    return Dependencies(
        [
            Dependency("database", probe.ask, vital=True),
            Dependency("database writes", probe.ask_to_write, vital=False),
            Dependency("redis", redis.ask, vital=False),
            Dependency("transactions", OpenTransactions(probe.run).ask, vital=False),
            Dependency("jobs", Attendance(probe.run, settings.job_patience).ask, vital=False),
            Dependency("streams", StreamAttendance(probe.run, told).ask, vital=False),
            Dependency("background", Background(told).ask, vital=False),
            Dependency("clock", ClockWatch(probe.run, name).ask, vital=False),
        ]
    )


def host_facts(settings: Settings) -> HostFacts:
    """What a process tells of its host."""
    return HostFacts(partial(in_force, settings), partial(exposition, settings), settings.data_dir)


def refused_without_redis(settings: Settings, policies: Iterable[MethodPolicy]) -> str:
    """The calls that are refused while Redis does not count them, in words; empty if every call is allowed."""
    strict = settings.rate_limits_strict if settings.rate_limits_enabled else ()
    methods = [method for method in policies if method.rate_class in strict]
    names = sorted({f"{method.descriptor.containing_service.name}.{method.descriptor.name}" for method in methods})
    return f"refused meanwhile: {', '.join(names)}" if names else ""


def live_events(
    settings: Settings, database: Database, guard: Guard, services: Sequence[type[AnyService]]
) -> LiveEvents:
    """The live events of the realtime role."""
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
        visibility=Visibility(readable_by(services), revealed_by(services)),
        queue=settings.stream_queue,
        keep_alive=settings.stream_keepalive,
        stall=settings.stream_stall,
    )


def egress(settings: Settings) -> Egress:
    """The rules for addresses in URLs that tenants choose."""
    return Egress(allow_http=settings.webhook_allow_http, allowed_networks=settings.webhook_allowed_networks)


def senders(settings: Settings) -> WebhookSenders:
    """Senders to addresses that tenants choose."""
    return WebhookSenders(egress(settings))


def tracing_of(settings: Settings, role: str, instance: Callable[[], str]) -> "Tracing | None":
    """The tracing of one process, or None without an endpoint; then the library is not imported."""
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


def readings(
    name: str,
    databases: Databases,
    guard: Guard,
    dependencies: Dependencies,
    telemetry: Telemetry,
    *,
    streams: bool,
) -> list[Reading]:
    """The readings of a process."""
    fast, slow = databases.both
    return [
        metering.of_process(name),
        metering.of_calls(telemetry.tallies),
        metering.of_dependencies(name, dependencies),
        metering.of_pulses(name),
        metering.of_breakers(name, guard.breakers),
        metering.of_connections(name, "fast", fast),
        metering.of_connections(name, "slow", slow),
        *guard.readings(name, streams=streams),
    ]


def page_tokens(settings: Settings) -> PageTokens:
    """Signs and reads page tokens, of every secret that is accepted."""
    return PageTokens(*(derive_key(secret, "page token") for secret in settings.secrets.accepted))
