"""What an erasure cannot see while it runs: memory, calls under way, and people without a tenant."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from plinth.travel.v1.trip_pb2 import Trip

from server import modules
from server.data.events import NO_TENANT
from server.data.transactions import Database
from server.domains.identity.privacy import ERASE_REST, PersonErasure
from server.domains.tenancy.memberships import Memberships
from server.kernel.actors import USER, Actor
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from server.kernel.privacy import Eraser, Unwatched
from server.kernel.problems import StateForbids
from server.run import audit_log
from tests.clients import Rest, Tenant, another_tenant, database, log_in, new_tenant, rows
from tests.domains.audit.planting import entry, plant
from tests.privacy.scene import (
    at_home,
    ended,
    erase_member,
    erase_self,
    holding,
    join,
    marked,
    plant_attempts,
    somebody,
)
from tests.stack import Stack, wait_for
from tests.streams import sse
from tests.workers.machinery import own_database

STREAM = "/api/v1/realtime/stream"
OF_ACCOUNT = ("account_letters", "email_messages")


class Tags:
    """What was invalidated."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def invalidate(self, tags: Any) -> None:
        self.tags += tags


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def own(stack: Stack) -> Iterator[Database]:
    """The database as a worker has it."""
    with own_database(stack.settings.runtime_dsn) as database:
        yield database


@pytest.fixture
def tags() -> Tags:
    """What the worker invalidates."""
    return Tags()


@pytest.fixture
def worker(own: Database, tags: Tags) -> PersonErasure:
    """What workers do, done here."""
    return PersonErasure(own, Memberships(), Eraser(modules.privacy(), tags), utc_now)


def plant_event(tenant_id: str, stack: Stack, person_id: str, mark: str, **facts: Any) -> str:
    """An event of a person's trip; its id."""
    trip = Trip(id=new_id(), user_id=person_id, title=f"Late {mark}")
    values = {
        "tenant_id": tenant_id,
        "id": new_id(),
        "type": "trip.updated",
        "resource_id": trip.id,
        "message_type": "plinth.travel.v1.Trip",
        "payload": trip.SerializeToString(),
        "actor_id": person_id,
        "audience": person_id,
        "request_id": new_id(),
        **facts,
    }
    with database(stack) as connection:
        connection.execute(
            f"INSERT INTO events ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})".encode(),
            tuple(values.values()),
        )
    return str(values["id"])


# Streams -------------------------------------------------------------------------------------------------------------


def test_a_stream_that_resumes_gets_what_the_log_has_now(tenant: Tenant) -> None:
    """The realtime process remembers the last events, which are erased in the log alone."""
    with sse.connect(tenant.stack, "", tenant.access_token, url=STREAM, params={"types": "*"}) as reader:
        opened = reader.next()
        assert opened.event == "stream.open"
        person = marked(tenant)
        while (frame := reader.next()).event != "trip.updated":
            pass
        assert person.mark in json.dumps(frame.data)
        ended(tenant, erase_member(tenant, person.id))
        while reader.next().event != "user.erased":
            pass
    resumed: dict[str, Any] = {"url": STREAM, "params": {"types": "*"}, "headers": sse.after(opened.id)}
    with sse.connect(tenant.stack, "", tenant.access_token, **resumed) as reader:
        frames = [reader.next()]
        while frames[-1].event != "user.erased":
            frames.append(reader.next())
    events = [frame.event for frame in frames]
    assert {"trip.created", "trip.updated", "expense.created"} <= set(events)
    assert person.mark not in json.dumps([frame.data for frame in frames])


# What comes late -----------------------------------------------------------------------------------------------------


def test_what_was_under_way_is_erased_ten_minutes_later(tenant: Tenant, tags: Tags, worker: PersonErasure) -> None:
    person = marked(tenant)
    assert ended(tenant, erase_self(person))["state"] == "STATE_DONE"
    (job,) = rows(
        tenant.stack,
        "SELECT args, scheduled_at - now() > interval '5 minutes' AS later FROM procrastinate_jobs "
        "WHERE task_name = %s AND args->>'person_id' = %s",
        ERASE_REST,
        person.id,
    )
    assert job["args"] == {"person_id": person.id, "tenant_ids": [tenant.id], "ends_account": True}
    assert job["later"]
    plant_event(tenant.id, tenant.stack, person.id, person.mark)
    plant_attempts(tenant, [person])
    kept = {"ip": "192.0.2.9", "user_agent": person.mark}
    plant(tenant.stack, entry(tenant.id, actor=Actor(USER, person.id), personal=kept))
    assert holding(tenant.stack, person.mark) == {"events", "webhook_attempts", "audit_entries"}
    worker.erase_rest(**job["args"])
    assert holding(tenant.stack, person.mark) == set()
    # What is cached shows nothing of it either.
    assert {f"tenant:{tenant.id}:trips", f"tenant:{tenant.id}:expenses", f"access:{tenant.id}"} <= set(tags.tags)


def test_who_has_come_back_meanwhile_is_left_alone(tenant: Tenant, worker: PersonErasure) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    ended(tenant, erase_member(tenant, account.id))
    join(tenant.stack, account, tenant, "member")
    person = at_home(tenant, mark, account)
    worker.erase_rest(person_id=account.id, tenant_ids=[tenant.id], ends_account=True)
    assert person.rest.get(f"/api/v1/trips/{person.trip_id}").json()["title"] == f"Better {mark}"


# Outside of tenants --------------------------------------------------------------------------------------------------


def test_a_user_of_no_tenant_is_erased_too(stack: Stack) -> None:
    mark, account = somebody(stack)
    session = log_in(stack, account)
    again = {"email": account.email.upper(), "password": "Qx7!another1"}
    assert Rest(stack).post("auth/signup", again).status_code == 201
    assert holding(stack, mark) == {"users", "events", "audit_entries", *OF_ACCOUNT}
    rest = Rest(stack, session.access_token)
    answer = rest.post("/api/v1/gdpr/erasures", {"password": account.password})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["kind"], answer.json()["id"]) == ("person_erasure", "")
    wait_for(lambda: rest.get("/api/v1/auth/me").status_code == 401, what="the end of the session")
    wait_for(lambda: holding(stack, mark) == set(), what="the end of the erasure")


def test_an_account_that_a_tenant_does_not_end_keeps_what_belongs_to_none(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    event = plant_event(NO_TENANT, tenant.stack, account.id, mark)
    ended(tenant, erase_member(tenant, account.id))
    query = "SELECT position(%s IN encode(payload, 'escape')) > 0 AS there FROM events WHERE id = %s"
    assert rows(tenant.stack, query, mark, event)[0]["there"]
    ended(elsewhere, erase_member(elsewhere, account.id))
    assert not rows(tenant.stack, query, mark, event)[0]["there"]


def test_a_tenant_ends_the_account_of_its_members_alone(tenant: Tenant) -> None:
    """Neither that of somebody who has left, nor that of an administrator of the platform."""
    left = marked(tenant)
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE user_id = %s", (left.id,))
    administrator = marked(tenant)
    with database(tenant.stack) as connection:
        connection.execute("UPDATE users SET is_platform = true WHERE id = %s", (administrator.id,))
    for person in (left, administrator):
        assert ended(tenant, erase_member(tenant, person.id))["state"] == "STATE_DONE"
        assert holding(tenant.stack, person.mark) == {"users", "sessions", "events", "audit_entries", *OF_ACCOUNT}
        assert log_in(tenant.stack, person.account)


# The audit log -------------------------------------------------------------------------------------------------------


def test_the_tree_still_verifies(tenant: Tenant) -> None:
    person = marked(tenant)
    unsealed = (
        "SELECT FROM audit_entries e WHERE tenant_id = %s AND NOT EXISTS (SELECT FROM audit_leaves l "
        "WHERE l.tenant_id = e.tenant_id AND l.entry_id = e.id) LIMIT 1"
    )
    wait_for(lambda: not rows(tenant.stack, unsealed, tenant.id), what="the seal")
    ended(tenant, erase_self(person))
    wait_for(lambda: not rows(tenant.stack, unsealed, tenant.id), what="the seal")
    findings: list[str] = []
    assert audit_log.verify(tenant.stack.settings, [tenant.id], [], findings.append), findings


def test_somebody_elses_change_of_many_rows_loses_what_is_personal(tenant: Tenant) -> None:
    """Its entry names the first of the rows alone. The event of the person's leads to it."""
    person, other = marked(tenant), marked(tenant)
    request_id, admin = new_id(), Actor(USER, tenant.owner.id)
    facts = {"actor": admin, "resource_type": "plinth.dev/Trip", "resource_id": other.trip_id}
    changes = {"changes": f'{{"{person.trip_id}":{{"title":{{"after":"{person.mark}"}}}}}}', "ip": "192.0.2.4"}
    planted = entry(tenant.id, request_id=request_id, personal=changes, **facts)
    untouched = entry(tenant.id, personal=changes | {"changes": '{"title":{"after":"other"}}'}, **facts)
    plant(tenant.stack, planted, untouched)
    plant_event(tenant.id, tenant.stack, person.id, person.mark, request_id=request_id, actor_id=tenant.owner.id)
    ended(tenant, erase_member(tenant, person.id))
    query = "SELECT personal FROM audit_entries WHERE id = %s"
    assert set(json.loads(rows(tenant.stack, query, planted["id"])[0]["personal"])) == {"ip"}
    assert set(json.loads(rows(tenant.stack, query, untouched["id"])[0]["personal"])) == {"ip", "changes"}
    assert holding(tenant.stack, person.mark) == set()


def test_an_entry_of_somebody_elses_change_is_found_by_the_row_once_its_event_has_expired(tenant: Tenant) -> None:
    person, other = marked(tenant), marked(tenant)
    facts = {"actor": Actor(USER, tenant.owner.id), "resource_type": "plinth.dev/Expense"}
    kept = {"changes": f'{{"place":{{"before":"{person.mark}"}}}}', "ip": "192.0.2.5"}
    planted = [entry(tenant.id, resource_id=whose.expense_id, personal=kept, **facts) for whose in (person, other)]
    plant(tenant.stack, *planted)
    ended(tenant, erase_member(tenant, person.id))
    query = "SELECT personal FROM audit_entries WHERE id = %s"
    left = [set(json.loads(rows(tenant.stack, query, one["id"])[0]["personal"])) for one in planted]
    assert left == [{"ip"}, {"ip", "changes"}]


def test_an_owner_who_has_become_the_last_one_meanwhile_keeps_the_membership(
    tenant: Tenant, own: Database, worker: PersonErasure
) -> None:
    place = another_tenant(tenant)
    _, account = somebody(tenant.stack)
    join(tenant.stack, account, place, "owner")
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE user_id = %s AND tenant_id = %s", (tenant.owner.id, place.id))
    work: Any = Unwatched(own)
    with pytest.raises(StateForbids, match="keeps an owner"):
        worker.run(work, person_id=account.id, tenant_ids=[place.id], ends_account=True)
    assert rows(tenant.stack, "SELECT FROM memberships WHERE user_id = %s", account.id)
