"""Exports: the log as CSV, as JSON Lines, and with its proofs, through both doors of the stack."""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from plinth.audit.v1 import audit_pb2
from plinth.audit.v1.audit_pb2 import AuditEntry, ExportFormat

from server.domains.audit.checkpoints import CheckpointKeys, Standing, parse
from server.domains.audit.merkle import Frontier, root_by_inclusion
from server.kernel.record.audit import commitment, leaf_hash
from tests.clients import Rest, Tenant, another_tenant, new_tenant, problem, reason, refused, unique
from tests.domains.audit.planting import entry, plant, plant_many, sealer
from tests.domains.platform import new_platform_admin
from tests.stack import Stack, wait_for

CSV = "text/csv; charset=utf-8"
JSONL = "application/x-ndjson"
FORMULAS = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx")
AS_JSONL = {"format": "EXPORT_FORMAT_JSONL"}


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    """A tenant whose log has what spreadsheets and commas trip over."""
    tenant = new_tenant(stack)
    tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("p"), "title": 'A "quoted", long\none'})
    for number, text in enumerate(FORMULAS):
        plant(stack, entry(tenant.id, personal={"user_agent": text}, request_id=f"formula-{number}"))
    return tenant


def export(tenant: Tenant, accept: str = "*/*", **params: str) -> httpx.Response:
    """The answer of an export."""
    return tenant.rest.get(f"{tenant.path}/audit/export", params, headers={"accept": accept})


def listed(tenant: Tenant, **params: Any) -> list[dict[str, Any]]:
    """The entries of the list, oldest first."""
    answer = tenant.rest.get(f"{tenant.path}/audit", {"pageSize": 200, "orderBy": "create_time", **params})
    found: list[dict[str, Any]] = answer.json()["auditEntries"]
    return found


def test_csv_has_every_field_of_every_entry(tenant: Tenant) -> None:
    entries = listed(tenant)
    answer = export(tenant)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CSV
    assert answer.headers["content-disposition"] == f'attachment; filename="audit-{tenant.id}.csv"'
    assert answer.headers["cache-control"] == "no-store"
    header, *lines = csv.reader(io.StringIO(answer.text, newline=""), strict=True)
    assert header == [field.name for field in AuditEntry.DESCRIPTOR.fields]
    assert answer.text.count("\r\n") == len(entries) + 1
    found = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["id"] for row in found] == [one["id"] for one in entries]
    (created,) = (row for row in found if row["action"] == "page.created")
    assert json.loads(created["changes"])["title"] == {"after": 'A "quoted", long\none'}
    assert (created["ip"], created["security"], created["count"]) == ("127.0.0.1", "false", "1")
    assert created["actor_kind"] == "ACTOR_KIND_USER"


def test_cells_of_csv_are_no_formulas(tenant: Tenant) -> None:
    lines = csv.DictReader(io.StringIO(export(tenant, filter='request_id = "formula-*"').text, newline=""))
    assert sorted(line["user_agent"] for line in lines) == sorted(f"'{text}" for text in FORMULAS)


def test_json_lines_hold_entries_as_rest_shows_them(tenant: Tenant) -> None:
    answer = export(tenant, **AS_JSONL)
    assert answer.headers["content-type"] == JSONL
    assert answer.headers["content-disposition"].endswith('.jsonl"')
    assert answer.text.endswith("}\n")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line.keys() for line in lines] == [one.keys() for one in listed(tenant)]
    messages = [json_format.ParseDict(line, AuditEntry()) for line in lines]
    assert messages == [json_format.ParseDict(one, AuditEntry()) for one in listed(tenant)]


def test_accept_decides_where_the_query_does_not(tenant: Tenant) -> None:
    accept = f"{JSONL}, */*;q=0.1"
    assert export(tenant, accept).headers["content-type"] == JSONL
    assert export(tenant, accept, format="EXPORT_FORMAT_CSV").headers["content-type"] == CSV
    assert export(tenant, "text/html, */*").headers["content-type"] == CSV


def test_grpc_gets_the_same_bytes(tenant: Tenant) -> None:
    for form, media_type in ((ExportFormat.EXPORT_FORMAT_CSV, CSV), (ExportFormat.EXPORT_FORMAT_JSONL, JSONL)):
        request = audit_pb2.ExportAuditEntriesRequest(tenant_id=tenant.id, format=form, filter="action = page.updated")
        bodies = list(tenant.stubs.audit.ExportAuditEntries(request))
        assert {body.content_type for body in bodies} == {media_type}
        rest = export(tenant, format=ExportFormat.Name(form), filter="action = page.updated")
        assert b"".join(body.data for body in bodies) == rest.content


def test_a_filter_chooses_and_may_choose_nothing(tenant: Tenant) -> None:
    chosen = export(tenant, filter="action = page.created", **AS_JSONL).text.splitlines()
    assert [json.loads(line)["action"] for line in chosen] == ["page.created"]
    nothing = export(tenant, filter="action = no.action", **AS_JSONL)
    assert (nothing.status_code, nothing.text, nothing.headers["content-type"]) == (200, "", JSONL)
    assert len(export(tenant, filter="action = no.action").text.splitlines()) == 1


def test_what_is_wrong_is_told_before_anything_is_sent(tenant: Tenant, stack: Stack) -> None:
    # A tenant of its own: refusals come into the log of theirs a moment later, where others count what is in it.
    tenant = another_tenant(tenant)
    path = f"{tenant.path}/audit/export"
    assert reason(export(tenant, filter="ip = x")) == (400, "FILTER_INVALID")
    assert reason(export(tenant, format="xlsx")) == (400, "MALFORMED")
    assert problem(export(tenant, proofs="true")).violations == {"proofs": ["come as JSON Lines only"]}
    assert reason(Rest(stack).get(path)) == (401, "CREDENTIALS_MISSING")
    assert reason(new_tenant(stack).rest.get(path)) == (404, "RESOURCE_NOT_FOUND")
    assert reason(tenant.rest.get("audit/export")) == (403, "PERMISSION_MISSING")
    request = audit_pb2.ExportAuditEntriesRequest(tenant_id=tenant.id, filter="ip = x")
    assert refused(lambda: list(tenant.stubs.audit.ExportAuditEntries(request))).reason == "FILTER_INVALID"


def test_an_event_source_is_told_what_is_wrong_as_well(tenant: Tenant) -> None:
    answer = export(tenant, "text/event-stream", filter="ip = x")
    assert reason(answer) == (400, "FILTER_INVALID")


def test_platform_administrators_export_all(tenant: Tenant, stack: Stack) -> None:
    other = another_tenant(tenant)
    admin = Rest(stack, new_platform_admin(stack).access_token)
    query = f"tenant_id = {tenant.id} OR tenant_id = {other.id}"
    answer = admin.get("audit/export", {"filter": query, **AS_JSONL})
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert {json.loads(line)["tenantId"] for line in answer.text.splitlines()} == {tenant.id, other.id}
    # Whoever sees all still gets one tenant's where that is asked for.
    one = admin.get(f"{tenant.path}/audit/export", AS_JSONL)
    assert {json.loads(line)["tenantId"] for line in one.text.splitlines()} == {tenant.id}


# With proofs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tenant: Tenant, stack: Stack) -> Tenant:
    """A tenant with some history of its own, odd signs included, all of which is sealed."""
    tenant = another_tenant(tenant)
    for _ in range(2):
        page = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("p"), "title": "Home"}).json()
        assert tenant.rest.patch(f"{tenant.path}/pages/{page['id']}", {"title": "Start"}).status_code == 200
    plant(stack, *(entry(tenant.id, personal={"user_agent": text}) for text in FORMULAS))
    with sealer(stack) as sealing:

        def is_sealed() -> bool:
            sealing.seal()
            checkpoint = tenant.rest.get(f"{tenant.path}/audit/checkpoint")
            return checkpoint.status_code == 200 and checkpoint.json()["treeSize"] == len(listed(tenant))

        wait_for(is_sealed, what="the seal")
    return tenant


def bundle(tenant: Tenant, **params: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and lines of an export with proofs."""
    answer = export(tenant, proofs="true", **AS_JSONL, **params)
    assert answer.status_code == 200, answer.text
    header, *lines = map(json.loads, answer.text.splitlines())
    return header, lines


def hash_of(line: dict[str, Any]) -> bytes:
    """The hash that the entry of a line has to have (RFC 9162, 2.1.1), whose commitments hold."""
    commitments = json.loads(line["entry"]["commitments"])
    for name, kept in line["personal"].items():
        assert commitments[name] == commitment(bytes.fromhex(kept["salt"]), kept["value"])
    canonical = json.dumps(line["entry"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"\x00" + canonical.encode()).digest()


def test_the_tree_can_be_built_from_a_complete_export(sealed: Tenant, stack: Stack) -> None:
    late = entry(sealed.id)
    header, lines = bundle(sealed)
    assert (header["format"], header["complete"], header["tenant_id"]) == (1, True, sealed.id)
    assert header["tree_size"] == len(lines) == len(listed(sealed))
    tree = Frontier()
    for number, line in enumerate(lines):
        assert line["leaf_index"] == number
        assert base64.b64decode(line["hash"]) == hash_of(line)
        tree.append(hash_of(line))
    checkpoint = parse(header["checkpoint"])
    assert (checkpoint.tree_size, checkpoint.root_hash) == (tree.size, tree.root)
    assert CheckpointKeys(stack.settings.secrets).standing(header["checkpoint"]) is Standing.SIGNED
    plant(stack, late)
    header, lines = bundle(sealed)
    unsealed = [line for line in lines if "leaf_index" not in line]
    if header["tree_size"] < len(lines):
        assert [line["entry"]["id"] for line in unsealed] == [late["id"]] == [lines[-1]["entry"]["id"]]
    assert hash_of(lines[-1]) == leaf_hash(late)


def test_entries_of_a_filtered_export_bring_their_own_proofs(sealed: Tenant) -> None:
    header, lines = bundle(sealed, filter="action = page.created OR action = page.updated")
    assert not header["complete"]
    assert header["tree_size"] > len(lines) > 1
    root = parse(header["checkpoint"]).root_hash
    for line in (line for line in lines if "leaf_index" in line):
        hashes = [base64.b64decode(part) for part in line["proof"]]
        assert root_by_inclusion(hash_of(line), line["leaf_index"], header["tree_size"], hashes) == root


def test_a_log_that_was_never_sealed_is_exported_whole(tenant: Tenant) -> None:
    """Entries of a tenant that the sealer has not come to yet."""
    header, lines = bundle(another_tenant(tenant))
    assert header["retained_from"].endswith("-01T00:00:00Z")
    if not header["checkpoint"]:
        assert header["tree_size"] == 0
        assert not any("leaf_index" in line for line in lines)
    assert {line["entry"]["action"] for line in lines} >= {"tenant.created", "session.switched"}


# While an export runs ------------------------------------------------------------------------------------------------

ENTRIES, WIDTH = 3000, 4000
"""What no buffer on the way holds: 12 MB."""


@pytest.fixture(scope="module")
def wide(stack: Stack) -> Tenant:
    """A tenant with a log of some size."""
    tenant = new_tenant(stack)
    plant_many(stack, tenant.id, ENTRIES, WIDTH)
    return tenant


@contextmanager
def downloading(tenant: Tenant) -> Iterator[Iterator[str]]:
    """The lines of an export, of which nothing has been read yet."""
    with httpx.stream(
        "GET",
        f"{tenant.stack.url}{tenant.path}/audit/export",
        headers={"authorization": f"Bearer {tenant.access_token}", "accept": JSONL},
        timeout=20.0,
        trust_env=False,
    ) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


def test_an_export_goes_on_when_the_access_of_others_changes(wide: Tenant) -> None:
    with downloading(wide) as lines:
        first = next(lines)
        made = wide.rest.post("rbac/roles", {"name": unique("role"), "permissions": ["sites.pages.read"]})
        assert made.status_code == 201
        rest = list(lines)
    ids = [json.loads(line)["id"] for line in (first, *rest)]
    assert len(set(ids)) == len(ids) >= ENTRIES
    # What was written after it began is no part of it.
    assert "role.created" not in {json.loads(line)["action"] for line in rest}


def test_an_export_whose_session_ends_is_cut_off(wide: Tenant) -> None:
    """It does not look as if it were complete."""
    with downloading(wide) as lines:
        next(lines)
        assert wide.rest.post("auth/logout").status_code == 204
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
