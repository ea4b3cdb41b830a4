"""Create, Get and BatchGet (AIP-131, 133, 231)."""

from typing import Any
from uuid import UUID

import pytest

from server.kernel.policy import Kind
from tests.clients import Rest, Tenant, another_tenant, problem
from tests.standard.doors import Door, GrpcDoor, RestDoor, refusal
from tests.standard.resources import NOBODY, Described

needs = pytest.mark.needs


@needs("no_secret")
def test_what_is_created_can_be_got_and_says_what_was_sent(door: Door) -> None:
    made = door.create()
    assert UUID(made["id"]).version == 7
    assert made["createTime"] == made["updateTime"]
    assert made["etag"]
    assert door.get(made["id"]) == made


@needs("no_secret", "alone")
def test_both_doors_show_the_same(rest: RestDoor, rpc: GrpcDoor) -> None:
    made = rest.create()
    assert rpc.get(made["id"]) == made
    assert rpc.listing().items == rest.listing().items == [made]


@needs("no_secret")
def test_created_answers_where_it_stands(rest: RestDoor) -> None:
    response = rest.tenant.rest.post(rest.path, rest.kind.body() | rest.carried)
    assert response.status_code == 201
    assert response.headers["location"] == f"{rest.path}/{response.json()['id']}"
    assert rest.tenant.rest.get(response.headers["location"]).json() == response.json()


@needs("alone")
def test_output_only_fields_of_a_new_one_are_refused_unless_they_are_what_they_become(door: Door) -> None:
    kind = door.kind
    with refusal("RULE_VIOLATED") as refused:
        door.create(**kind.output_only)
    assert len(refused.problem.violations) == len(kind.output_only)
    assert set(refused.problem.rules) == {"read_only"}
    assert door.listing().items == []
    made = door.create()
    same = {name: made[name] for name in ("tenantId", "userId", "status") if name in kind.output_only}
    again = door.create(**same)
    assert {name: again[name] for name in same} == same


@needs("key", "alone")
def test_a_value_that_is_taken_is_refused_and_named(door: Door) -> None:
    made = door.create()
    with refusal("RESOURCE_TAKEN") as refused:
        door.create(**{door.kind.key: made[door.kind.key]})
    assert refused.problem.metadata == {"field": door.kind.key, "resource_type": door.kind.resource_type}
    assert door.listing().ids == [made["id"]]


@needs("key", "alone")
def test_a_value_is_not_taken_by_another_tenant(door: Door) -> None:
    made = door.create()
    elsewhere = door.at(another_tenant(door.tenant))
    assert elsewhere.create(**{door.kind.key: made[door.kind.key]})[door.kind.key] == made[door.kind.key]


@needs("key", "other")
def test_every_broken_rule_is_listed_with_its_path(door: Door) -> None:
    kind = door.kind
    with refusal("RULE_VIOLATED") as refused:
        door.create(**{name: kind.too_long(name) for name in (kind.key, kind.text, kind.other)})
    paths = {door.named(f"{kind.singular}.{name}") for name in (kind.key, kind.text, kind.other)}
    assert set(refused.problem.violations) == paths
    assert door.listing().ids == []


@pytest.mark.parametrize("absent", [NOBODY, NOBODY.upper()])
def test_what_is_absent_is_not_found(door: Door, absent: str) -> None:
    with refusal("RESOURCE_NOT_FOUND") as refused:
        door.get(absent)
    assert refused.problem.resource_type == refused.problem.metadata["resource_type"] == door.kind.resource_type


@needs("text", "no_secret")
def test_what_is_another_tenants_is_not_found_by_its_id(door: Door) -> None:
    elsewhere = door.at(another_tenant(door.tenant))
    foreign = elsewhere.create()
    calls: list[Any] = [
        lambda: door.get(foreign["id"]),
        lambda: door.update(foreign["id"], {door.kind.text: "mine"}),
        lambda: door.delete(foreign["id"]),
    ]
    if Kind.UNDELETE in door.kind.standard:
        calls.append(lambda: door.undelete(foreign["id"]))
    if Kind.BATCH_GET in door.kind.standard:
        calls.append(lambda: door.batch_get([foreign["id"]]))
    for call in calls:
        with refusal("RESOURCE_NOT_FOUND"):
            call()
    assert elsewhere.get(foreign["id"]) == foreign


def test_an_id_that_is_none_breaks_a_rule(door: Door) -> None:
    with refusal("RULE_VIOLATED") as refused:
        door.get("nonsense")
    assert set(refused.problem.violations) == {door.named(f"{door.kind.singular}_id")}


@needs("no_secret")
def test_an_id_is_the_same_in_capitals(door: Door) -> None:
    made = door.create()
    assert door.get(made["id"].upper()) == made


@needs("key")
def test_a_call_without_credentials_learns_nothing(tenant: Tenant, kind: Described) -> None:
    stranger = Rest(tenant.stack)
    response = stranger.post(RestDoor(tenant, kind).path, {kind.key: kind.too_long(kind.key)})
    assert (response.status_code, problem(response).reason) == (401, "CREDENTIALS_MISSING")
    assert response.headers["www-authenticate"] == 'Bearer realm="plinth"'


@needs("batch_get")
def test_batch_get_keeps_the_order_asked_for(door: Door) -> None:
    made = [door.create() for _ in range(5)]
    assert door.batch_get([made[2]["id"].upper()]) == [made[2]]
    asked = [made[place] for place in (3, 0, 4, 1)]
    assert door.batch_get([one["id"] for one in asked]) == asked


@needs("batch_get")
def test_batch_get_is_never_partial(door: Door) -> None:
    made = door.create()
    with refusal("RESOURCE_NOT_FOUND") as refused:
        door.batch_get([made["id"], NOBODY])
    assert refused.problem.metadata["resource"] == NOBODY
    door.delete(made["id"])
    with refusal("RESOURCE_NOT_FOUND"):
        door.batch_get([made["id"]])


@needs("batch_get")
def test_batch_get_has_bounds(door: Door) -> None:
    made = door.create()
    for ids in (
        [],
        [made["id"]] * 2,
        [f"01890000-0000-7000-8000-{number:012x}" for number in range(101)],
        ["nonsense"],
    ):
        with refusal("RULE_VIOLATED") as refused:
            door.batch_get(ids)
        assert all(path.startswith("ids") for path in refused.problem.violations), refused.problem


@needs("batch_get")
def test_batch_get_takes_a_hundred(door: Door) -> None:
    with refusal("RESOURCE_NOT_FOUND"):
        door.batch_get([f"01890000-0000-7000-8000-{number:012x}" for number in range(100)])


def test_a_sane_request_id_comes_back_with_the_answer_and_the_error(rest: RestDoor) -> None:
    own = {"x-request-id": "from-the-caller-42"}
    made = rest.create()
    assert (
        rest.tenant.rest.get(f"{rest.path}/{made['id']}", headers=own).headers["x-request-id"] == "from-the-caller-42"
    )
    refused = rest.tenant.rest.get(f"{rest.path}/{NOBODY}", headers=own)
    assert refused.headers["x-request-id"] == problem(refused).request_id == "from-the-caller-42"


def test_a_head_answers_like_a_get_without_its_body(rest: RestDoor) -> None:
    made = rest.create()
    path = f"{rest.path}/{made['id']}"
    got, head = rest.tenant.rest.get(path), rest.tenant.rest.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"] == made["etag"]
    assert head.headers["content-type"] == got.headers["content-type"]
    assert rest.tenant.rest.head(f"{rest.path}/{NOBODY}").status_code == 404
