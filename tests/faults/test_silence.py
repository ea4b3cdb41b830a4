"""PostgreSQL and Redis behind a proxy that stops forwarding without a word: noticed, told of, and got over."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import httpx
import psycopg
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import Tenant, new_tenant, rpc_problem, unique
from tests.contract.scratch import administrator, run
from tests.faults.outages import health_of
from tests.faults.proxy import SilentProxy
from tests.faults.receiver import Receiver
from tests.stack import PAUSE, Stack, free_port
from tests.streams.sse import position
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy

DUE = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing' OR status = 'todo' AND scheduled_at <= now()"
PAGES = "SELECT resource_id FROM events WHERE tenant_id = %s AND type = 'page.created'"
ENTRIES = "SELECT count(*) FROM audit_entries WHERE tenant_id = %s"
READERS = {"live", "webhooks"}


@dataclass
class Scene:
    """A stack that reaches its engines through proxies only."""

    stack: Stack
    proxies: list[SilentProxy]
    dsn: str
    """The database as its superuser, past the proxy."""

    def one(self, query: str, *values: Any) -> Any:
        """The first column of what a query finds."""
        with psycopg.connect(self.dsn) as connection:
            return [row[0] for row in connection.execute(query.encode(), values)]

    def health(self) -> dict[str, str]:
        """What health says of each dependency, and in all."""
        return health_of(self.stack)


@pytest.fixture(scope="module")
def scene(stack: Stack) -> Iterator[Scene]:
    """The engines are those of the shared stack; the database is this module's own."""
    name = unique("silence").replace("-", "_")
    run(administrator(stack), "CREATE DATABASE {} OWNER plinth STRATEGY file_copy", name)
    sockets = stack.settings.socket_dir
    with SilentProxy(sockets / ".s.PGSQL.5432") as postgres, SilentProxy(sockets / "redis.sock") as redis:
        own = Stack(
            api_workers=1,
            log_level="WARNING",
            metrics_port=free_port(),
            redis_timeout=0.5,
            stream_keepalive=1,
            database_url=f"postgresql://plinth@127.0.0.1:{postgres.port}/{name}?sslmode=disable",
            redis_url=f"redis://127.0.0.1:{redis.port}/0",
        )
        try:
            yield Scene(own.start(), [postgres, redis], administrator(stack, name))
        finally:
            own.remove()
            run(administrator(stack), "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            for login in ("runtime", "dispatch"):
                run(administrator(stack), "DROP ROLE IF EXISTS {}", f"{name}_{login}")


@dataclass
class Work:
    """Somebody who writes pages all the time, and somebody who watches them."""

    tenant: Tenant
    start: str
    """Where the log of the tenant stands before anything is written."""
    acknowledged: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    endings: list[Any] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _left: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._watch)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_writing()
        self._left.set()

    def stop_writing(self) -> None:
        """Write no more, and wait for the last answer."""
        self._stopped.set()
        self._threads[0].join()

    def more(self, count: int) -> None:
        """Wait until so many more pages are acknowledged."""
        wanted = len(self.acknowledged) + count
        self.tenant.stack.wait_for(lambda: len(self.acknowledged) >= wanted)

    def _write(self) -> None:
        while not self._stopped.is_set():
            with suppress(httpx.TransportError):
                answer = self.tenant.rest.post(f"{self.tenant.path}/pages", {"slug": unique("page")})
                if answer.status_code == 201:
                    self.acknowledged.append(answer.json()["id"])
            self._stopped.wait(PAUSE)

    def _watch(self) -> None:
        """Resume after the last event whenever the stream ends."""
        last = self.start
        while not self._left.is_set():
            request = page_pb2.WatchPagesRequest(tenant_id=self.tenant.id, last_event_id=last)
            try:
                for message in self.tenant.stubs.pages.WatchPages(request):
                    last = message.id or last
                    if message.HasField("page"):
                        self.seen.add(message.page.id)
            except grpc.RpcError as error:
                self.endings.append(rpc_problem(error))
            time.sleep(PAUSE)


def sealed(work: Work) -> int:
    """How many entries the newest checkpoint of the tenant covers."""
    answer = work.tenant.rest.get(f"{work.tenant.path}/audit/checkpoint")
    return int(answer.json()["note"].split("\n")[1]) if answer.status_code == 200 else 0


def test_everything_goes_on_after_connections_died_without_a_word(scene: Scene) -> None:
    stack, began = scene.stack, time.monotonic()
    times: dict[str, float] = {}

    def note(what: str) -> None:
        times[what] = round(time.monotonic() - began, 1)

    tenant = new_tenant(stack)
    with Receiver() as receiver:
        hook = tenant.rest.post(f"{tenant.path}/webhooks", {"url": receiver.url, "eventTypes": ["page.created"]})
        assert hook.status_code == 201, hook.text
        with Work(tenant, position(tenant)) as work:
            work.more(20)
            stack.wait_for(lambda: receiver.received and work.seen)
            for proxy in scene.proxies:
                proxy.fall_silent()
            began = time.monotonic()
            stack.wait_for(lambda: scene.health()[""] == "STATUS_NOT_SERVING")
            note("health")
            stack.wait_for(lambda: scrape(stack.metrics_url).total("plinth_dependency_up", dependency="database") == 0)
            note("metric")
            stack.wait_for(lambda: any(end.code == 14 and "away" in end.message for end in work.endings))
            note("streams ended")
            stack.wait_for(lambda: scene.health()["background"] == "STATUS_NOT_SERVING")
            note("background")
            stack.wait_for(lambda: lagging(stack) >= READERS)
            note("lag")
            for proxy in scene.proxies:
                proxy.renew()
            began = time.monotonic()
            work.more(20)
            note("calls again")
            stack.wait_for(lambda: scene.health()[""] == "STATUS_SERVING")
            note("health again")
            work.stop_writing()
            created = set(scene.one(PAGES, tenant.id))
            assert set(work.acknowledged) <= created
            stack.wait_for(lambda: work.seen >= created)
            note("streams again")
            stack.wait_for(lambda: set(receiver_pages(receiver)) == created)
            note("webhooks again")
            stack.wait_for(lambda: sealed(work) >= scene.one(ENTRIES, tenant.id)[0] - 1)
            note("seals again")
            stack.wait_for(lambda: scene.one(DUE) == [0])
            note("jobs again")
    # Shown when it fails, or with `pytest -rP`: 15 s for what is told, 30 s for what goes on, on a machine of its own.
    print(times)  # noqa: T201


def receiver_pages(receiver: Receiver) -> list[str]:
    """The pages that it was told of."""
    return [body["data"]["id"] for body in receiver.bodies.values()]


def lagging(stack: Stack) -> set[str]:
    """The readers whose lag is told to grow."""
    found = scrape(stack.metrics_url)
    return {own["reader"] for own, value in found.samples.get("plinth_event_lag_seconds", ()) if value > 5}
