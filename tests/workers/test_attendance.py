"""What is due and not taken is an unattended queue, and makes health DEGRADED until it is taken."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from plinth.operations.v1.health_pb2 import GetHealthRequest, Health
from prometheus_client import REGISTRY

from server.data.probe import Probe
from server.data.statements import Statement
from server.domains.operations.health import HealthService
from server.kernel.dependencies import Dependencies, Dependency
from server.workers.attendance import DUE, Attendance
from server.workers.gauges import COUNTS, Gauges
from server.workers.maintenance import OLD_JOBS
from server.workers.rescue import PUT_BACK
from tests.clients import Rest, unique
from tests.kernel import calls
from tests.stack import Stack
from tests.workers.machinery import own_database

NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Scene:
    """A queue in a database of our own, and time."""

    def __init__(self, connection: psycopg.Connection[Any], probe: Probe) -> None:
        self._connection = connection
        self._probe = probe
        self.time = 0.0

    def attendance(self, patience: float = 60.0, interval: float = 0.0) -> Attendance:
        """One that begins to look now."""
        attendance = Attendance(self._probe.run, patience, interval=interval, clock=lambda: self.time)
        attendance.look()
        return attendance

    def run(self, sql: str, *values: Any) -> None:
        self._connection.execute(sql.encode(), values)

    def plan(self, statement: Statement) -> str:
        """How PostgreSQL would run it for any values."""
        self.run("SET plan_cache_mode = force_generic_plan")
        # Few rows are read faster without an index; whether there is one is the question.
        self.run("SET enable_seqscan = off")
        self.run(f"PREPARE {statement.name.decode()} AS {statement.sql.decode()}")
        nothing = ", ".join("NULL" for _ in statement.parameters)
        lines = self._connection.execute(f"EXPLAIN EXECUTE {statement.name.decode()} ({nothing})".encode())
        return "\n".join(line for (line,) in lines)

    def enqueue(self, queue: str, waited: str, due: str | None = None) -> None:
        """A job that was enqueued so long ago, to be done after so long from now."""
        self.run(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at, plinth_enqueue_time) "
            "VALUES (%s, 'test', now() + %s::interval, now() - %s::interval)",
            queue,
            due,
            waited,
        )

    def heartbeat(self, ago: str) -> None:
        self.run("DELETE FROM procrastinate_workers")
        self.run("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s::interval)", ago)


@pytest.fixture
def scene(migrated: str) -> Iterator[Scene]:
    probe = Probe(migrated, 5.0)
    with psycopg.connect(migrated, autocommit=True) as connection:
        yield Scene(connection, probe)
        connection.execute("DELETE FROM procrastinate_jobs")
        connection.execute("DELETE FROM procrastinate_workers")
    probe.close()


def test_health_is_degraded_while_a_queue_is_unattended_and_says_which(scene: Scene) -> None:
    # So long that no test takes as much of it.
    attendance = scene.attendance(patience=3600.0)
    dependencies = Dependencies([Dependency("jobs", attendance.ask, vital=False)])
    service = HealthService(dependencies, "1")

    def health() -> Health:
        dependencies.look()
        return service.get_health(calls.call(calls.HEALTH), GetHealthRequest())

    scene.time = 10_000.0
    scene.heartbeat("1 second")
    scene.enqueue("mail", waited="59 minutes")
    assert health().status == Health.STATUS_SERVING
    scene.enqueue("reports", waited="61 minutes")
    found = health()
    assert found.status == Health.STATUS_DEGRADED
    assert found.checks[0].message == "nobody takes jobs from reports"
    scene.run("UPDATE procrastinate_jobs SET status = 'doing' WHERE queue_name = 'reports'")
    assert health().status == Health.STATUS_SERVING


def test_without_a_living_worker_every_queue_in_which_something_is_due_is_unattended(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long that no test takes as much of it.
    monkeypatch.setattr("server.workers.attendance.SILENCE", 3600.0)
    attendance = scene.attendance(patience=36_000.0)
    scene.time = 10_000.0
    assert not attendance.look().unattended
    scene.enqueue("mail", waited="1 second")
    assert attendance.look().unattended == {"mail"}
    scene.heartbeat("59 minutes")
    assert not attendance.look().unattended
    scene.heartbeat("61 minutes")
    assert attendance.look().unattended == {"mail"}


def test_what_waited_while_everything_was_down_is_no_news(scene: Scene) -> None:
    scene.enqueue("mail", waited="3 hours")
    scene.heartbeat("3 hours")
    attendance = scene.attendance()
    scene.time += 29
    attendance.ask()
    scene.heartbeat("1 second")
    scene.time += 30
    attendance.ask()
    scene.time += 2
    assert attendance.look().unattended == {"mail"}


def test_what_is_not_due_yet_waits_for_nobody(scene: Scene) -> None:
    attendance = scene.attendance()
    scene.time = 1000.0
    scene.heartbeat("1 second")
    scene.enqueue("mail", waited="3 hours", due="1 minute")
    assert attendance.look().queues == {}
    # It is due since then, not since it was enqueued.
    scene.enqueue("mail", waited="3 hours", due="-10 seconds")
    assert 9 <= attendance.look().queues["mail"] <= 600
    assert not attendance.look().unattended


def test_the_queues_are_looked_at_every_few_seconds_only(scene: Scene) -> None:
    asked = []

    def run(*arguments: Any, **parameters: Any) -> Any:
        asked.append(arguments)
        return scene._probe.run(*arguments, **parameters)  # noqa: SLF001

    attendance = Attendance(run, 60.0, interval=5.0, clock=lambda: scene.time)
    for second in range(11):
        scene.time = float(second)
        attendance.ask()
    assert len(asked) == 3


def test_that_the_database_is_away_is_for_its_own_check_to_say(scene: Scene) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise psycopg.OperationalError

    Attendance(run, 60.0, clock=lambda: scene.time).ask()


def test_what_waits_for_its_time_and_what_has_failed_is_not_looked_through(scene: Scene) -> None:
    scene.run(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, scheduled_at) SELECT 'later', 'test', "
        "CASE WHEN n < 50 THEN 'todo' ELSE 'failed' END::procrastinate_job_status, now() + interval '1 day' "
        "FROM generate_series(1, 100) n"
    )
    scene.enqueue("mail", waited="3 minutes")
    scene.run("ANALYZE procrastinate_jobs")
    for statement, indexes in (
        (DUE, ("plinth_jobs_due_idx",)),
        (COUNTS, ("plinth_jobs_doing_idx", "plinth_jobs_over_idx")),
        (PUT_BACK, ("plinth_jobs_doing_idx",)),
        (OLD_JOBS, ("plinth_jobs_end_time_idx",)),
    ):
        plan = scene.plan(statement)
        assert "Seq Scan on procrastinate_jobs" not in plan, plan
        assert all(index in plan for index in indexes), plan
    assert set(scene.attendance().look().queues) == {"mail"}


def test_gauges_tell_of_every_queue_and_of_partitions(migrated: str, scene: Scene) -> None:
    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, labels)

    mail, other = unique("mail"), unique("other")
    scene.enqueue(mail, waited="7 seconds")
    scene.run("INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES (%s, 'test', 'failed')", other)
    with own_database(migrated) as database, ThreadPoolExecutor(1) as threads:
        gauges = Gauges(database, [mail], 5.0, threads)
        gauges.set()
        assert value("plinth_job_queue_jobs", queue=mail, status="todo") == 1
        assert value("plinth_job_queue_jobs", queue=other, status="failed") == 1
        assert 6 <= (value("plinth_job_queue_oldest_seconds", queue=mail) or 0) <= 600
        assert value("plinth_job_queue_unattended", queue=mail) == 0
        assert value("plinth_partitions_ahead", table="events") == 3
        scene.run("DELETE FROM procrastinate_jobs")
        gauges.set()
        assert value("plinth_job_queue_jobs", queue=mail, status="todo") == 0
        assert value("plinth_job_queue_jobs", queue=other, status="failed") == 0
        assert value("plinth_job_queue_oldest_seconds", queue=mail) == 0


def test_the_stack_asks_for_its_jobs(stack: Stack) -> None:
    health = Rest(stack).get("health").json()
    assert {check["name"]: check["status"] for check in health["checks"]}["jobs"] == "STATUS_SERVING"
