"""Engines that answer and refuse to work: health and metrics say so, and which calls are refused."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import redis

from tests.clients import Rest, Tenant, new_tenant, reason, unique
from tests.contract.scratch import administrator, run
from tests.faults.outages import health_of, well
from tests.guard.hosts import Redis
from tests.stack import Stack, free_port, make_folder
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy

NOBODY = ("127.0.0.1", 1)


@dataclass
class Scene:
    """A stack with a Redis of its own."""

    stack: Stack
    tenant: Tenant
    redis: Any

    def check(self, name: str) -> str:
        """What is wrong with a dependency; empty when nothing is."""
        return health_of(self.stack, "message")[name]

    @property
    def status(self) -> str:
        """What health says in all."""
        return health_of(self.stack)[""]

    def is_up(self, dependency: str) -> bool:
        """What the metrics of every process say of a dependency."""
        found = scrape(self.stack.metrics_url).samples["plinth_dependency_up"]
        return all(value for labels, value in found if labels["dependency"] == dependency)

    def sign_in(self) -> tuple[int, str]:
        """Status and reason of an attempt to sign in with a wrong password."""
        body = {"email": self.tenant.owner.email, "password": unique("wrong")}
        return reason(Rest(self.stack).post("auth/login", body))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as opened:
        engine = Redis(make_folder())
        engine.start()
        opened.callback(engine.kill)
        stack = Stack(api_workers=1, metrics_port=free_port(), redis_url=engine.url, log_level="ERROR")
        opened.callback(stack.remove)
        stack.start()
        yield Scene(stack, new_tenant(stack), opened.enter_context(redis.Redis.from_url(engine.url)))


@pytest.fixture(autouse=True)
def made_whole(scene: Scene) -> Iterator[None]:
    yield
    well(scene.stack)


def read_only(client: Any) -> None:
    client.replicaof(*NOBODY)


def writable(client: Any) -> None:
    client.replicaof("NO", "ONE")


def full(client: Any) -> None:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)


def empty(client: Any) -> None:
    client.config_set("maxmemory", 64 * 1024 * 1024)
    client.config_set("maxmemory-policy", "volatile-ttl")


@pytest.mark.parametrize(
    ("hurt", "heal", "words"), [(read_only, writable, "is read-only"), (full, empty, "is out of memory")]
)
def test_a_redis_that_takes_no_writes_is_told_with_what_is_refused(
    scene: Scene, hurt: Callable[[Any], None], heal: Callable[[Any], None], words: str
) -> None:
    hurt(scene.redis)
    try:
        scene.stack.wait_for(lambda: words in scene.check("redis"))
        refused = scene.check("redis").partition("refused meanwhile: ")[2]
        assert "AuthService.LogIn" in refused
        assert scene.status == "STATUS_DEGRADED"
        scene.stack.wait_for(lambda: not scene.is_up("redis"))
        scene.stack.wait_for(lambda: scene.sign_in() == (503, "DEPENDENCY_UNAVAILABLE"))
        scene.stack.wait_for(lambda: scrape(scene.stack.metrics_url).total("plinth_redis_failing", part="limits") > 0)
        assert scrape(scene.stack.metrics_url).total("plinth_redis_failures_total", part="limits") > 0
        # What no strict limit counts goes on.
        assert scene.tenant.rest.post(f"{scene.tenant.path}/pages", {"slug": unique("page")}).status_code == 201
    finally:
        heal(scene.redis)
    scene.stack.wait_for(lambda: scene.sign_in() == (401, "CREDENTIALS_INVALID"))


def test_a_breaker_tells_what_the_probe_does_not_meet(scene: Scene) -> None:
    """Redis takes the probe's write, and refuses what limits ask of it: scripts."""
    user = "default"
    scene.redis.acl_setuser(user, enabled=True, nopass=True, commands=["-evalsha", "-eval"])
    try:
        scene.stack.wait_for(lambda: scene.sign_in() == (503, "DEPENDENCY_UNAVAILABLE"))
        scene.stack.wait_for(lambda: scene.sign_in() and "when asked for limits" in scene.check("redis"))
        assert scene.status == "STATUS_DEGRADED"
    finally:
        scene.redis.acl_setuser(user, enabled=True, nopass=True, commands=["+@all"])


def test_a_read_only_primary_is_told_and_refuses_writes_with_words(scene: Scene) -> None:
    def set_read_only(value: str) -> None:
        run(administrator(scene.stack), f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        run(administrator(scene.stack), "SELECT pg_reload_conf()")

    pages = f"{scene.tenant.path}/pages"
    set_read_only("on")
    try:
        scene.stack.wait_for(lambda: scene.check("database writes") == "is read-only")
        assert (scene.status, scene.check("database")) == ("STATUS_DEGRADED", "")
        scene.stack.wait_for(lambda: not scene.is_up("database writes"))
        assert reason(scene.tenant.rest.post(pages, {"slug": unique("page")})) == (503, "DEPENDENCY_UNAVAILABLE")
        assert scene.tenant.rest.get(pages).status_code == 200
    finally:
        with psycopg.connect(administrator(scene.stack), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")
    scene.stack.wait_for(lambda: scene.tenant.rest.post(pages, {"slug": unique("page")}).status_code == 201)


def test_a_process_whose_loops_stand_still_is_told_by_the_others(scene: Scene) -> None:
    old = scene.stack.kill("realtime-0", signal.SIGSTOP)
    try:
        scene.stack.wait_for(lambda: "of realtime-0" in scene.check("background"))
        assert scene.status == "STATUS_DEGRADED"
        scene.stack.wait_for(lambda: not scene.is_up("background"))
    finally:
        os.kill(old, signal.SIGCONT)
