"""Erasing a person: what was theirs is gone from the log, what was others' stays, and every hash still holds."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from server.kernel.actors import USER as A_USER
from server.kernel.actors import Actor
from server.kernel.record.audit import leaf_hash
from tests.clients import Account, Rest, Tenant, another_tenant, log_in, new_tenant, reason, rows, sign_up, unique
from tests.domains.audit.planting import entry, plant, stored
from tests.stack import Stack

BROWSER = {"user-agent": "their-browser/1"}


@dataclass(frozen=True)
class Scene:
    """A tenant with somebody in it who is to be erased."""

    tenant: Tenant
    person: Account

    def entries(self) -> list[dict[str, Any]]:
        """The tenant's entries as they are stored, oldest first."""
        return stored(self.tenant.stack, self.tenant.id)

    def erase(self, person_id: str = "") -> dict[str, Any]:
        """Erase somebody, as the owner; what came of it."""
        body = {"personId": person_id or self.person.id}
        answer = self.tenant.rest.post(f"{self.tenant.path}/audit/erasures", body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def scene(first_tenant: Tenant) -> Scene:
    """Somebody signed up, got a role, logged in, and made a page; the owner changed it."""
    tenant = another_tenant(first_tenant, signUpOpen=True)
    person = sign_up(tenant.stack, tenant=tenant.subdomain, firstName="Ada")
    tenant.rest.post(f"users/{person.id}/roles", {"role": "editor"})
    session = log_in(tenant.stack, person, tenant.subdomain)
    rest = Rest(tenant.stack, session.access_token)
    page = rest.post(f"{tenant.path}/pages", {"slug": unique("p"), "title": "Home"}, headers=BROWSER)
    assert page.status_code == 201, page.text
    changed = tenant.rest.patch(f"{tenant.path}/pages/{page.json()['id']}", {"title": "Start"})
    assert changed.status_code == 200, changed.text
    return Scene(tenant, person)


def personal(row: dict[str, Any]) -> dict[str, str]:
    """What a row holds of persons."""
    return {name: kept["value"] for name, kept in json.loads(row["personal"]).items()}


def test_what_is_theirs_goes_and_what_is_others_stays(scene: Scene) -> None:
    before = {row["id"]: row for row in scene.entries()}
    assert scene.person.email in "".join(row["personal"] for row in before.values())
    told = scene.erase()
    after = {row["id"]: row for row in scene.entries()}
    erased = {row["action"]: row for row_id, row in after.items() if row != before.get(row_id, row)}
    assert erased.keys() == {"user.signed_up", "session.started", "page.created"}
    assert told == {"id": scene.person.id, "erasedEntries": len(erased)}
    for row in erased.values():
        assert personal(row) == {}
    everything = "".join(row["personal"] + row["changes"] for row in after.values())
    assert scene.person.email not in everything
    assert "Ada" not in everything
    assert BROWSER["user-agent"] not in everything
    # Who gave them a role and who changed their page was somebody else.
    others = {row["action"]: personal(row) for row in after.values() if row["action"] not in erased}
    assert others.keys() >= {"membership.role_assigned", "page.updated", "tenant.created"}
    assert all(kept["ip"] == "127.0.0.1" for kept in others.values())


def test_hashes_and_commitments_stay(scene: Scene) -> None:
    before = {row["id"]: row for row in scene.entries()}
    scene.erase()
    for row in scene.entries():
        known = before.get(row["id"], row)
        assert {**row, "personal": ""} == {**known, "personal": ""}
        assert leaf_hash(row) == row["hash"]


def test_the_api_tells_that_something_was_erased(scene: Scene) -> None:
    scene.erase()
    listed = scene.tenant.rest.get(f"{scene.tenant.path}/audit", {"pageSize": 200}).json()["auditEntries"]
    by_action = {one["action"]: one for one in listed}
    created = by_action["page.created"]
    assert (created["erased"], created["ip"], created["userAgent"]) == (True, "", "")
    assert created["changes"]["title"] == {"after": "Home"}
    assert created["actorId"] == scene.person.id
    assert not by_action["page.updated"]["erased"]
    signed_up = by_action["user.signed_up"]
    assert signed_up["changes"].keys() == {"id", "createTime", "state"}


def test_the_erasure_is_in_the_log_and_holds_nothing_of_whom_it_erased(scene: Scene) -> None:
    scene.erase()
    row = scene.entries()[-1]
    assert (row["action"], row["resource_id"], row["security"]) == ("audit_person.erased", scene.person.id, True)
    assert json.loads(row["changes"]) == {"id": {"after": scene.person.id}, "erasedEntries": {"after": 3}}
    (event,) = rows(scene.tenant.stack, "SELECT type, payload FROM events WHERE id = %s", row["event_id"])
    assert event["type"] == "audit_person.erased"
    for secret in (scene.person.email, "Ada", BROWSER["user-agent"]):
        assert secret not in row["changes"] + row["personal"]
        assert secret.encode() not in bytes(event["payload"])


def test_erasing_again_erases_what_came_since(scene: Scene) -> None:
    scene.erase()
    assert scene.erase()["erasedEntries"] == 0
    log_in(scene.tenant.stack, scene.person, scene.tenant.subdomain)
    # An id may be written in either case.
    assert scene.erase(scene.person.id.upper()) == {"id": scene.person.id, "erasedEntries": 1}


def test_of_an_entry_about_two_people_only_one_half_goes(scene: Scene) -> None:
    """Who acted is one person, to whom it was done another: the address of the first, the name of the second."""
    actor, resource = Actor(A_USER, scene.tenant.owner.id), scene.person.id
    kept = {"ip": "192.0.2.1", "user_agent": "a", "changes": '{"firstName":{"after":"Ada"}}'}
    planted = [entry(scene.tenant.id, actor=actor, resource_id=resource, personal=kept) for _ in range(2)]
    plant(scene.tenant.stack, *planted)
    scene.erase()
    assert [personal(row) for row in scene.entries() if row["id"] == planted[0]["id"]] == [
        {"ip": "192.0.2.1", "user_agent": "a"}
    ]
    fresh = entry(scene.tenant.id, actor=actor, resource_id=resource, personal=kept)
    plant(scene.tenant.stack, fresh)
    scene.erase(scene.tenant.owner.id)
    assert [personal(row) for row in scene.entries() if row["id"] == fresh["id"]] == [{"changes": kept["changes"]}]
    assert [personal(row) for row in scene.entries() if row["id"] == planted[1]["id"]] == [{}]


def test_only_the_tenants_own_entries_are_reached(scene: Scene) -> None:
    """What belongs to other tenants, and to none, is not theirs to erase."""
    other = another_tenant(scene.tenant)
    planted = [entry(tenant, actor=Actor(A_USER, scene.person.id)) for tenant in (other.id, "")]
    plant(scene.tenant.stack, *planted)
    scene.erase()
    for one in planted:
        (row,) = rows(scene.tenant.stack, "SELECT personal FROM audit_entries WHERE id = %s", one["id"])
        assert "192.0.2.7" in row["personal"]
    path = f"{scene.tenant.path}/audit/erasures"
    assert reason(other.rest.post(path, {"personId": scene.person.id})) == (404, "RESOURCE_NOT_FOUND")


def test_only_an_id_can_be_erased(scene: Scene) -> None:
    path = f"{scene.tenant.path}/audit/erasures"
    assert reason(scene.tenant.rest.post(path, {"personId": ""})) == (422, "RULE_VIOLATED")
    assert reason(scene.tenant.rest.post(path, {"personId": "x' OR true"})) == (422, "RULE_VIOLATED")
