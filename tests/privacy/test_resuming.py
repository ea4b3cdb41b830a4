"""An erasure that stops anywhere is gone on with, erases everything, and is told of once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from server import modules
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.identity.privacy import PersonErasure
from server.domains.tenancy.memberships import Memberships
from server.json_values import JsonValue
from server.kernel.clock import utc_now
from server.kernel.privacy import Eraser
from tests.clients import Tenant, another_tenant, database, new_tenant, rows
from tests.privacy.scene import at_home, holding, join, marked, somebody
from tests.stack import Stack
from tests.workers.machinery import own_database


class Stopped(Exception):
    """The worker is gone."""


class Attempts:
    """The batches of several attempts: each is stopped after a number of batches, and saves as an operation does."""

    scope = Scope()

    def __init__(self, own: Database) -> None:
        self._own = own
        self._kept: Mapping[str, JsonValue] = {}
        self.saved: Mapping[str, JsonValue] = {}
        self.left = 0
        self.batches = 0
        self.shown: list[int] = []

    @contextmanager
    def batch(self) -> Iterator[WriteTransaction]:
        """A transaction. The last one that an attempt may have is rolled back."""
        with self._own.write(self.scope) as transaction:
            yield transaction
            self.left -= 1
            self.batches += 1
            if self.left == 0:
                raise Stopped
        self.saved = self._kept

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Keep what is told."""
        del total, message
        self.shown.append(done)

    def save(self, **saved: JsonValue) -> None:
        """Keep what is saved, until the commit."""
        self._kept = saved


class Nothing:
    """No cache."""

    def invalidate(self, tags: object) -> None:
        del tags


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def own(stack: Stack) -> Iterator[Database]:
    """The database as a worker has it."""
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


@pytest.mark.parametrize("length", [3, 4, 7])
def test_whatever_attempt_follows_the_erasure_ends_and_is_told_of_once(
    tenant: Tenant, own: Database, length: int
) -> None:
    """Each attempt gets so far as `length` batches, and the last of them is lost."""
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    at_home(elsewhere, mark, account)
    person = at_home(tenant, mark, account)
    changed = tenant.rest.patch(f"/api/v1/trips/{person.trip_id}", {"feedback": f"By the owner {mark}"})
    assert changed.status_code == 200, changed.text
    attempts, worker = Attempts(own), PersonErasure(own, Memberships(), Eraser(modules.privacy(), Nothing()), utc_now)
    work: Any = attempts
    asked: dict[str, Any] = {"person_id": account.id, "tenant_ids": [tenant.id, elsewhere.id], "ends_account": True}
    number = counting = 0
    while True:
        # What there is to do is counted first, in one attempt, which takes a batch for each thing to do.
        counting += 10
        attempts.left = length if attempts.saved.get("done") else counting
        number += 1
        try:
            told = worker.run(work, **asked)
        except Stopped:
            assert number < 300, attempts.saved
        else:
            break
    assert told["erased_rows"]
    assert number > 2
    assert holding(tenant.stack, mark) == set()
    events = rows(tenant.stack, "SELECT FROM events WHERE type = 'user.erased' AND resource_id = %s", account.id)
    assert len(events) == 2


def test_a_deleted_tenant_needs_no_owner(tenant: Tenant, own: Database) -> None:
    place = another_tenant(tenant)
    person = marked(place, "owner")
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE tenant_id = %s AND user_id = %s", (place.id, place.owner.id))
        connection.execute("UPDATE tenants SET delete_time = now() WHERE id = %s", (place.id,))
    attempts, worker = Attempts(own), PersonErasure(own, Memberships(), Eraser(modules.privacy(), Nothing()), utc_now)
    work: Any = attempts
    worker.run(work, person_id=person.id, tenant_ids=[place.id], ends_account=True)
    assert holding(tenant.stack, person.mark) == set()
    assert attempts.shown == sorted(attempts.shown)
