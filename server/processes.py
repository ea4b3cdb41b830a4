"""The processes of a deployment, and the commands that prepare its database."""

import asyncio
import logging
import signal
from collections.abc import Callable
from datetime import timedelta

import grpc

from server import app, serving
from server.data import schema
from server.data.tables import metadata
from server.data.transactions import Database
from server.kernel.chain import RouteTable
from server.kernel.logs import configure_logging
from server.seed import Seeded, seed_tenant
from server.settings import Settings
from server.workers.maintenance import Maintenance

log = logging.getLogger("plinth.app")
Ready = Callable[[], None]


def run_api(settings: Settings, index: int, ready: Ready) -> None:
    """Serve unary RPCs until SIGTERM or SIGINT, then let running calls finish."""
    configure_logging(settings.log_level)
    stopped = serving.Stop()
    name = f"api-{index}"
    application = app.build(settings, name, streams=False)
    application.open()
    server = grpc.server(application.guard.threads, options=serving.grpc_options(settings))
    for service, handlers in RouteTable(application.routes).by_service().items():
        server.add_registered_method_handlers(service, handlers)
    statuses = serving.serve_health(server, application.dependencies, application.services)
    serving.serve_reflection(server, app.descriptors(), [service.descriptor.full_name for service in app.SERVICES])
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
    application = app.build(settings, name, streams=True)
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
    connections = app.connect(settings.model_copy(update={"database_pool_size": 2}), "worker")
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
    connections = app.connect(settings.model_copy(update={"database_pool_size": 10}), "seed")
    connections.open()
    try:
        return seed_tenant(Database(connections), settings)
    finally:
        connections.close()
