"""Children: each belongs to one parent, and goes and comes back with it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clients import another_tenant, rows
from tests.standard.doors import Door, Refused, camel, new_parent, refusal
from tests.standard.resources import NOBODY, Described, resources

needs = pytest.mark.needs
pytestmark = needs("parent")
RACES = 4


def parent_of(kind: Described) -> Described:
    """The parent of a resource."""
    parent = kind.resource.parent
    assert parent is not None
    return next(each for each in resources() if each.resource is parent.resource)


def of_parent(door: Door) -> list[str]:
    """The ids that a list of the children of one parent has."""
    parent = door.kind.resource.parent
    assert parent is not None
    return door.listing(**({} if door.kind.parent_in_path else {parent.field: door.parent})).ids


def test_a_list_of_a_parent_has_its_children_alone(door: Door) -> None:
    other = door.below(new_parent(door.tenant, door.kind))
    made, foreign = door.create(), other.create()
    parent = door.kind.resource.parent
    assert parent is not None
    assert [made[camel(parent.field)], foreign[camel(parent.field)]] == [door.parent, other.parent]
    assert made["id"] in of_parent(door)
    assert of_parent(other) == [foreign["id"]]


@needs("parent_in_path", "text")
def test_a_child_is_reached_through_its_parent_alone(door: Door) -> None:
    other = door.below(new_parent(door.tenant, door.kind))
    made = door.create()
    for call in (
        lambda: other.get(made["id"]),
        lambda: other.update(made["id"], {door.kind.text: "Stolen"}),
        lambda: other.delete(made["id"]),
        lambda: other.undelete(made["id"]),
    ):
        with refusal("RESOURCE_NOT_FOUND") as refused:
            call()
        assert refused.problem.metadata["resource_type"] == door.kind.resource_type
    assert door.get(made["id"]) == made


def test_a_parent_that_is_not_there_is_named(door: Door) -> None:
    elsewhere = new_parent(another_tenant(door.tenant), door.kind)
    for absent in (NOBODY, elsewhere):
        below = door.below(absent)
        for call in (below.create, lambda below=below: of_parent(below)):
            with refusal("RESOURCE_NOT_FOUND") as refused:
                call()
            assert refused.problem.metadata["resource_type"] == parent_of(door.kind).resource_type


@needs("undelete")
def test_children_go_and_come_back_with_their_parent(door: Door) -> None:
    above = door.of(parent_of(door.kind))
    kept, gone = door.create(), door.create()
    door.delete(gone["id"])
    # Read before, so that the deletion has to drop it from the cache.
    assert (door.get(kept["id"]), of_parent(door)) == (kept, [kept["id"]])
    above.delete(door.parent)
    for call in (
        lambda: door.get(kept["id"]),
        lambda: door.undelete(gone["id"]),
        lambda: of_parent(door),
        door.create,
    ):
        with refusal("RESOURCE_NOT_FOUND"):
            call()
    above.undelete(door.parent)
    # What was deleted before its parent is still deleted.
    assert of_parent(door) == [kept["id"]]
    with refusal("RESOURCE_NOT_FOUND"):
        door.get(gone["id"])
    assert door.undelete(gone["id"])["id"] == gone["id"]


@needs("undelete")
def test_no_child_is_made_while_its_parent_is_deleted(door: Door) -> None:
    """Whichever comes first: no child outlives its parent."""
    above, parent = door.of(parent_of(door.kind)), door.kind.resource.parent
    assert parent is not None
    alive = f"SELECT id FROM {door.kind.table} WHERE {parent.field} = %s AND delete_time IS NULL"
    for _ in range(RACES):
        child = door.below(new_parent(door.tenant, door.kind))
        with ThreadPoolExecutor(4) as pool:
            making = [pool.submit(child.create) for _ in range(3)]
            pool.submit(above.delete, child.parent).result()
        for each in making:
            error = each.exception()
            assert error is None or (isinstance(error, Refused) and error.problem.reason == "RESOURCE_NOT_FOUND")
        assert rows(door.tenant.stack, alive, child.parent) == []
