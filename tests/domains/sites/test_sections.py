"""Sections of pages: children with a parent, an order, batches and a limit."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest
from plinth.sites.v1 import section_pb2

from tests.clients import Rest, Tenant, another_tenant, problem, rows, unique
from tests.domains.travel.test_trips import rules

MOST = 1_000


def new_page(tenant: Tenant) -> str:
    """The path of a new page's sections."""
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": unique("page")}).json()
    return f"{tenant.path}/pages/{page['id']}/sections"


def add(tenant: Tenant, path: str, *kinds: str) -> list[str]:
    """The ids of new sections, one after the other."""
    answer = tenant.rest.post(f"{path}:batchCreate", {"requests": [{"section": {"kind": kind}} for kind in kinds]})
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["sections"]]


def order(tenant: Tenant, path: str) -> list[str]:
    """The ids of all sections in their order."""
    found: list[str] = []
    token = ""
    while True:
        page = tenant.rest.get(path, {"pageSize": 200, "pageToken": token}).json()
        found += [each["id"] for each in page["sections"]]
        token = page["nextPageToken"]
        if not token:
            return found


def events(tenant: Tenant) -> list[tuple[str, str]]:
    """Type and resource of the events of sections."""
    sql = "SELECT type, resource_id FROM events WHERE tenant_id = %s AND type LIKE 'section.%%' ORDER BY sequence"
    return [(row["type"], row["resource_id"]) for row in rows(tenant.stack, sql, tenant.id)]


# Parent ---------------------------------------------------------------------------------------------------------------


def test_a_section_belongs_to_its_page_alone(tenant: Tenant) -> None:
    path, other = new_page(tenant), new_page(tenant)
    [section] = add(tenant, path, "hero")
    assert tenant.rest.get(f"{path}/{section}").json()["pageId"] == path.split("/")[-2]
    for answer in (
        tenant.rest.get(f"{other}/{section}"),
        tenant.rest.patch(f"{other}/{section}", {"title": "Stolen"}),
        tenant.rest.delete(f"{other}/{section}"),
        tenant.rest.post(f"{other}:batchDelete", {"ids": [section]}),
        tenant.rest.post(f"{other}/bulk", {"operations": [{"delete": {"sectionId": section}}]}),
    ):
        assert (answer.status_code, problem(answer).metadata["resource_type"]) == (404, "plinth.dev/Section")
    assert tenant.rest.get(other).json()["sections"] == []


def test_a_page_that_is_not_there_is_named(tenant: Tenant) -> None:
    path = f"{tenant.path}/pages/01890000-0000-7000-8000-000000000000/sections"
    other = another_tenant(tenant)
    of_another = new_page(other).replace(other.id, tenant.id)
    for answer in (
        *(tenant.rest.get(path), tenant.rest.post(path, {"kind": "hero"}), tenant.rest.get(of_another)),
        *(tenant.rest.get(f"{path}/{ID}"), tenant.rest.put(f"{path}/reorder", {"ids": [ID]})),
        tenant.rest.post(f"{path}:batchCreate", {"requests": [{"section": {"kind": "hero"}}]}),
    ):
        assert answer.status_code == 404, answer.text
    assert problem(tenant.rest.get(path)).metadata["resource_type"] == "plinth.dev/Page"


ID = "01890000-0000-7000-8000-000000000001"


def test_sections_go_and_come_back_with_their_page(tenant: Tenant) -> None:
    path = new_page(tenant)
    page = path.removesuffix("/sections")
    kept, gone = add(tenant, path, "hero", "list")
    assert tenant.rest.delete(f"{path}/{gone}").status_code == 204
    assert order(tenant, path) == [kept]
    assert tenant.rest.delete(page).status_code == 204
    assert [tenant.rest.get(path).status_code, tenant.rest.get(f"{path}/{kept}").status_code] == [404, 404]
    assert tenant.rest.get(path, {"showDeleted": True}).status_code == 404
    assert tenant.rest.post(f"{page}/undelete").status_code == 200
    # What was deleted before the page is still deleted.
    assert order(tenant, path) == [kept]
    assert tenant.rest.post(f"{path}/{gone}/undelete").status_code == 200
    assert order(tenant, path) == [kept, gone]


def test_a_section_is_not_made_while_its_page_is_deleted(tenant: Tenant) -> None:
    """Whichever comes first: no section outlives its page."""
    for _ in range(5):
        path = new_page(tenant)
        page = path.removesuffix("/sections")
        with ThreadPoolExecutor(4) as pool:
            making = [pool.submit(tenant.rest.post, path, {"kind": "hero"}) for _ in range(3)]
            assert pool.submit(tenant.rest.delete, page).result().status_code == 204
            assert {each.result().status_code for each in making} <= {201, 404}
        alive = "SELECT id FROM sections WHERE tenant_id = %s AND page_id = %s AND delete_time IS NULL"
        assert rows(tenant.stack, alive, tenant.id, page.split("/")[-1]) == []


# Order ----------------------------------------------------------------------------------------------------------------


def test_sections_stand_in_the_order_in_which_they_were_put(tenant: Tenant) -> None:
    path = new_page(tenant)
    made = add(tenant, path, *(f"kind-{number}" for number in range(7)))
    assert order(tenant, path) == made
    wanted = [*reversed(made)]
    answer = tenant.rest.put(f"{path}/reorder", {"ids": wanted})
    assert (answer.status_code, answer.json()) == (200, {"ids": wanted})
    assert order(tenant, path) == wanted
    assert [each["place"] for each in tenant.rest.get(path).json()["sections"]] == [*range(1, 8)]
    assert add(tenant, path, "last") == [order(tenant, path)[-1]]
    assert events(tenant)[-2] == ("section.reordered", path.split("/")[-2])


def test_an_order_that_they_have_already_changes_nothing(tenant: Tenant) -> None:
    path = new_page(tenant)
    made = add(tenant, path, "hero", "list")
    before = tenant.rest.get(path).json()
    assert tenant.rest.put(f"{path}/reorder", {"ids": made}).status_code == 200
    assert tenant.rest.get(path).json() == before
    assert "section.reordered" not in dict(events(tenant))


def test_an_order_names_each_of_them_once(tenant: Tenant) -> None:
    path = new_page(tenant)
    first, second, third = add(tenant, path, "hero", "list", "text")
    [foreign] = add(tenant, new_page(tenant), "hero")
    assert tenant.rest.delete(f"{path}/{third}").status_code == 204
    for ids, broken in (
        ([first], {"ids": ["ids.all"]}),
        ([first, second, foreign], {"ids[2]": ["ids.known"]}),
        ([second, first, third], {"ids[2]": ["ids.known"]}),
        ([first, first], {"ids": ["repeated.unique"]}),
        ([], {"ids": ["repeated.min_items"]}),
    ):
        assert rules(tenant.rest.put(f"{path}/reorder", {"ids": ids})) == broken
    assert order(tenant, path) == [first, second]


def test_many_orders_at_once_leave_one_of_them(tenant: Tenant) -> None:
    """1,000 sections, 50 orders at once: the last one stands whole."""
    path = new_page(tenant)
    made: list[str] = []
    for start in range(0, MOST, 100):
        made += add(tenant, path, *(f"kind-{number}" for number in range(start, start + 100)))
    orders = [random.Random(seed).sample(made, len(made)) for seed in range(50)]  # noqa: S311 - no secret
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda ids: tenant.rest.put(f"{path}/reorder", {"ids": ids}), orders))
    assert {answer.status_code for answer in answers} == {200}
    assert order(tenant, path) in orders
    full = tenant.rest.post(path, {"kind": "one-more"})
    assert (full.status_code, problem(full).reason, problem(full).metadata["limit"]) == (409, "LIMIT_REACHED", "1000")


def test_places_are_given_once_however_many_are_made_at_once(tenant: Tenant) -> None:
    path = new_page(tenant)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: tenant.rest.post(path, {"kind": f"kind-{number}"}).json(), range(24)))
    assert sorted(each["place"] for each in made) == [*range(1, 25)]


# Batches --------------------------------------------------------------------------------------------------------------


def test_an_editor_saves_a_page_at_once(tenant: Tenant) -> None:
    path = new_page(tenant)
    first, second, third = add(tenant, path, "hero", "list", "text")
    etag = tenant.rest.get(f"{path}/{second}").json()["etag"]
    operations = [
        {"create": {"section": {"kind": "gallery", "content": {"images": [1, 2]}}}},
        {"update": {"sectionId": second, "section": {"title": "Changed", "etag": etag}}},
        {"delete": {"sectionId": first}},
        {"update": {"sectionId": third, "section": {"kind": "text"}}},
    ]
    answer = tenant.rest.post(f"{path}/bulk", {"operations": operations})
    assert answer.status_code == 200, answer.text
    created, updated, deleted, same = answer.json()["sections"]
    assert (created["kind"], updated["title"], deleted["id"], same["id"]) == ("gallery", "Changed", first, third)
    assert "deleteTime" in deleted
    assert order(tenant, path) == [second, third, created["id"]]
    # A change that changes nothing has no event.
    assert events(tenant)[-3:] == [
        ("section.deleted", first),
        ("section.created", created["id"]),
        ("section.updated", second),
    ]


@pytest.mark.parametrize(
    ("operations", "broken"),
    [
        ([{"create": {"section": {"kind": "no kind"}}}], {"operations[0].create.section.kind": ["string.slug"]}),
        ([{"create": {"section": {}}}], {"operations[0].create.section.kind": ["required"]}),
        ([{}], {"operations[0].operation": ["required"]}),
        ([{"create": {"pageId": ID, "section": {"kind": "x"}}}], {"operations[0].create.pageId": ["batch.same"]}),
        ([{"create": {"section": {"kind": "x", "place": 7}}}], {"operations[0].create.section.place": ["read_only"]}),
        ([{"delete": {"sectionId": "x"}}], {"operations[0].delete.sectionId": ["string.uuid"]}),
    ],
)
def test_what_is_wrong_in_a_batch_is_named_and_nothing_is_done(
    tenant: Tenant, operations: list[Any], broken: dict[str, list[str]]
) -> None:
    path = new_page(tenant)
    fine = {"create": {"section": {"kind": "fine"}}}
    found = rules(tenant.rest.post(f"{path}/bulk", {"operations": [*operations, fine]}))
    assert found == broken
    assert tenant.rest.get(path).json()["sections"] == []


def test_a_batch_is_done_whole_or_not_at_all(tenant: Tenant) -> None:
    path = new_page(tenant)
    first, second = add(tenant, path, "hero", "list")
    before = tenant.rest.get(path).json()
    stale = {"update": {"sectionId": second, "section": {"title": "New", "etag": 'W/"stale"'}}}
    operations = [{"delete": {"sectionId": first}}, {"create": {"section": {"kind": "new"}}}, stale]
    answer = tenant.rest.post(f"{path}/bulk", {"operations": operations})
    found = problem(answer)
    assert (answer.status_code, found.reason, found.metadata["at"]) == (412, "ETAG_MISMATCH", "operations[2].update")
    doomed = {"delete": {"sectionId": first, "etag": 'W/"stale"'}}
    found = problem(tenant.rest.post(f"{path}/bulk", {"operations": [doomed]}))
    assert (found.reason, found.metadata["at"]) == ("ETAG_MISMATCH", "operations[0].delete")
    assert tenant.rest.get(path).json() == before
    assert events(tenant)[2:] == []


def test_one_resource_is_changed_once_in_a_batch(tenant: Tenant) -> None:
    path = new_page(tenant)
    [section] = add(tenant, path, "hero")
    update = {"update": {"sectionId": section, "section": {"title": "A"}}}
    assert rules(tenant.rest.post(f"{path}/bulk", {"operations": [update, {"delete": {"sectionId": section}}]})) == {
        "operations[1].delete": ["batch.unique"]
    }


def test_batches_update_and_delete(tenant: Tenant) -> None:
    path = new_page(tenant)
    first, second = add(tenant, path, "hero", "list")
    requests = [
        {"sectionId": second, "section": {"title": "Two"}},
        {"sectionId": first, "section": {"title": "One", "kind": "text"}, "updateMask": "title"},
    ]
    updated = tenant.rest.post(f"{path}:batchUpdate", {"requests": requests}).json()["sections"]
    assert [(each["id"], each["title"], each["kind"]) for each in updated] == [
        (second, "Two", "list"),
        (first, "One", "hero"),
    ]
    assert tenant.rest.post(f"{path}:batchDelete", {"ids": [first, second]}).status_code == 204
    assert order(tenant, path) == []
    assert events(tenant)[-4:] == [
        *(("section.updated", second), ("section.updated", first)),
        *(("section.deleted", first), ("section.deleted", second)),
    ]


def test_a_batch_over_grpc_is_the_same_and_is_repeated_by_its_key(tenant: Tenant) -> None:
    path = new_page(tenant)
    page_id = path.split("/")[-2]
    create = section_pb2.CreateSectionRequest(section=section_pb2.Section(kind="hero"))
    request = section_pb2.BatchCreateSectionsRequest(tenant_id=tenant.id, page_id=page_id, requests=[create] * 3)
    service = tenant.stubs["plinth.sites.v1.SectionService"]
    key = (("idempotency-key", unique("key")),)
    answers = [service.BatchCreateSections(request, metadata=key) for _ in range(2)]
    assert answers[0] == answers[1]
    assert order(tenant, path) == [each.id for each in answers[0].sections]
    assert len(events(tenant)) == 3


def test_a_batch_has_one_audit_entry_with_every_change(tenant: Tenant) -> None:
    path = new_page(tenant)
    made = add(tenant, path, "hero", "list")
    entry = tenant.rest.get(f"{tenant.path}/audit", {"filter": 'action = "section.created"'}).json()["auditEntries"][0]
    assert entry["changes"] == dict.fromkeys(made, ANY)


def test_whoever_may_read_may_not_write(tenant: Tenant) -> None:
    path = new_page(tenant)
    [section] = add(tenant, path, "hero")
    permissions = ["sites.sections.read"]
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "reader", "permissions": permissions}).json()["key"]
    reader = Rest(tenant.stack, key)
    assert reader.get(f"{path}/{section}").status_code == 200
    for answer in (
        *(reader.post(path, {"kind": "x"}), reader.put(f"{path}/reorder", {"ids": [section]})),
        *(reader.post(f"{path}/bulk", {"operations": [{}]}), reader.delete(f"{path}/{section}")),
    ):
        assert answer.status_code == 403
