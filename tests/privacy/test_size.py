"""A person with years of traces is erased to the last, as an operation with progress, which outlives its workers."""

import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from plinth.travel.v1.trip_pb2 import Trip
from psycopg import sql

from server.backup import tools
from server.embedded.postgres import ADMINISTRATOR
from server.kernel.actors import USER, Actor
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from server.run import audit_log
from tests.clients import Tenant, database, new_tenant, rows
from tests.domains.audit.planting import entry, plant
from tests.privacy.scene import ENDED, Marked, erase_self, marked
from tests.stack import Stack, wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

ENTRIES, EVENTS, ATTEMPTS = 100_000, 20_000, 5_000
# A job of a worker that was killed is put back half a minute after its last heartbeat, and then attempted again.
LONG = 240.0
EVENT_COLUMNS = ("tenant_id", "id", "type", "resource_id", "message_type", "payload", "actor_id", "audience")


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A stack whose workers may be killed."""
    stack = Stack()
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def tenant(own_stack: Stack) -> Tenant:
    return new_tenant(own_stack)


def plant_entries(tenant: Tenant, person: Marked, count: int) -> None:
    """Entries of the person's own calls, about their trip and about nothing with an id."""
    start = utc_now() - timedelta(milliseconds=count)
    kept = {"ip": "192.0.2.1", "user_agent": f"browser/{person.mark}"}
    kept["changes"] = f'{{"title":{{"after":"Trip {person.mark}"}}}}'
    of_trip: dict[str, Any] = {"resource_type": "plinth.dev/Trip", "resource_id": person.trip_id}
    facts = {"actor": Actor(USER, person.id), "personal": kept}
    times = (start + timedelta(milliseconds=number) for number in range(count))
    plant(
        tenant.stack,
        *(
            entry(tenant.id, create_time=time, **facts, **(of_trip if number % 2 else {"resource_id": ""}))
            for number, time in enumerate(times)
        ),
    )


def plant_events(tenant: Tenant, person: Marked, count: int) -> None:
    """Events of the person's trips."""
    query = sql.SQL("COPY events ({}, request_id) FROM STDIN").format(
        sql.SQL(", ").join(map(sql.Identifier, EVENT_COLUMNS))
    )
    trip = Trip(id=person.trip_id, user_id=person.id, title=f"Trip {person.mark}", feedback=f"Fine {person.mark}")
    with database(tenant.stack) as connection, connection.cursor().copy(query) as copy:
        for _ in range(count):
            copy.write_row(
                (
                    *(tenant.id, new_id(), "trip.updated", person.trip_id, "plinth.travel.v1.Trip"),
                    *(trip.SerializeToString(), person.id, person.id, new_id()),
                )
            )


def plant_many_attempts(tenant: Tenant, person: Marked, count: int) -> None:
    """Attempts to tell a receiver of the person's trips."""
    body = f'{{"data":{{"userId":"{person.id}","title":"Trip {person.mark}"}},"type":"trip.updated"}}'
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO webhook_attempts SELECT %s, gen_random_uuid(), 1, now(), 1, 200, '', '{}', %s, '{}', %s "
            "FROM generate_series(1, %s)",
            (tenant.id, body, person.mark, count),
        )


def dumped(stack: Stack) -> bytes:
    """What pg_dump writes of the database, in plain SQL."""
    programs, _ = tools.folder(stack.settings, 0)
    command = [str(programs / "pg_dump"), "--host", str(stack.settings.socket_dir), "--username", ADMINISTRATOR]
    command.append("plinth")
    return subprocess.run(command, capture_output=True, check=True).stdout


def traces(dump: bytes, mark: str) -> int:
    """How often a mark is in a dump, as text or as bytes in hexadecimal digits."""
    lowered = dump.lower()
    return lowered.count(mark.encode()) + lowered.count(mark.encode().hex().encode())


def shown(tenant: Tenant, operation_id: str) -> dict[str, Any]:
    """The operation as the owner of the tenant sees it."""
    told: dict[str, Any] = tenant.rest.get(f"/api/v1/long-operations/{operation_id}").json()
    return told


def test_many_traces_are_erased_with_progress(tenant: Tenant) -> None:
    stack = tenant.stack
    person, other = marked(tenant), marked(tenant)
    plant_entries(tenant, person, ENTRIES)
    plant_events(tenant, person, EVENTS)
    plant_many_attempts(tenant, person, ATTEMPTS)
    before = dumped(stack)
    assert traces(before, person.mark) > ENTRIES + EVENTS + ATTEMPTS
    answer = erase_self(person)
    assert answer.status_code == 202, answer.text
    seen: list[dict[str, Any]] = []

    def has_ended() -> bool:
        seen.append(shown(tenant, answer.json()["id"]))
        return seen[-1]["state"] in ENDED

    wait_for(has_ended, LONG, lambda: f"the end of {seen[-1]}")
    assert seen[-1]["state"] == "STATE_DONE", seen[-1]
    progress = [each["done"] for each in seen]
    assert progress == sorted(progress)
    assert len({done for done in progress if 0 < done < seen[-1]["done"]}) > 5
    assert max(each["total"] for each in seen) >= ENTRIES + EVENTS + ATTEMPTS
    after = dumped(stack)
    assert traces(after, person.mark) == 0
    assert traces(after, other.mark) == traces(before, other.mark) > 5
    wait_for(lambda: not rows(stack, UNSEALED, tenant.id), LONG, "the seal of every entry")
    findings: list[str] = []
    assert audit_log.verify(stack.settings, [tenant.id], [], findings.append), findings


UNSEALED = """
SELECT FROM audit_entries e WHERE tenant_id = %s AND NOT EXISTS (
       SELECT FROM audit_leaves l WHERE l.tenant_id = e.tenant_id AND l.entry_id = e.id) LIMIT 1
"""


def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another(tenant: Tenant) -> None:
    stack = tenant.stack
    person, other = marked(tenant), marked(tenant)
    plant_entries(tenant, person, 30_000)
    answer = erase_self(person)
    assert answer.status_code == 202, answer.text
    operation_id = answer.json()["id"]
    wait_for(lambda: shown(tenant, operation_id)["done"] > 1_000, what="the first batches")
    worker = next(name for name in stack.processes() if name.startswith("worker"))
    killed = stack.kill(worker, signal.SIGKILL)
    at_kill = shown(tenant, operation_id)
    assert at_kill["state"] == "STATE_RUNNING", "it was over before the worker was killed"
    wait_for(lambda: shown(tenant, operation_id)["state"] in ENDED, LONG, "the end")
    assert stack.pid(worker) != killed
    end = shown(tenant, operation_id)
    assert end["state"] == "STATE_DONE", end
    assert traces(dumped(stack), person.mark) == 0
    assert traces(dumped(stack), other.mark) > 5
    told = rows(stack, "SELECT FROM events WHERE type = 'user.erased' AND resource_id = %s", person.id)
    assert len(told) == 1
