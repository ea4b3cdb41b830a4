"""`python -m tests.bench.streams`: thousands of SSE subscribers on one realtime process behind Envoy.

It measures how soon each subscriber gets each event, what an idle subscriber costs in memory, and whether anything is
lost or repeated while all of them reconnect: after the process was killed, after it was asked to end, and after all
connections were cut, each time while writes go on.

Times count from the beginning of the transaction that wrote the event, so they include its commit.
"""

import argparse
import json
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import quantiles
from threading import Thread
from typing import Any

import psutil

from server.kernel.guard.tokens import AccessTokens
from server.kernel.ids import new_id
from tests.bench.clocks import cpu_seconds
from tests.bench.subscribers import Story, Subscribers, Target
from tests.clients import Tenant, another_tenant, database, new_tenant, rows
from tests.stack import Stack, wait_for

REALTIME = "realtime-0"
# Subscribers that come and go first, so that what a process loads once is not counted for those who stay.
WARM = 64
TOKEN_LIFETIME = 3600
PATIENCE = 60.0
# The goals: seconds from commit to each subscriber, and resident memory of the realtime process per idle subscriber.
LONGEST = 1.0
MOST_KILOBYTES = 40.0
LOGGED = """
SELECT to_hex(transaction_id::text::bigint) || '-' || to_hex(sequence) AS id,
       extract(epoch FROM create_time)::float8 AS time
  FROM events WHERE tenant_id = %s AND type LIKE 'page.%%'
 ORDER BY transaction_id, sequence
"""
SESSIONS = """
INSERT INTO sessions (id, user_id, current_tenant_id, rotate_time, expire_time)
SELECT unnest(%s::uuid[]), %s, %s, now(), now() + interval '1 day'
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    subscribers: int = 2000
    tenants: int = 1
    events: int = 50
    """Per tenant, once for the latency and once for each reconnection."""
    pace: float = 2.0
    """Events per second and tenant."""
    idle: float = 20.0
    """Seconds for which subscribers are left alone before their memory is measured: more than one recheck."""
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of a process in kB."""

    rss: float
    uss: float


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How events came to subscribers."""

    expected: int
    lost: int
    repeated: int
    misplaced: int
    p50: float
    p99: float
    longest: float
    """Seconds."""


@dataclass(frozen=True, kw_only=True)
class Return:
    """How all subscribers came back."""

    way: str
    seconds: float
    """From the cut until the last stream was open again, the second that EventSource waits included."""
    delivery: Delivery


class Audience:
    """Subscribers of some tenants on a stack, each with a session of its own, and those who write."""

    def __init__(self, stack: Stack, subscribers: Subscribers, scale: Scale) -> None:
        self._stack = stack
        self._subscribers = subscribers
        self._scale = scale
        first = new_tenant(stack)
        self._tenants = [first, *(another_tenant(first) for _ in range(scale.tenants - 1))]
        self._followed: list[Tenant] = []
        self._pages = 0

    def join(self, count: int) -> float:
        """So many more subscribers; seconds until all streams are open."""
        targets = []
        for number, tenant in enumerate(self._tenants):
            share = len(range(number, count, len(self._tenants)))
            targets += [self._target(tenant, token) for token in self._tokens(tenant, share)]
            self._followed += [tenant] * share
        before, started = self._subscribers.opened(), time.monotonic()
        self._subscribers.join(targets)
        wait_for(lambda: self._subscribers.opened() == before + count, PATIENCE, "every stream's opening")
        return time.monotonic() - started

    def write(self, events: int) -> None:
        """So many events for each tenant, at the pace."""
        started = time.monotonic()
        for number in range(events * len(self._tenants)):
            due = started + number / (self._scale.pace * len(self._tenants))
            time.sleep(max(0.0, due - time.monotonic()))
            tenant = self._tenants[number % len(self._tenants)]
            self._pages += 1
            body = {"slug": f"page-{self._pages}", "title": "What is new", "description": "d" * 300}
            answer = tenant.rest.post(f"{tenant.path}/pages", body)
            if answer.status_code != 201:
                raise SystemExit(f"bench: a write was answered {answer.status_code}: {answer.text[:300]}")

    def settle(self, seen: int, events: int) -> None:
        """Wait until everybody has got so many events more, or nothing arrives any more."""
        share = self._scale.subscribers * events
        quiet, last = time.monotonic(), seen
        while (now := self._subscribers.seen()) < seen + share and time.monotonic() < quiet + 5.0:
            if now != last:
                quiet, last = time.monotonic(), now
            time.sleep(0.05)

    def delivery(self, skip: int) -> Delivery:
        """How events came, without the first `skip` of each tenant."""
        logs = {tenant.id: rows(self._stack, LOGGED, tenant.id)[skip:] for tenant in self._tenants}
        return judge(self._subscribers.stories(), [logs[tenant.id] for tenant in self._followed])

    def _tokens(self, tenant: Tenant, count: int) -> list[str]:
        """Access tokens of so many new sessions of the tenant's owner."""
        settings = self._stack.settings
        tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=TOKEN_LIFETIME)
        owner = tokens.verify(tenant.access_token)
        sessions = [new_id() for _ in range(count)]
        with database(self._stack) as connection:
            connection.execute(SESSIONS, (sessions, owner.user_id, tenant.id))
        return [tokens.issue(replace(owner, session_id=session)) for session in sessions]

    def _target(self, tenant: Tenant, token: str) -> Target:
        return Target(self._stack.port, f"{tenant.path}/pages/stream", token)


def judge(stories: list[Story], logs: list[list[dict[str, Any]]]) -> Delivery:
    """Compare what each subscriber saw with the log of its tenant, both from the first event of that log on."""
    expected = lost = repeated = misplaced = 0
    times: list[float] = []
    for story, log in zip(stories, logs, strict=True):
        written = {row["id"]: row["time"] for row in log}
        seen = [(event_id, at) for event_id, at in story.events if event_id in written]
        counts = Counter(event_id for event_id, _ in seen)
        expected += len(written)
        lost += len(written.keys() - counts.keys())
        repeated += sum(count - 1 for count in counts.values())
        misplaced += [event_id for event_id in written if event_id in counts] != list(counts)
        times += [at - written[event_id] for event_id, at in seen]
    cuts = quantiles(times or [0.0, 0.0], n=100)
    return Delivery(
        expected=expected,
        lost=lost,
        repeated=repeated,
        misplaced=misplaced,
        p50=round(cuts[49], 4),
        p99=round(cuts[98], 4),
        longest=round(max(times, default=0.0), 4),
    )


def missed(figures: dict[str, Any]) -> list[str]:
    """The goals that were missed."""
    deliveries = [figures["delivery"], *(way["delivery"] for way in figures["returns"])]
    each = figures["kB per idle subscriber"]["rss"]
    faults = {
        f"an event took {figures['delivery']['longest']} s": figures["delivery"]["longest"] > LONGEST,
        f"an idle subscriber takes {each} kB": each > MOST_KILOBYTES,
        "events were lost, repeated or misplaced": any(
            delivery[fault] for delivery in deliveries for fault in ("lost", "repeated", "misplaced")
        ),
    }
    return [fault for fault, holds in faults.items() if holds]


class Measurement:
    """One run."""

    def __init__(self, stack: Stack, subscribers: Subscribers, scale: Scale) -> None:
        self._stack = stack
        self._subscribers = subscribers
        self._scale = scale
        self._audience = Audience(stack, subscribers, scale)
        self._written = 0

    def run(self) -> dict[str, Any]:
        """All figures by name."""
        figures: dict[str, Any] = {"scale": asdict(self._scale)}
        figures |= self._idle()
        figures["delivery"] = self._deliver()
        figures["returns"] = [
            self._come_back("cut by the client", self._subscribers.cut),
            self._come_back("SIGTERM of the process", lambda: self._stack.kill(REALTIME, signal.SIGTERM)),
            self._come_back("SIGKILL of the process", lambda: self._stack.kill(REALTIME)),
        ]
        stories = self._subscribers.stories()
        figures["statuses"] = dict(sum((story.statuses for story in stories), Counter()))
        figures["errors"] = dict(Counter(json.loads(error)["message"] for story in stories for error in story.errors))
        figures["missed"] = missed(figures)
        return figures

    def _idle(self) -> dict[str, Any]:
        before, envoy_before = self._memory(REALTIME), self._memory("envoy")
        seconds = self._audience.join(self._scale.subscribers)
        opened = self._memory(REALTIME)
        pid = self._stack.pid(REALTIME)
        cpu = cpu_seconds(pid)
        time.sleep(self._scale.idle)
        cpu = (cpu_seconds(pid) - cpu) / self._scale.idle
        after, envoy_after = self._memory(REALTIME), self._memory("envoy")
        return {
            "seconds to open": round(seconds, 2),
            "cores while idle": round(cpu, 3),
            "realtime kB before": asdict(before),
            "kB per subscriber, just opened": self._each(before, opened),
            "kB per idle subscriber": self._each(before, after),
            "envoy kB per idle subscriber": self._each(envoy_before, envoy_after),
        }

    def _deliver(self) -> dict[str, Any]:
        cpus = {name: cpu_seconds(self._stack.pid(name)) for name in (REALTIME, "envoy")}
        seen, started = self._subscribers.seen(), time.monotonic()
        self._audience.write(self._scale.events)
        self._audience.settle(seen, self._scale.events)
        seconds = time.monotonic() - started
        delivery = self._next_delivery()
        each = {
            f"{name} us per delivery": round((cpu_seconds(self._stack.pid(name)) - cpu) * 1e6 / delivery.expected, 1)
            for name, cpu in cpus.items()
        }
        return asdict(delivery) | each | {"seconds": round(seconds, 1)}

    def _come_back(self, way: str, cut: Callable[[], object]) -> dict[str, Any]:
        """Everybody is cut while writes go on, and comes back."""
        before, seen = self._subscribers.opened(), self._subscribers.seen()
        writing = Thread(target=self._audience.write, args=(self._scale.events,))
        writing.start()
        time.sleep(1.0)
        started = time.monotonic()
        cut()
        wait_for(lambda: self._subscribers.opened() >= before + self._scale.subscribers, PATIENCE, f"return: {way}")
        seconds = time.monotonic() - started
        writing.join()
        self._audience.settle(seen, self._scale.events)
        return asdict(Return(way=way, seconds=round(seconds, 2), delivery=self._next_delivery()))

    def _next_delivery(self) -> Delivery:
        delivery = self._audience.delivery(self._written)
        self._written += self._scale.events
        return delivery

    def _memory(self, name: str) -> Memory:
        found = psutil.Process(self._stack.pid(name)).memory_full_info()
        return Memory(rss=found.rss / 1024, uss=found.uss / 1024)

    def _each(self, before: Memory, after: Memory) -> dict[str, float]:
        count = self._scale.subscribers
        return {
            "rss": round((after.rss - before.rss) / count, 1),
            "uss": round((after.uss - before.uss) / count, 1),
        }


@contextmanager
def started(scale: Scale) -> Iterator[Stack]:
    """A stack with one realtime process."""
    stack = Stack(
        api_workers=1,
        realtime_workers=1,
        log_level="WARNING",
        streams_per_caller=scale.subscribers,
        streams_per_tenant=scale.subscribers,
        **dict(scale.settings),
    )
    try:
        yield stack.start()
    finally:
        stack.remove()


def measure(scale: Scale) -> dict[str, Any]:
    """All figures of one run on a stack of its own."""
    with started(scale) as stack:
        _warm(stack)
        with Subscribers() as subscribers:
            return Measurement(stack, subscribers, scale).run()


def _warm(stack: Stack) -> None:
    with Subscribers() as subscribers:
        audience = Audience(stack, subscribers, Scale(subscribers=WARM))
        audience.join(WARM)
        audience.write(3)
        audience.settle(0, 3)
        subscribers.leave()


def raise_open_files() -> None:
    """Let this process and its children have as many open files as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    parser.add_argument("--subscribers", type=int, default=2000)
    parser.add_argument("--tenants", type=int, action="append", help="default: 1, then 20")
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--pace", type=float, default=2.0, help="events per second and tenant")
    parser.add_argument("--idle", type=float, default=20.0)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise_open_files()
    faults: list[str] = []
    for tenants in given.tenants or (1, 20):
        scale = Scale(
            subscribers=given.subscribers, tenants=tenants, events=given.events, pace=given.pace, idle=given.idle
        )
        figures = measure(scale)
        faults += figures["missed"]
        sys.stdout.write(f"{json.dumps(figures, indent=1)}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
