"""Refusals on their way to the audit log: counted, bounded, and kept while the database is away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from server.data.connections import DatabaseUnavailable
from server.data.transactions import Database
from server.kernel.record import refusals
from server.kernel.record.gathering import MOST_KINDS
from server.kernel.record.refusals import RefusalLog
from tests.domains.audit.planting import entry
from tests.stack import wait_for

TENANT = "01900000-0000-7000-8000-00000000000a"
FAILURES = [DatabaseUnavailable(), psycopg.OperationalError("gone")]


class Stored(Database):
    """Transactions that write entries, or fail."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.failure: Exception | None = None
        self.tries = 0
        self.meanwhile: Callable[[], None] = lambda: None

    @contextmanager
    def write(self, *_: Any) -> Iterator[Any]:  # type: ignore[override]
        queued: list[dict[str, Any]] = []

        class Transaction:
            def queue(self, _: object, **row: Any) -> None:
                queued.append(row)

        self.tries += 1
        yield Transaction()
        self.meanwhile()
        if self.failure:
            raise self.failure
        self.entries += queued

    @property
    def counts(self) -> dict[str, int]:
        """How many refusals each actor's entries stand for."""
        return {row["actor_id"]: row["count"] for row in self.entries}


@pytest.fixture
def stored() -> Stored:
    return Stored()


def refusal(actor: str) -> dict[str, Any]:
    return entry(TENANT, outcome="PERMISSION_DENIED", reason="PERMISSION_MISSING") | {"actor_id": actor}


def note(log: RefusalLog, *actors: str) -> None:
    """Refuse each of them once, at one address."""
    for actor in actors:
        log.note(refusal(actor) | {"resource_id": TENANT}, "192.0.2.1")


def dropped() -> float:
    return REGISTRY.get_sample_value("plinth_audit_refusals_dropped_total") or 0.0


@pytest.mark.parametrize("failure", FAILURES)
def test_what_could_not_be_written_is_counted_on_and_written_later(stored: Stored, failure: Exception) -> None:
    log = RefusalLog(stored)
    note(log, "ada", "ada", "bob")
    stored.failure = failure
    # Refused while it is being written.
    stored.meanwhile = lambda: note(log, "ada", "eve")
    with pytest.raises(type(failure)):
        log.flush()
    assert stored.entries == []
    stored.failure, stored.meanwhile = None, lambda: None
    log.flush()
    assert stored.counts == {"ada": 3, "bob": 1, "eve": 1}
    log.flush()
    assert len(stored.entries) == 3


def test_of_several_transactions_those_that_were_committed_are_not_written_again(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "BATCH", 2)
    log = RefusalLog(stored)
    actors = [f"actor-{number}" for number in range(5)]
    note(log, *actors)

    def fail_at_the_second() -> None:
        stored.failure = FAILURES[0] if stored.tries == 2 else None

    stored.meanwhile = fail_at_the_second
    with pytest.raises(DatabaseUnavailable):
        log.flush()
    assert list(stored.counts) == actors[:2]
    log.flush()
    assert [row["actor_id"] for row in stored.entries] == actors


def test_what_finds_no_room_is_counted_as_lost(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_WAITING", 2)
    log, before = RefusalLog(stored), dropped()
    note(log, "ada", "bob", "eve", "ada", "eve")
    assert dropped() == before + 2
    log.flush()
    assert stored.counts == {"ada": 2, "bob": 1}


def test_kinds_without_end_are_counted_as_lost(stored: Stored) -> None:
    log, before = RefusalLog(stored), dropped()
    for number in range(MOST_KINDS + 3):
        log.gather(number, lambda: refusal("ada"))
    assert dropped() == before + 3
    log.flush()
    assert len(stored.entries) == MOST_KINDS


def test_an_outage_is_waited_for(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refusals, "INTERVAL", 0.005)
    monkeypatch.setattr(refusals, "LONGEST_PAUSE", 0.01)
    log = RefusalLog(stored)
    stored.failure = FAILURES[0]
    note(log, "ada")
    log.start()
    wait_for(lambda: stored.tries > 3, what="several tries")
    stored.failure = None
    wait_for(lambda: stored.entries, what="the entry")
    note(log, "bob")
    log.close()
    assert stored.counts == {"ada": 1, "bob": 1}
    # An outage is no failure of the loop.
    told = {(record.name, record.getMessage()) for record in caplog.records}
    assert told == {("plinth.audit", "1 refusals wait for the database: DatabaseUnavailable")}
