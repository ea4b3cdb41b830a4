"""AuditService: entries as lists show them, what finds them, and who may see them."""

import json
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from plinth.audit.v1 import audit_pb2
from plinth.audit.v1.audit_pb2 import AuditEntry

from server import app, modules
from server.domains.audit.entries import facts_of
from server.kernel.guard.access import Permissions
from server.kernel.policy import Access
from server.kernel.roles import BUILT_IN_ROLES
from tests.clients import (
    Rest,
    Tenant,
    new_member,
    new_tenant,
    reason,
    refused,
    rows,
    sign_up,
    stubs,
    unique,
)
from tests.domains.platform import new_platform_admin
from tests.stack import Stack, wait_for

NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class History:
    """A tenant in which something happened."""

    tenant: Tenant
    page: dict[str, Any]
    member_id: str
    stranger: Tenant

    @property
    def audit(self) -> str:
        """Where its log is."""
        return f"{self.tenant.path}/audit"

    def list(self, path: str = "", **params: Any) -> list[dict[str, Any]]:
        """The entries of a list, as the owner sees them."""
        answer = self.tenant.rest.get(f"{self.audit}{path}", {"pageSize": 200, **params})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["auditEntries"]
        return found

    def found(self, condition: str, **params: Any) -> set[str]:
        """The actions of the entries that a filter finds; of reads that were refused, the reason."""
        return {entry["action"] or entry["reason"] for entry in self.list(filter=condition, **params)}


@pytest.fixture(scope="module")
def history(stack: Stack) -> History:
    """Somebody signs up into a tenant and gets a role, the owner changes a page, a program is refused."""
    tenant, stranger = new_tenant(stack), new_tenant(stack)
    tenant.rest.patch(tenant.path, {"signUpOpen": True})
    account = sign_up(stack, tenant=tenant.subdomain, firstName="Ada")
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("p"), "title": "Home"}).json()
    tenant.rest.patch(f"{tenant.path}/pages/{page['id']}", {"title": "Start"}, headers={"user-agent": "browser/1"})
    assigned = tenant.rest.post(f"users/{account.id}/roles", {"role": "editor"})
    assert assigned.status_code == 200, assigned.text
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "k", "permissions": ["sites.pages.create"]}).json()
    made = Rest(stack, key["key"]).post(f"{tenant.path}/pages", {"slug": unique("p"), "title": "By a program"})
    assert made.status_code == 201, made.text
    assert Rest(stack, key["key"]).get(f"{tenant.path}/pages").status_code == 403
    assert stranger.rest.get(f"{tenant.path}/pages").status_code == 404
    history = History(tenant, page, account.id, stranger)
    wait_for(lambda: "PERMISSION_MISSING" in history.found("outcome != OK"), what="the refusal's entry")
    return history


def test_an_entry_tells_everything(history: History) -> None:
    page, tenant = history.page, history.tenant
    (entry,) = history.list(filter="action = page.updated")
    unforeseen = ("id", "sessionId", "requestId", "eventId", "createTime")
    assert {name: value for name, value in entry.items() if name not in unforeseen} == {
        "tenantId": tenant.id,
        "actorKind": "ACTOR_KIND_USER",
        "actorId": tenant.owner.id,
        "method": "plinth.sites.v1.PageService/UpdatePage",
        "action": "page.updated",
        "resourceType": "plinth.dev/Page",
        "resourceId": page["id"],
        "outcome": "OK",
        "reason": "",
        "security": False,
        "count": 1,
        "changes": {"title": {"before": "Home", "after": "Start"}},
        "ip": "127.0.0.1",
        "userAgent": "browser/1",
        "erased": False,
    }
    assert entry["sessionId"]
    (event,) = rows(tenant.stack, "SELECT request_id, create_time FROM events WHERE id = %s", entry["eventId"])
    assert event["request_id"] == entry["requestId"]
    assert tenant.rest.get(f"{history.audit}/entries/{entry['id']}").json() == entry
    request = audit_pb2.GetAuditEntryRequest(tenant_id=tenant.id.upper(), entry_id=entry["id"].upper())
    got = tenant.stubs.audit.GetAuditEntry(request)
    assert (got.resource_id, got.actor_kind) == (page["id"], AuditEntry.ACTOR_KIND_USER)


def test_changes_that_are_personal_stand_among_the_others(history: History) -> None:
    (entry,) = history.list(filter=f"action = user.signed_up AND resource_id = {history.member_id}")
    assert entry["changes"]["firstName"] == {"after": "Ada"}
    assert entry["changes"]["email"]["after"].endswith("@example.com")
    assert entry["changes"]["id"] == {"after": history.member_id}
    (row,) = rows(history.tenant.stack, "SELECT changes, personal FROM audit_entries WHERE id = %s", entry["id"])
    assert "Ada" not in row["changes"]
    assert "Ada" in row["personal"]


def test_changes_of_several_resources_are_put_together_by_id() -> None:
    plain = {"one": {"status": {"after": "A"}}, "two": {"slug": {"after": "b"}}}
    personal = {"one": {"email": {"after": "x@y.z"}}, "three": {"email": {"before": "z@y.x"}}}
    kept = {"changes": {"salt": "", "value": json.dumps(personal)}}
    facts = facts_of(json.dumps(plain), json.dumps(kept), '{"changes":"","ip":""}')
    assert json.loads(facts.changes) == {
        "one": {"status": {"after": "A"}, "email": {"after": "x@y.z"}},
        "two": {"slug": {"after": "b"}},
        "three": {"email": {"before": "z@y.x"}},
    }
    assert facts.erased, "the address is gone"


def test_lists_are_cut_into_pages_newest_first(history: History) -> None:
    whole = history.list()
    assert [entry["createTime"] for entry in whole] == sorted((entry["createTime"] for entry in whole), reverse=True)
    pages: list[dict[str, Any]] = []
    token = ""
    while token or not pages:
        answer = history.tenant.rest.get(
            history.audit, {"pageSize": 3, "pageToken": token, "includeTotal": "true"}
        ).json()
        assert answer["totalSize"] == len(whole)
        pages += answer["auditEntries"]
        token = answer["nextPageToken"]
    assert pages == whole
    assert history.list(orderBy="create_time") == whole[::-1]
    answer = history.tenant.rest.get(history.audit, {"orderBy": "action"})
    assert reason(answer) == (400, "ORDER_INVALID")


def test_filters_find_by_who_what_to_what_and_when(history: History) -> None:
    page, owner = history.page["id"], history.tenant.owner.id
    entries = {entry["action"]: entry for entry in history.list()}
    changed, created = entries["page.updated"], entries["api_key.created"]
    assert history.found(f"resource_id = {page}") == {"page.created", "page.updated"}
    assert history.found(f"resource_id = {page} AND action = page.updated") == {"page.updated"}
    assert history.found('resource_type = "plinth.dev/ApiKey"') == {"api_key.created"}
    assert "PERMISSION_MISSING" not in history.found(f"actor_id = {owner}")
    assert history.found("actor_kind = API_KEY") == {"page.created", "PERMISSION_MISSING"}
    assert history.found("outcome != OK") == {"PERMISSION_MISSING"}
    assert history.found("reason = PERMISSION_MISSING AND security = true") == {"PERMISSION_MISSING"}
    assert history.found('method:"ApiKeyService"') == {"api_key.created"}
    assert history.found(f"id = {changed['id']}") == {"page.updated"}
    # What a request is called is up to its caller.
    assert history.found(f"request_id = {changed['requestId']}") == {"page.updated"}
    assert history.found("request_id = no-uuid-at-all") == set()
    between = f'create_time >= "{changed["createTime"]}" AND create_time < "{created["createTime"]}"'
    assert history.found(between) == {"page.updated", "membership.role_assigned"}
    assert reason(history.tenant.rest.get(history.audit, {"filter": "ip = 127.0.0.1"})) == (400, "FILTER_INVALID")
    assert reason(history.tenant.rest.get(history.audit, {"filter": f"tenant_id = {NIL}"})) == (400, "FILTER_INVALID")


def test_security_events_and_user_activities_are_views(history: History) -> None:
    everything = history.list()
    security = [entry for entry in everything if entry["security"]]
    assert history.list("/security-events") == security
    actions = {entry["action"] or entry["reason"] for entry in security}
    assert actions >= {"api_key.created", "membership.role_assigned", "session.switched", "PERMISSION_MISSING"}
    assert not actions & {"page.created", "page.updated"}
    activities = history.list("/user-activities")
    assert {entry["actorKind"] for entry in activities} == {"ACTOR_KIND_USER"}
    assert {entry["outcome"] for entry in activities} == {"OK"}
    assert [entry["action"] for entry in activities].count("page.created") == 1
    assert history.list("/security-events", filter="action = page.created") == []
    token = history.tenant.rest.get(f"{history.audit}/security-events", {"pageSize": 1}).json()["nextPageToken"]
    answer = history.tenant.rest.get(f"{history.audit}/user-activities", {"pageSize": 1, "pageToken": token})
    assert reason(answer) == (400, "PAGE_TOKEN_INVALID")


def test_paths_without_a_tenant_are_about_the_callers_own(history: History) -> None:
    rest, stub = history.tenant.rest, history.tenant.stubs.audit
    for path, under in (("logs", ""), ("security-events", "/security-events"), ("user-activities", "/user-activities")):
        answer = rest.get(f"audit/{path}", {"pageSize": 200})
        assert answer.json()["auditEntries"] == history.list(under)
    listed = stub.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=200))
    assert [entry.id for entry in listed.audit_entries] == [entry["id"] for entry in history.list()]


def test_a_refused_stranger_is_in_the_log_of_their_own_tenant(history: History) -> None:
    """Who is refused at a wall does not write behind it."""
    stranger = History(history.stranger, {}, "", history.tenant)
    wait_for(lambda: stranger.found("outcome = NOT_FOUND"), what="the stranger's entry")
    (entry,) = stranger.list(filter="outcome = NOT_FOUND")
    assert entry["resourceId"] == history.tenant.id
    assert entry["method"] == "plinth.sites.v1.PageService/ListPages"
    assert "NOT_FOUND" not in {entry["outcome"] for entry in history.list()}


def test_entries_of_another_tenant_are_not_found(history: History) -> None:
    entry = history.list()[0]
    path = f"{history.stranger.path}/audit/entries/{entry['id']}"
    assert reason(history.stranger.rest.get(path)) == (404, "RESOURCE_NOT_FOUND")
    answer = history.stranger.rest.get(f"{history.stranger.path}/audit", {"filter": f"id = {entry['id']}"})
    assert answer.json()["auditEntries"] == []


@pytest.fixture(scope="module")
def platform(stack: Stack) -> Rest:
    return Rest(stack, new_platform_admin(stack).access_token)


def test_platform_administrators_see_all_tenants_and_what_belongs_to_none(history: History, platform: Rest) -> None:
    def found(condition: str) -> list[dict[str, Any]]:
        answer = platform.get("audit", {"filter": condition, "pageSize": 200})
        assert answer.status_code == 200, answer.text
        entries: list[dict[str, Any]] = answer.json()["auditEntries"]
        return entries

    ids = f"tenant_id = {history.tenant.id} OR tenant_id = {history.stranger.id}"
    seen = {entry["tenantId"] for entry in found(ids)}
    assert seen == {history.tenant.id, history.stranger.id}
    assert [entry["id"] for entry in found(f"tenant_id = {history.tenant.id}")] == [e["id"] for e in history.list()]
    one = platform.get(history.audit, {"pageSize": 200}).json()["auditEntries"]
    assert {entry["tenantId"] for entry in one} == {history.tenant.id}
    owner = history.tenant.owner.id
    (entry,) = found(f"tenant_id = {NIL} AND resource_id = {owner} AND action = user.signed_up")
    assert entry["actorKind"] == "ACTOR_KIND_UNSPECIFIED"
    assert platform.get("audit", {"pageSize": 1}).json()["nextPageToken"]


def test_only_platform_administrators_see_all(history: History) -> None:
    assert reason(history.tenant.rest.get("audit")) == (403, "PERMISSION_MISSING")
    problem = refused(lambda: history.tenant.stubs.audit.ListAllAuditEntries(audit_pb2.ListAllAuditEntriesRequest()))
    assert problem.code == grpc.StatusCode.PERMISSION_DENIED.value[0]


def test_only_owners_and_admins_read_the_log() -> None:
    declared = {method.permission for method in app.policies().values() if method.access is Access.PERMISSION}
    permissions = Permissions(modules.roles(), declared)
    audit = {permission for permission in declared if permission.startswith("audit.")}
    # Everybody may see what they did themselves.
    audit.remove("audit.activity.read")
    assert audit == {"audit.entries.read", "audit.entries.export", "audit.personal_data.erase"}
    held = {role: audit & permissions.of((role,), ()) for role in BUILT_IN_ROLES}
    assert {role for role, some in held.items() if some} == {"owner", "admin"}
    assert held["owner"] == held["admin"] == audit


def test_an_editor_is_refused_everything(history: History) -> None:
    _, session = new_member(history.tenant, "editor")
    rest = Rest(history.tenant.stack, session.access_token)
    for path in ("", "/security-events", "/user-activities", "/export", "/checkpoint"):
        assert reason(rest.get(f"{history.audit}{path}")) == (403, "PERMISSION_MISSING")
    body = {"personId": history.member_id}
    assert reason(rest.post(f"{history.audit}/erasures", body)) == (403, "PERMISSION_MISSING")


def test_the_keys_of_checkpoints_are_public(stack: Stack) -> None:
    (key,) = stubs(stack).audit.ListCheckpointKeys(audit_pb2.ListCheckpointKeysRequest()).keys
    assert key.current
    assert key.verifier_key.startswith("plinth.dev/audit+")
