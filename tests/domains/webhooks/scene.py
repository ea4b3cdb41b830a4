"""A database with webhooks in it, whose dispatcher and engine run in the test, on a clock that the test can move."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
from plinth.sites.v1.page_pb2 import Page
from psycopg.rows import dict_row

from server import modules
from server.adapters.webhook_sender import WebhookSenders
from server.data import schema
from server.domains.webhooks.delivery import DeliveryEngine
from server.domains.webhooks.dispatch import Dispatcher
from server.domains.webhooks.secrets import SecretBox
from server.kernel.egress import Egress
from server.kernel.ids import new_id
from server.secrets import Secrets
from tests.contract.scratch import scratch_database, scratch_role
from tests.stack import PATIENCE, Stack

SECRET = b"a secret of a deployment, for tests"
# Of a receiver that answers, however busy the machine is.
SENDING = 20.0


class MovedClock:
    """The time, and then some."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self, **by: float) -> None:
        self.ahead += timedelta(**by)


class Scene:
    """One database, and whoever delivers from it."""

    def __init__(self, administrator: str, dispatch: str) -> None:
        self.administrator = administrator
        self.dispatch = dispatch
        # Asked again and again by whoever waits for something, so it is kept.
        self._connection = psycopg.connect(administrator, row_factory=dict_row, autocommit=True)
        self.clock = MovedClock()
        self.box = SecretBox(Secrets(SECRET))
        self.egress = Egress(allow_http=True, allowed_networks=["127.0.0.1/32"])

    def close(self) -> None:
        self._connection.close()

    # What is in it.

    def run(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """A statement as the superuser; what it returns."""
        cursor = self._connection.execute(cast("Any", sql), values)
        return cursor.fetchall() if cursor.description else []

    def add_tenant(self) -> str:
        tenant = new_id()
        self.run(
            "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, %s, 'Acme', 1)", tenant, f"t{tenant[-12:]}"
        )
        return tenant

    def add_webhook(self, tenant: str, url: str, *event_types: str) -> str:
        """A webhook that was made long ago."""
        webhook = new_id()
        self.run(
            "INSERT INTO webhooks (tenant_id, id, url, event_types, signature_scheme, secret, create_time)"
            " VALUES (%s, %s, %s, %s, 1, %s, now() - interval '1 hour')",
            *(tenant, webhook, url, list(event_types or ["*"]), self.box.seal(b"0" * 32, webhook)),
        )
        return webhook

    def add_events(self, tenant: str, *subjects: str, event_type: str = "page.updated") -> list[str]:
        """One event about each of these resources, in this order, in one transaction; their ids."""
        events = [new_id() for _ in subjects]
        with psycopg.connect(self.administrator) as connection:
            connection.cursor().executemany(
                "INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)"
                " VALUES (%s, %s, %s, %s, 'plinth.sites.v1.Page', %s, '')",
                [
                    (tenant, event, event_type, subject, Page(id=subject, title="News").SerializeToString())
                    for event, subject in zip(events, subjects, strict=True)
                ],
            )
        return events

    def add_delivery(self, tenant: str, webhook: str, event: str, subject: str) -> None:
        """An event that was dispatched already."""
        self.run(
            "INSERT INTO webhook_deliveries"
            " (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)"
            " VALUES (%s, %s, %s, %s, 'page.updated', %s, now(), 1, 1)",
            *(tenant, new_id(), webhook, event, subject),
        )
        self.run(
            "INSERT INTO webhook_queues (tenant_id, webhook_id, subject, next_attempt_time)"
            " VALUES (%s, %s, %s, now()) ON CONFLICT DO NOTHING",
            *(tenant, webhook, subject),
        )

    def deliveries(self, webhook: str) -> list[dict[str, Any]]:
        """In the order in which they were queued."""
        return self.run("SELECT * FROM webhook_deliveries WHERE webhook_id = %s ORDER BY number", webhook)

    def attempts(self, webhook: str) -> list[dict[str, Any]]:
        return self.run(
            "SELECT a.*, d.subject FROM webhook_attempts a JOIN webhook_deliveries d ON d.id = a.delivery_id"
            " WHERE d.webhook_id = %s ORDER BY a.create_time, a.number",
            webhook,
        )

    def webhook(self, webhook: str) -> dict[str, Any]:
        return self.run("SELECT * FROM webhooks WHERE id = %s", webhook)[0]

    def queues(self) -> list[dict[str, Any]]:
        return self.run("SELECT * FROM webhook_queues ORDER BY tenant_id, webhook_id, subject")

    # Who works on it.

    def engine(self, **options: Any) -> DeliveryEngine:
        senders = WebhookSenders(self.egress, total=SENDING, connect=SENDING)
        given = {"senders": senders, "concurrency": 40, "patience": 0.5, **options}
        return DeliveryEngine(self.dispatch, box=self.box, name="test", clock=self.clock, chance=lambda: 0.5, **given)

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[None]:
        """A dispatcher and an engine, for as long as the context lasts."""
        engine = self.engine(**options)
        self.wake = engine.wake
        dispatcher = Dispatcher(self.dispatch, silence, engine.wake, name="test", clock=self.clock)
        tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(engine.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    def move(self, **by: float) -> None:
        """Let time pass, for who works."""
        self.clock.move(**by)
        self.wake()

    @contextmanager
    def nothing_new(self) -> Iterator[None]:
        """All events count as dispatched."""
        before = self.run("SELECT transaction_id, sequence FROM event_cursors WHERE name = 'webhooks'")
        place = before[0] if before else {"transaction_id": 0, "sequence": 0}
        move = (
            "INSERT INTO event_cursors (name, transaction_id, sequence) VALUES ('webhooks', %s, %s) ON CONFLICT (name)"
            " DO UPDATE SET transaction_id = excluded.transaction_id, sequence = excluded.sequence"
        )
        self.run(move, 1 << 60, 0)
        yield
        self.run(move, place["transaction_id"], place["sequence"])

    def move_to_next(self, webhook: str) -> None:
        """Let time pass until something is due for a webhook."""
        times = [row["next_attempt_time"] for row in self.queues() if str(row["webhook_id"]) == webhook]
        self.move(seconds=max(0.0, (min(times) - self.clock()).total_seconds()) if times else 0.0)

    async def until_somebody_waits(self) -> None:
        """Wait until a lock keeps somebody from going on."""
        waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await self.until(lambda: self.run(waits), "somebody's waiting")

    async def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Wait until it holds."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not await asyncio.to_thread(condition):
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true"
            await asyncio.sleep(0.02)


async def silence() -> AsyncIterator[None]:
    """No hints: the log is looked at all the same."""
    await asyncio.Event().wait()
    yield None


async def often() -> AsyncIterator[None]:
    """Hints, one after the other."""
    while True:
        await asyncio.sleep(0.005)
        yield None


@contextmanager
def scene(stack: Stack) -> Iterator[Scene]:
    """A migrated database in the stack's PostgreSQL."""
    with scratch_database(stack) as administrator:
        schema.migrate(administrator)
        with scratch_role(administrator) as (runtime, _), scratch_role(administrator) as (dispatch, dsn):
            modules.grant(administrator, runtime=runtime, dispatch=dispatch)
            with closing(Scene(administrator, dsn)) as place:
                yield place
