"""`python -m tests.bench.webhooks`: deliveries of one background worker to a receiver on the loopback interface.

First how many messages it delivers per second when many wait: each about a resource of its own, to one webhook and to
ten; then with a fifth of them about ten resources only, whose messages wait for each other. Then how soon a message
arrives after its event was committed, at a steady pace of events. The receiver is a process of its own; the worker is
that of a whole stack, with nothing turned off.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import quantiles
from typing import Any

import psycopg
from plinth.sites.v1.page_pb2 import Page

from server.adapters import redis
from server.domains.webhooks.secrets import SecretBox
from server.kernel.ids import new_id
from tests.bench.clocks import clock_of, clock_of_family
from tests.clients import Tenant, another_tenant, database, new_tenant, rows
from tests.domains.webhooks.receiver import Receiver
from tests.stack import Stack, wait_for

WORKER = "worker-0"
PATIENCE = 120.0
HOT_SUBJECTS = 10
ADD_WEBHOOK = """
INSERT INTO webhooks (tenant_id, id, url, event_types, signature_scheme, secret, create_time)
VALUES (%s, %s, %s, '{page.*}', 1, %s, now() - interval '1 minute')
"""
ADD_EVENT = """
INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)
VALUES (%s, %s, 'page.updated', %s, 'plinth.sites.v1.Page', %s, 'bench')
"""
UNFINISHED = "SELECT count(*) AS count FROM webhook_deliveries WHERE status <> 2"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How many messages were delivered, and what that took."""

    what: str
    messages: int
    per_second: float
    """From the commit of the events to the arrival of the last message."""
    worker_us: float
    """CPU time of the worker per message, and of PostgreSQL: without the writing of the events."""
    postgres_us: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How soon messages came, in seconds from their commit."""

    events: int
    per_second: float
    lost: int
    repeated: int
    p50: float
    p99: float
    longest: float


class Inbox:
    """The receiver, in a process of its own."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_receive, args=(theirs,), daemon=True)
        self._process.start()
        self.url: str = self._pipe.recv()

    def count(self) -> int:
        """How many messages have come."""
        self._pipe.send("count")
        found: int = self._pipe.recv()
        return found

    def arrivals(self, skip: int) -> list[tuple[str, float]]:
        """Ids and times of messages, without the first so many."""
        self._pipe.send(skip)
        found: list[tuple[str, float]] = self._pipe.recv()
        return found

    def close(self) -> None:
        """End it."""
        self._pipe.send("end")
        self._process.join()


def _receive(pipe: Connection) -> None:
    with Receiver() as receiver:
        pipe.send(receiver.url("/hook"))
        while (asked := pipe.recv()) != "end":
            if asked == "count":
                pipe.send(receiver.count())
            else:
                pipe.send([(message.id, message.time) for message in receiver.messages()[asked:]])


class Bench:
    """One run on a stack."""

    def __init__(self, stack: Stack, inbox: Inbox) -> None:
        self._stack = stack
        self._inbox = inbox
        self._box = SecretBox(stack.settings.secrets)
        self._first = new_tenant(stack)

    def rate(self, what: str, *, messages: int, webhooks: int, hot: float) -> Rate:
        """Deliver what waits; `hot` is the share of messages about a few resources."""
        tenants = [self._tenant_with_webhook() for _ in range(webhooks)]
        pid, skip = self._stack.pid(WORKER), self._inbox.count()
        subjects = [new_id() for _ in range(HOT_SUBJECTS)]
        with database(self._stack) as connection:
            for number in range(messages):
                subject = subjects[number % HOT_SUBJECTS] if number % 100 < hot * 100 else new_id()
                self._add_event(connection, tenants[number % webhooks], subject)
            clocks = [clock_of([pid]), clock_of_family(self._stack.pid("postgres"))]
            before = [clock() for clock in clocks]
        began = time.time()
        self._settle(skip + messages)
        worker, postgres = (clock() - so_far for clock, so_far in zip(clocks, before, strict=True))
        arrivals = self._inbox.arrivals(skip)
        seconds = max(at for _, at in arrivals) - began
        return Rate(
            what=what,
            messages=len(arrivals),
            per_second=round(messages / seconds, 1),
            worker_us=round(worker * 1e6 / messages, 1),
            postgres_us=round(postgres * 1e6 / messages, 1),
        )

    def latency(self, *, per_second: float, seconds: float) -> Latency:
        """Write events at a steady pace, as api workers do: each in a transaction of its own, and a hint after it."""
        tenant, skip = self._tenant_with_webhook(), self._inbox.count()
        settings = self._stack.settings
        announcer = redis.CommitAnnouncer(redis.connect(settings.redis_dsn, settings.redis_timeout))
        announcer.start()
        committed: dict[str, float] = {}
        began = time.monotonic()
        with database(self._stack) as connection:
            for number in range(int(per_second * seconds)):
                time.sleep(max(0.0, began + number / per_second - time.monotonic()))
                event = self._add_event(connection, tenant, new_id())
                connection.commit()
                committed[event] = time.time()
                announcer.announce(has_jobs=False)
        pace = len(committed) / (time.monotonic() - began)
        self._settle(skip + len(committed))
        announcer.close()
        arrivals = self._inbox.arrivals(skip)
        first: dict[str, float] = {}
        for event, at in arrivals:
            first.setdefault(event, at)
        times = [at - committed[event] for event, at in first.items()]
        cuts = quantiles(times, n=100)
        return Latency(
            events=len(committed),
            per_second=round(pace, 1),
            lost=len(committed.keys() - first.keys()),
            repeated=len(arrivals) - len(first),
            p50=round(cuts[49], 4),
            p99=round(cuts[98], 4),
            longest=round(max(times), 4),
        )

    def _settle(self, count: int) -> None:
        wait_for(lambda: self._inbox.count() >= count, PATIENCE, "the arrival of all messages")
        wait_for(lambda: rows(self._stack, UNFINISHED)[0]["count"] == 0, PATIENCE, "the end of all deliveries")

    def _tenant_with_webhook(self) -> Tenant:
        tenant, webhook_id = another_tenant(self._first), new_id()
        sealed = self._box.seal(b"0" * 32, webhook_id)
        with database(self._stack) as connection:
            connection.execute(ADD_WEBHOOK, (tenant.id, webhook_id, self._inbox.url, sealed))
        return tenant

    def _add_event(self, connection: psycopg.Connection[Any], tenant: Tenant, subject: str) -> str:
        event = new_id()
        page = Page(id=subject, tenant_id=tenant.id, slug="opening-hours", title="Opening hours", description="d" * 300)
        connection.execute(ADD_EVENT, (tenant.id, event, subject, page.SerializeToString()))
        return event


@contextmanager
def started() -> Iterator[Bench]:
    """A stack with one background worker, and a receiver."""
    stack, inbox = Stack(api_workers=1, background_workers=1, log_level="WARNING"), Inbox()
    try:
        yield Bench(stack.start(), inbox)
    finally:
        stack.remove()
        inbox.close()


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.webhooks", description=__doc__)
    parser.add_argument("--messages", type=int, default=3000, help="of each measurement of the rate")
    parser.add_argument("--pace", type=float, default=100.0, help="events per second, for the latency")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the latency")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with started() as bench:
        bench.rate("warm-up", messages=200, webhooks=1, hot=0.0)
        figures: list[Rate | Latency] = [
            bench.rate("distinct subjects, 1 webhook", messages=given.messages, webhooks=1, hot=0.0),
            bench.rate("distinct subjects, 10 webhooks", messages=given.messages, webhooks=10, hot=0.0),
            bench.rate("a fifth about 10 subjects, 1 webhook", messages=given.messages, webhooks=1, hot=0.2),
            bench.latency(per_second=given.pace, seconds=given.seconds),
        ]
    for one in figures:
        sys.stdout.write(f"{json.dumps(asdict(one))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
