"""Faults under write load: nothing that was acknowledged is lost, and every fault is told while it lasts."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import redis

from tests.clients import Rest, Tenant, new_tenant
from tests.domains.webhooks.receiver import Receiver
from tests.drill.load import Load
from tests.embedded.engines import OWNER, postgresql
from tests.faults.disk import Disk, small_disk
from tests.faults.outages import replaced, well
from tests.faults.proxy import SilentProxy
from tests.guard.hosts import Redis
from tests.stack import Stack, free_port, make_folder, wait_for
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy

# Seconds within which a fault shows in health and in a metric.
SHOWN = 15.0
NOBODY = ("127.0.0.1", 1)


@dataclass
class Place:
    """A stack, and what can be done to it."""

    stack: Stack
    proxy: SilentProxy | None = None
    redis: Redis | None = None
    disks: dict[str, Disk] = field(default_factory=dict)

    def is_well(self, dependency: str) -> bool:
        """What health says of a dependency; nobody answering is no good sign."""
        with suppress(httpx.TransportError, KeyError):
            checks = Rest(self.stack).get("health").json()["checks"]
            return all(check["status"] == "STATUS_SERVING" for check in checks if check["name"] == dependency)
        return False

    def is_measured(self, dependency: str) -> bool:
        """Whether some process's metrics tell that it is away."""
        found = scrape(self.stack.metrics_url).samples["plinth_dependency_up"]
        return any(not value for labels, value in found if labels["dependency"] == dependency)

    def shows(self, dependency: str) -> None:
        """Wait until health and metrics tell of a fault."""
        wait_for(lambda: not self.is_well(dependency), SHOWN, f"that health tells of {dependency}")
        wait_for(lambda: self.is_measured(dependency), SHOWN, f"that metrics tell of {dependency}")


@pytest.fixture(scope="module")
def engines() -> Iterator[Place]:
    """A stack whose engines are its own, and are reached through a proxy or can be killed."""
    with ExitStack() as opened:
        folder = make_folder()
        port = free_port()
        cluster = opened.enter_context(postgresql(folder, port))
        cluster.add_database("plinth")
        proxy = opened.enter_context(SilentProxy(folder / "socket" / f".s.PGSQL.{port}"))
        cache = Redis(make_folder())
        cache.start()
        opened.callback(cache.kill)
        stack = Stack(
            api_workers=1,
            metrics_port=free_port(),
            redis_timeout=0.5,
            redis_url=cache.url,
            database_url=f"postgresql://{OWNER}@127.0.0.1:{proxy.port}/plinth?sslmode=disable",
        )
        opened.callback(stack.remove)
        yield Place(stack.start(), proxy=proxy, redis=cache)


@pytest.fixture(scope="module")
def disks() -> Iterator[Place]:
    """A stack whose data, run and log folders are small disks."""
    with ExitStack() as opened:
        data = make_folder() / "data"
        small = {name: opened.enter_context(small_disk(data / name, size)) for name, size in SIZES.items()}
        stack = Stack(data, api_workers=1, metrics_port=free_port(), database_connect_timeout=1)
        opened.callback(stack.remove)
        stack.start()
        stack.stop()
        # The database is made in a folder of its own, and then put in its place.
        (data / "postgres").rename(data / "spare")
        small["postgres"] = opened.enter_context(small_disk(data / "postgres", "240m"))
        subprocess.run(["cp", "-a", f"{data / 'spare'}/.", str(data / "postgres")], check=True)
        yield Place(stack.start(), disks=small)


SIZES = {"run": "8m", "logs": "1m"}


@contextmanager
def silence(place: Place) -> Iterator[None]:
    """PostgreSQL's connections die without a word."""
    assert place.proxy is not None
    place.proxy.fall_silent()
    place.shows("database")
    yield
    place.proxy.renew()


@contextmanager
def a_dead_redis(place: Place) -> Iterator[None]:
    assert place.redis is not None
    with place.redis.away():
        place.shows("redis")
        yield


@contextmanager
def a_read_only_redis(place: Place) -> Iterator[None]:
    assert place.redis is not None
    with redis.Redis.from_url(place.redis.url) as client:
        client.replicaof(*NOBODY)
        place.shows("redis")
        yield
        client.replicaof("NO", "ONE")


def killed(*names: str) -> Callable[[Place], Any]:
    @contextmanager
    def fault(place: Place) -> Iterator[None]:
        """Processes of the stack die at once; others take their places."""
        old = {name: place.stack.pid(name) for name in names}
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        yield
        for name, pid in old.items():
            replaced(place.stack, name, pid)

    return fault


def full(name: str, dependency: str | None) -> Callable[[Place], Any]:
    @contextmanager
    def fault(place: Place) -> Iterator[None]:
        """A disk has no room for a byte."""
        place.disks[name].fill()
        if dependency:
            place.shows(dependency)
        yield
        place.disks[name].free()

    return fault


ENGINES = {
    "silent database": silence,
    "dead redis": a_dead_redis,
    "read-only redis": a_read_only_redis,
    "dead processes": killed("api-0", "realtime-0", "worker-0", "envoy"),
}
DISKS = {
    "postgres": full("postgres", "database writes"),
    "run": full("run", None),
    "logs": full("logs", None),
    "engines die": killed("postgres", "redis"),
}


def tenant_of(stack: Stack) -> Tenant:
    """A new tenant. Connections that died without a word may still be in a pool: a call that meets one fails."""
    made: list[Tenant] = []

    def make() -> bool:
        with suppress(AssertionError, httpx.TransportError):
            made.append(new_tenant(stack))
        return bool(made)

    wait_for(make, what="a new tenant")
    return made[0]


def drill(place: Place, fault: Callable[[Place], Any]) -> None:
    """Write before, during and after a fault, and count."""
    well(place.stack)
    with Receiver() as receiver:
        load = Load(tenant_of(place.stack), receiver)
        with load.running():
            load.grows()
            with fault(place):
                asked = load.asked
                wait_for(lambda: load.asked > asked, what="what is answered meanwhile")
            load.grows()
        load.check()
    well(place.stack)


@pytest.mark.parametrize("fault", ENGINES)
def test_engines(engines: Place, fault: str) -> None:
    drill(engines, ENGINES[fault])


@pytest.mark.parametrize("fault", DISKS)
def test_disks(disks: Place, fault: str) -> None:
    drill(disks, DISKS[fault])
