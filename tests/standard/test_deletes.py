"""Delete and Undelete (AIP-135, 164)."""

import pytest

from tests.standard.doors import Door, RestDoor, refusal
from tests.standard.resources import NOBODY

needs = pytest.mark.needs


@needs("text", "alone")
def test_what_is_deleted_is_gone_for_readers_and_writers(door: Door) -> None:
    made, kept = door.create(), door.create()
    door.delete(made["id"])
    for call in (
        lambda: door.get(made["id"]),
        lambda: door.update(made["id"], {door.kind.text: "x"}),
        lambda: door.delete(made["id"]),
    ):
        with refusal("RESOURCE_NOT_FOUND"):
            call()
    assert door.listing().ids == [kept["id"]]


@needs("soft_deletes", "alone")
def test_what_is_deleted_is_listed_on_demand_with_its_time(door: Door) -> None:
    made, kept = door.create(), door.create()
    door.delete(made["id"])
    shown = door.listing(show_deleted=True)
    assert {item["id"]: "deleteTime" in item for item in shown.items} == {kept["id"]: False, made["id"]: True}


@needs("undelete", "alone")
def test_what_is_deleted_comes_back_as_it_was(door: Door) -> None:
    made = door.create()
    door.delete(made["id"])
    back = door.undelete(made["id"])
    assert {name: value for name, value in back.items() if name not in ("etag", "updateTime")} == {
        name: value for name, value in made.items() if name not in ("etag", "updateTime")
    }
    assert door.get(made["id"]) == back
    assert door.listing().items == [back]


@needs("undelete")
def test_what_is_not_deleted_cannot_come_back(door: Door) -> None:
    made = door.create()
    with refusal("STATE_FORBIDS") as refused:
        door.undelete(made["id"])
    assert refused.problem.metadata["resource_type"] == door.kind.resource_type
    assert refused.problem.metadata["state"]
    assert door.get(made["id"]) == made


@needs("undelete")
def test_what_never_was_cannot_come_back(door: Door) -> None:
    with refusal("RESOURCE_NOT_FOUND"):
        door.undelete(NOBODY)


@needs("key", "undelete")
def test_a_key_is_free_once_its_holder_is_deleted_and_then_taken_for_it(door: Door) -> None:
    key = door.kind.key
    first = door.create()
    door.delete(first["id"])
    second = door.create(**{key: first[key]})
    with refusal("RESOURCE_TAKEN") as refused:
        door.undelete(first["id"])
    assert refused.problem.metadata == {"field": key, "resource_type": door.kind.resource_type}
    door.delete(second["id"])
    assert door.undelete(first["id"])[key] == first[key]


def test_a_delete_has_no_body_and_no_etag(rest: RestDoor) -> None:
    made = rest.create()
    response = rest.tenant.rest.delete(f"{rest.path}/{made['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert "etag" not in response.headers
    assert response.headers["x-request-id"]
