"""Erasing a person leaves nothing of theirs in any table, and everything of everybody else's."""

import json

import pytest

from tests.clients import Tenant, another_tenant, database, log_in, new_tenant, problem, reason, rows
from tests.privacy.scene import at_home, ended, erase_member, erase_self, holding, join, marked, somebody
from tests.stack import Stack


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    return another_tenant(first_tenant)


# What the marks are in before: otherwise the tests below would find nothing, whatever an erasure left.
EVERYWHERE = {
    *("users", "sessions", "trips", "expenses", "events", "audit_entries", "webhook_attempts"),
    *("account_letters", "email_messages"),
}


def test_who_erases_themselves_is_in_no_table_any_more(tenant: Tenant) -> None:
    person, other = marked(tenant), marked(tenant)
    before = holding(tenant.stack, other.mark)
    assert holding(tenant.stack, person.mark) == before == EVERYWHERE
    operation = ended(tenant, erase_self(person))
    assert operation["state"] == "STATE_DONE", operation
    assert holding(tenant.stack, person.mark) == set()
    assert holding(tenant.stack, other.mark) == before
    # Neither do the logs of the processes, which no erasure reaches.
    logs = b"".join(path.read_bytes() for path in (tenant.stack.data_dir / "logs").iterdir() if path.is_file())
    assert b"EraseOwnData" in logs
    assert person.mark.encode() not in logs.lower()


def test_the_account_ends_with_its_sessions_keys_and_memberships(tenant: Tenant) -> None:
    person = marked(tenant, "admin")
    made = person.rest.post(f"{tenant.path}/api-keys", {"name": "A program", "permissions": ["sites.pages.read"]})
    assert made.status_code == 201, made.text
    key_id = made.json()["id"]
    assert ended(tenant, erase_self(person))["state"] == "STATE_DONE"
    assert reason(person.rest.get("/api/v1/auth/me")) == (401, "SESSION_ENDED")
    body = {"email": person.account.email, "password": person.account.password}
    assert person.rest.post("auth/login", body).status_code == 401
    assert not rows(tenant.stack, "SELECT FROM memberships WHERE user_id = %s", person.id)
    assert not rows(tenant.stack, "SELECT FROM sign_in_networks WHERE user_id = %s", person.id)
    (key,) = rows(tenant.stack, "SELECT revoke_time FROM api_keys WHERE id = %s", key_id)
    assert key["revoke_time"] is not None
    # The address is free again.
    _, account = somebody(tenant.stack)
    assert log_in(tenant.stack, account)


def test_facts_stay_and_words_go(tenant: Tenant) -> None:
    person = marked(tenant)
    etag = tenant.rest.get(f"/api/v1/trips/{person.trip_id}").json()["etag"]
    assert ended(tenant, erase_member(tenant, person.id))["state"] == "STATE_DONE"
    expense = tenant.rest.get(f"/api/v1/expenses/{person.expense_id}").json()
    assert (expense["amount"]["units"], expense["userId"]) == ("12", person.id)
    assert expense["description"] == expense["place"] == ""
    trip = tenant.rest.get(f"/api/v1/trips/{person.trip_id}").json()
    assert (trip["title"], trip["specialRequirements"], trip["startDate"]["year"]) == ("erased", [], 2026)
    assert trip["etag"] != etag


def test_the_operation_and_the_log_tell_of_it_by_the_id_alone(tenant: Tenant) -> None:
    person = marked(tenant)
    operation = ended(tenant, erase_member(tenant, person.id))
    assert operation["kind"] == "person_erasure"
    assert operation["result"]["erased_rows"] > 0
    assert operation["done"] >= operation["total"] > 0
    events = rows(
        tenant.stack,
        "SELECT type, payload, audience, for_webhooks FROM events WHERE tenant_id = %s AND type LIKE 'user.eras%%' "
        "ORDER BY transaction_id, sequence",
        tenant.id,
    )
    assert [event["type"] for event in events] == ["user.erasure_requested", "user.erased"]
    for event in events:
        assert (bytes(event["payload"])[2:].decode(), event["audience"]) == (person.id, None)
        assert event["for_webhooks"]
    entries = tenant.rest.get(f"{tenant.path}/audit", {"filter": f'resource_id = "{person.id}"'}).json()["auditEntries"]
    assert [entry["action"] for entry in entries][:2] == ["user.erased", "user.erasure_requested"]
    assert all(entry["security"] for entry in entries[:2])


def test_what_others_did_to_what_is_theirs_goes_and_what_they_did_to_others_stays(tenant: Tenant) -> None:
    """An admin writes into a trip of the person, alone and along with a trip of somebody else's."""
    person, other = marked(tenant), marked(tenant, "admin")
    for whose in (person, other):
        changed = tenant.rest.patch(f"/api/v1/trips/{whose.trip_id}", {"feedback": f"Said by {whose.mark}"})
        assert changed.status_code == 200, changed.text
    by_person = person.rest.patch(f"/api/v1/trips/{other.trip_id}", {"feedback": "never"})
    assert by_person.status_code == 404
    query = "SELECT personal FROM audit_entries WHERE resource_id = %s AND action = 'trip.updated' ORDER BY create_time"
    ended(tenant, erase_member(tenant, person.id))
    assert [set(json.loads(row["personal"])) for row in rows(tenant.stack, query, person.trip_id)] == [
        set(),
        {"ip", "user_agent"},
    ]
    assert [set(json.loads(row["personal"])) for row in rows(tenant.stack, query, other.trip_id)] == [
        {"ip", "user_agent", "changes"},
        {"ip", "user_agent", "changes"},
    ]


def test_what_the_person_did_to_somebody_elses_stays_theirs(tenant: Tenant) -> None:
    person, other = marked(tenant, "owner"), marked(tenant)
    changed = person.rest.patch(f"/api/v1/trips/{other.trip_id}", {"feedback": f"Kept {other.mark}"})
    assert changed.status_code == 200, changed.text
    told = person.rest.get("/api/v1/gdpr/export").text
    assert other.trip_id in told
    assert other.mark not in told
    before = holding(tenant.stack, other.mark)
    ended(tenant, erase_member(tenant, person.id))
    (row,) = rows(
        tenant.stack,
        "SELECT personal FROM audit_entries WHERE resource_id = %s AND actor_id = %s",
        other.trip_id,
        person.id,
    )
    assert set(json.loads(row["personal"])) == {"changes"}
    assert f"Kept {other.mark}" in row["personal"]
    assert holding(tenant.stack, other.mark) == before


# Tenants -------------------------------------------------------------------------------------------------------------


def test_erasing_in_one_tenant_leaves_the_other_and_the_account_alone(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    here, there = at_home(tenant, mark, account), at_home(elsewhere, mark, account)
    assert ended(tenant, erase_member(tenant, account.id))["state"] == "STATE_DONE"
    assert tenant.rest.get(f"/api/v1/trips/{here.trip_id}").json()["title"] == "erased"
    assert there.rest.get(f"/api/v1/trips/{there.trip_id}").json()["title"] == f"Better {mark}"
    assert there.rest.get("/api/v1/auth/me").json()["user"]["email"].lower() == account.email.lower()
    assert holding(tenant.stack, mark) == EVERYWHERE
    mine = "SELECT FROM {} WHERE tenant_id = %s AND position(%s IN {}::text) > 0"
    for table, column in (("audit_entries", "personal"), ("webhook_attempts", "request_body"), ("trips", "title")):
        assert not rows(tenant.stack, mine.format(table, column), tenant.id, mark), table
        assert rows(tenant.stack, mine.format(table, column), elsewhere.id, mark), table
    assert [row["tenant_id"] for row in rows(tenant.stack, PLACES, account.id)] == [elsewhere.id]
    # Once they are erased there too, nothing keeps the account.
    assert ended(elsewhere, erase_member(elsewhere, account.id))["state"] == "STATE_DONE"
    assert holding(tenant.stack, mark) == set()


PLACES = "SELECT tenant_id::text FROM memberships WHERE user_id = %s"


def test_who_erases_themselves_goes_from_every_tenant(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    at_home(elsewhere, mark, account)
    person = at_home(tenant, mark, account)
    assert ended(tenant, erase_self(person))["state"] == "STATE_DONE"
    assert holding(tenant.stack, mark) == set()
    erased = rows(
        tenant.stack, "SELECT tenant_id::text FROM events WHERE type = 'user.erased' AND resource_id = %s", account.id
    )
    assert {row["tenant_id"] for row in erased} == {tenant.id, elsewhere.id}


# What is refused -----------------------------------------------------------------------------------------------------


def test_the_last_owner_stays(tenant: Tenant) -> None:
    body = {"password": tenant.owner.password}
    answer = tenant.rest.post("/api/v1/gdpr/erasures", body)
    assert reason(answer) == (409, "STATE_FORBIDS")
    assert problem(answer).metadata["state"] == "LAST_OWNER"
    person = marked(tenant, "admin")
    path = f"{tenant.path}/people/{tenant.owner.id}/erase"
    answer = person.rest.post(path, {})
    assert problem(answer).metadata["state"] == "LAST_OWNER"
    assert problem(tenant.rest.post(path, {})).metadata["state"] == "SELF"


def test_the_last_owner_of_another_tenant_stays_until_there_is_a_second(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    join(tenant.stack, account, tenant, "member")
    join(tenant.stack, account, elsewhere, "owner")
    person = at_home(tenant, mark, account)
    with database(tenant.stack) as connection:
        drop = "DELETE FROM memberships WHERE tenant_id = %s AND user_id = %s"
        connection.execute(drop, (elsewhere.id, elsewhere.owner.id))
    answer = person.rest.post("/api/v1/gdpr/erasures", {"password": account.password})
    metadata = problem(answer).metadata
    assert (metadata["state"], metadata["resource"]) == ("LAST_OWNER", elsewhere.id)
    join(tenant.stack, elsewhere.owner, elsewhere, "owner")
    assert ended(tenant, erase_self(person))["state"] == "STATE_DONE"


def test_only_who_knows_the_password_ends_an_account(tenant: Tenant) -> None:
    person = marked(tenant)
    answer = person.rest.post("/api/v1/gdpr/erasures", {"password": "Wr0ng!password"})
    assert reason(answer) == (422, "RULE_VIOLATED")
    assert "password" in problem(answer).violations
    assert person.rest.get("/api/v1/auth/me").status_code == 200


def test_a_member_erases_and_exports_nobody(tenant: Tenant) -> None:
    person, other = marked(tenant, "editor"), marked(tenant)
    assert reason(person.rest.post(f"{tenant.path}/people/{other.id}/erase", {})) == (403, "PERMISSION_MISSING")
    assert reason(person.rest.get(f"{tenant.path}/people/{other.id}/export")) == (403, "PERMISSION_MISSING")


def test_a_stranger_is_not_found(tenant: Tenant) -> None:
    _, stranger = somebody(tenant.stack)
    assert reason(erase_member(tenant, stranger.id)) == (404, "RESOURCE_NOT_FOUND")
    assert reason(tenant.rest.get(f"{tenant.path}/people/{stranger.id}/export")) == (404, "RESOURCE_NOT_FOUND")


# Export --------------------------------------------------------------------------------------------------------------


def test_an_export_holds_what_is_theirs_and_nothing_else(tenant: Tenant) -> None:
    person, other = marked(tenant), marked(tenant)
    answer = person.rest.get("/api/v1/gdpr/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == f'attachment; filename="person-{person.id}.json"'
    told = answer.json()
    assert told["personId"] == person.id
    assert told["users"][0]["email"].lower() == person.account.email.lower()
    assert [trip["title"] for trip in told["trips"]] == [f"Better {person.mark}"]
    assert [expense["place"] for expense in told["expenses"]] == [f"At {person.mark}"]
    assert {entry["action"] for entry in told["audit_entries"]} >= {"trip.created", "expense.created"}
    assert told["audit_entries"][-1]["personal"]["user_agent"]["value"] == f"browser/{person.mark}"
    assert told["memberships"][0]["tenant_id"] == tenant.id
    assert other.mark not in answer.text
    assert "password_hash" not in answer.text


def test_a_tenant_exports_what_it_holds_of_a_member(tenant: Tenant) -> None:
    person, other = marked(tenant), marked(tenant)
    answer = tenant.rest.get(f"{tenant.path}/people/{person.id}/export")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert "users" not in told, "the account belongs to no tenant"
    with database(tenant.stack) as connection:
        connection.execute("DELETE FROM memberships WHERE user_id = %s", (person.id,))
    answer = tenant.rest.get(f"{tenant.path}/people/{person.id}/export")
    assert (answer.status_code, answer.json()["trips"]) == (200, told["trips"]), "who has left has not gone"
    assert [trip["title"] for trip in told["trips"]] == [f"Better {person.mark}"]
    assert other.mark not in answer.text


def test_an_export_spans_all_tenants_of_theirs(tenant: Tenant) -> None:
    elsewhere = another_tenant(tenant)
    mark, account = somebody(tenant.stack)
    for place in (tenant, elsewhere):
        join(tenant.stack, account, place, "member")
    at_home(elsewhere, mark, account)
    person = at_home(tenant, mark, account)
    told = person.rest.get("/api/v1/gdpr/export").json()
    assert {trip["tenant_id"] for trip in told["trips"]} == {tenant.id, elsewhere.id}


def test_a_long_export_comes_in_batches(tenant: Tenant) -> None:
    person = marked(tenant)
    with database(tenant.stack) as connection:
        connection.execute(
            "INSERT INTO trips (tenant_id, id, user_id, title, start_date, end_date, state) "
            "SELECT %s, gen_random_uuid(), %s, 'Many ' || n, '2026-01-01', '2026-01-01', 1 "
            "FROM generate_series(1, 1200) n",
            (tenant.id, person.id),
        )
    told = person.rest.get("/api/v1/gdpr/export").json()
    titles = {trip["title"] for trip in told["trips"]}
    assert titles == {f"Better {person.mark}", *(f"Many {number}" for number in range(1, 1201))}
    assert len(told["trips"]) == 1201


def test_the_address_of_the_documents_works_with_a_body(tenant: Tenant) -> None:
    person = marked(tenant)
    answer = person.rest.request("DELETE", "/api/v1/gdpr/data", json={"password": person.account.password})
    assert answer.headers["location"] == f"/api/v1/long-operations/{answer.json()['id']}"
    assert ended(tenant, answer)["state"] == "STATE_DONE"
