"""The processes of a deployment, and the commands that prepare its database."""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Literal

import grpc
from psycopg import errors

from server import app, modules, parts
from server.app import Application
from server.data import schema
from server.data.transactions import Database
from server.faults import Fault
from server.gateway.clusters import AGENTS, STREAMS_PER_WORKER
from server.gateway.static_files import StaticFile
from server.kernel.chain import RouteTable
from server.kernel.record.logs import configure_logging
from server.metrics import endpoint as metrics_endpoint
from server.run import canary, liveness, preflight, reflection, serving
from server.run.seed import Seeded, is_production, seed_tenant
from server.settings import Settings

log = logging.getLogger("plinth.app")
# When a process has died, all its subscribers return at the same time. With more than 1,000 pending calls, gRPC would
# refuse some of them at random.
STREAM_OPTIONS = (
    ("grpc.server.max_pending_requests", STREAMS_PER_WORKER),
    ("grpc.server.max_pending_requests_hard_limit", STREAMS_PER_WORKER),
)
# Number of new objects between two collections of the youngest generation, and of such collections between older ones.
COLLECT_AFTER = (10_000, 10, 10)
Ready = Callable[[], None]
Run = Callable[[Ready], None]
"""Runs a process until it is told to stop. Calls its argument once the process works."""
# Seconds that a thread without work may take to end.
LAST_MOMENT = 0.5


def _begin(settings: Settings) -> None:
    """The first steps of every process. Logs go to standard error, so SIGHUP has no file to reopen here."""
    configure_logging(settings.log_level)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # It tells where each of its threads is.
    faulthandler.register(signal.SIGUSR1)


def site() -> list[StaticFile]:
    """The pages and documents that the gateway answers itself."""
    return app.reference().site()


def api(settings: Settings, index: int) -> Run:
    """An api worker, built before the fork: building it there would write to memory pages that all forks share."""
    return partial(_serve_calls, app.build(settings, f"api-{index}", streams=False))


def realtime(settings: Settings, index: int) -> Run:
    """A realtime worker, built before the fork."""
    return partial(_serve_streams, app.build(settings, f"realtime-{index}", streams=True))


def settle_before_fork() -> None:
    """Exclude existing objects from garbage collection, which would write to each object and unshare its page."""
    gc.collect()
    gc.freeze()


def _serve_calls(application: Application, ready: Ready) -> None:
    """Serve unary RPCs until SIGTERM or SIGINT, then let running calls finish."""
    settings, name = application.settings, application.name
    _begin(settings)
    stopped = serving.Stop()
    endpoint = metrics_endpoint.begin(settings, name)
    with preflight.explained(settings, "runtime"):
        application.open()
    server = grpc.server(application.guard.threads, options=serving.grpc_options(settings))
    for service, handlers in RouteTable(application.routes).by_service().items():
        server.add_registered_method_handlers(service, handlers)
    statuses = serving.serve_health(server, application.dependencies, application.services)
    reflection.serve_reflection(server, [service.descriptor.full_name for service in app.SERVICES])
    serving.listen(server, settings, name)
    server.start()
    ready()
    log.info("%s serves", name)
    with liveness.of_server(settings.socket(name)):
        stopped.asked.wait()
    statuses.enter_graceful_shutdown()
    # The gateway keeps sending until it has noticed, and gRPC cancels calls that arrive after stop().
    stopped.at_once.wait(settings.drain_notice)
    server.stop(settings.drain_timeout).wait()
    application.close()
    endpoint.close()


def _serve_streams(application: Application, ready: Ready) -> None:
    """Serve the live streams until SIGTERM, then end each with a final message."""
    _begin(application.settings)
    asyncio.run(_stream(application, ready))


async def _stream(application: Application, ready: Ready) -> None:
    settings, name = application.settings, application.name
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    endpoint = metrics_endpoint.begin(settings, name)
    with preflight.explained(settings, "runtime"):
        application.open()
    if application.live is None:
        raise LookupError("the realtime role has live events")
    await application.live.open()
    options = [*serving.grpc_options(settings), *STREAM_OPTIONS]
    server = grpc.aio.server(handlers=[RouteTable(application.routes)], options=options)
    statuses = await serving.serve_async_health(server, application.dependencies, application.services)
    serving.listen(server, settings, name)
    await server.start()
    _collect_seldom()
    ready()
    log.info("%s serves", name)
    async with liveness.of_loop():
        await stopped.wait()
    await statuses.enter_graceful_shutdown()
    await application.live.close()
    await server.stop(settings.drain_timeout)
    application.close()
    endpoint.close()


def _collect_seldom() -> None:
    """Make garbage collection rarer, and exclude objects that live as long as the process.

    A round of events makes some objects for each of thousands of streams. The collector would examine all objects of
    these streams several times a round, which took a third of the time of handing an event over.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def run_worker(settings: Settings, index: int, ready: Ready) -> None:
    """Run the background work until SIGTERM, then let running jobs finish."""
    _begin(settings)
    asyncio.run(_work(settings, f"worker-{index}", ready))
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(LAST_MOMENT)
            if thread.is_alive():
                # A thread cannot be ended, and Python would wait for it. Its job has been put back into its queue.
                logging.shutdown()
                os._exit(0)


async def _work(settings: Settings, name: str, ready: Ready) -> None:
    # Imported here, because only workers run jobs and send webhooks: it would cost every serving process 12 MB.
    from server.run.worker import Worker  # noqa: PLC0415

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    # Workers have the most time to answer Prometheus.
    endpoint = metrics_endpoint.begin(settings, name, first=True)
    worker = Worker(settings, endpoint.process)
    worker.open()
    ready()
    log.info("%s works", name)
    async with liveness.of_loop():
        await worker.run(stopped)
    worker.close()
    endpoint.close()


def run_agents(settings: Settings, ready: Ready) -> None:
    """Answer AI agents until SIGTERM, then let running requests finish."""
    _begin(settings)
    asyncio.run(_answer_agents(settings, ready))


async def _answer_agents(settings: Settings, ready: Ready) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    endpoint = metrics_endpoint.begin(settings, AGENTS)
    with serving.listening(settings, AGENTS) as listening:
        ready()
        log.info("%s serves", AGENTS)
        async with liveness.of_loop():
            if await _is_asked(listening, stopped):
                # Imported at the first request, because MCP takes 45 MB, and most deployments have no agents.
                from server.agents import http  # noqa: PLC0415

                await http.serve(settings, app.reference(), listening, stopped)
    endpoint.close()


async def _is_asked(listening: socket.socket, stopped: asyncio.Event) -> bool:
    """Wait until somebody connects, or the process is told to stop. Whether somebody has connected."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(listening, asked.set)
    waiting = [asyncio.create_task(event.wait()) for event in (asked, stopped)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    loop.remove_reader(listening)
    return not stopped.is_set()


# Commands ----------------------------------------------------------------------------------------------------------


def migrate(
    settings: Settings,
    patience: float = schema.LOCK_PATIENCE,
    tell: Callable[[str], object] = lambda _: None,
    *,
    accept_new_secret: bool = False,
) -> None:
    """Bring the schema up to date, and make the roles for the server's logins unless they are configured.

    Waits up to `patience` seconds for another process that does the same, and reports that. Raises Fault, and
    ForeignSecret unless a new secret is accepted.
    """
    preflight.check_owner(settings)
    dsn = settings.owner_dsn
    with preflight.explained(settings, "owner"), schema.exclusive(dsn, patience, tell):
        if accept_new_secret:
            canary.accept(settings, tell)
        else:
            canary.check_owner(settings)
        schema.upgrade(dsn)
        canary.check_owner(settings)
        runtime, dispatch = _login(settings, "runtime"), _login(settings, "dispatch")
        modules.grant(dsn, runtime=runtime, dispatch=dispatch)
    for purpose in ("runtime", "dispatch"):
        preflight.check_login(settings, purpose)


def begin_epoch(settings: Settings) -> None:
    """Begin a new epoch, so that positions of the logs start above all earlier ones. Raises Fault."""
    with preflight.explained(settings, "owner"):
        schema.begin_epoch(settings.owner_dsn)


def _login(settings: Settings, purpose: Literal["runtime", "dispatch"]) -> str:
    """The role for a purpose: that of its configured URL, or one that is made here. Raises Fault."""
    given = settings.database_runtime_url if purpose == "runtime" else settings.database_dispatch_url
    if given is None:
        role = settings.role_name(purpose)
        # A login for each secret, so that machines that sign with another one can still log in.
        logins = {
            settings.login_name(purpose, secret): settings.role_password(purpose, secret)
            for secret in settings.secrets.accepted
        }
        oldest = (settings.secrets.behind or (settings.secret,))[-1]
        try:
            schema.ensure_logins(settings.owner_dsn, role, logins, settings.role_password(purpose, oldest))
        except errors.InsufficientPrivilege as error:
            raise Fault(
                f"DATABASE_URL: {error.diag.message_primary}: give its user CREATEROLE, or make two roles yourself and "
                "name them in DATABASE_RUNTIME_URL and DATABASE_DISPATCH_URL"
            ) from error
        return role
    preflight.check_login(settings, purpose)
    role = schema.role_of(given.get_secret_value())
    if not role:
        raise Fault(f"{preflight.setting_of(settings, purpose)}: it names no user")
    return role


def first_login(settings: Settings) -> Seeded | None:
    """Seed, and return the login; None in production, which has neither sample data nor known passwords."""
    return None if is_production(settings) else seed(settings)


def seed(settings: Settings) -> Seeded:
    """Create the first tenant, with sample data and an owner, unless it exists. Returns the login, which was tried.

    Raises Fault in production, and if the database cannot be used.
    """
    if is_production(settings):
        raise Fault("PLINTH_ENVIRONMENT: production gets no sample data and no login that is printed; sign up instead")
    preflight.check_login(settings, "runtime")
    connections = parts.connect(settings.model_copy(update={"database_pool_size": 10}), "seed")
    connections.open()
    try:
        with preflight.explained(settings, "runtime"):
            return seed_tenant(Database(connections), settings)
    finally:
        connections.close()
