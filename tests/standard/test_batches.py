"""BatchCreate, BatchUpdate, BatchDelete and BatchWrite (AIP-233 to 235): several changes, all of them or none."""

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest

from server.kernel.policy import Kind
from tests.clients import rows, unique
from tests.standard.doors import Door, Resource, camel, new_parent, refusal
from tests.standard.resources import NOBODY

needs = pytest.mark.needs
EVENTS = (
    "SELECT type, resource_id FROM events WHERE tenant_id = %s AND type = ANY(%s) ORDER BY transaction_id, sequence"
)


class Batch:
    """The batch methods of a resource at a door."""

    def __init__(self, door: Door) -> None:
        self.door, self.kind = door, door.kind
        self._id = f"{self.kind.singular}_id"

    def do(self, kind: Kind, fields: Resource, **metadata: str) -> list[Resource]:
        """What a batch answers."""
        answer = self.door.do(self.kind.standard[kind].name, fields, **metadata)
        found: list[Resource] = answer.get(self.kind.plural, [])
        return found

    def write(self, *operations: Resource) -> list[Resource]:
        """BatchWrite."""
        return self.do(Kind.BATCH_WRITE, {"operations": [*operations]})

    def creation(self, **body: Any) -> Resource:
        """A request that creates one."""
        return {self.kind.singular: self.kind.body() | self.door.carried | body}

    def update(self, resource_id: str, **changes: Any) -> Resource:
        """A request that changes one, whose fields are named as over gRPC."""
        mask = ",".join(camel(name) for name in changes if name != "etag")
        return {self._id: resource_id, self.kind.singular: changes, "updateMask": mask}

    def deletion(self, resource_id: str, **fields: str) -> Resource:
        """A request that deletes one."""
        return {self._id: resource_id, **fields}

    def made(self, count: int) -> list[str]:
        """The ids of new ones."""
        created = self.do(Kind.BATCH_CREATE, {"requests": [self.creation() for _ in range(count)]})
        return [each["id"] for each in created]

    @property
    def events(self) -> list[tuple[str, str]]:
        """Verb and id of each event of the resource."""
        kinds = {self.kind.standard[each].emits: each.name for each in (Kind.CREATE, Kind.UPDATE, Kind.DELETE)}
        found = rows(self.door.tenant.stack, EVENTS, self.door.tenant.id, [*kinds])
        return [(kinds[row["type"]], row["resource_id"]) for row in found]


@pytest.fixture
def batch(door: Door) -> Batch:
    """The batch methods at a door."""
    return Batch(door)


@needs("batch_create")
def test_a_batch_creates_in_its_order_with_an_event_each(door: Door, batch: Batch) -> None:
    made = batch.made(3)
    assert {*door.listing().ids} == {*made}
    assert batch.events == [("CREATE", each) for each in made]


@needs("batch_create", "batch_update", "text")
def test_a_batch_updates_in_its_order_with_an_event_each(door: Door, batch: Batch) -> None:
    first, second = batch.made(2)
    text = door.kind.text
    requests = [batch.update(second, **{text: "Two"}), batch.update(first, **{text: "One"})]
    updated = batch.do(Kind.BATCH_UPDATE, {"requests": requests})
    assert [(each["id"], each[text]) for each in updated] == [(second, "Two"), (first, "One")]
    assert [door.get(each["id"]) for each in updated] == updated
    assert batch.events[2:] == [("UPDATE", second), ("UPDATE", first)]


@needs("batch_create", "batch_delete")
def test_a_batch_deletes_with_an_event_each(door: Door, batch: Batch) -> None:
    first, second = batch.made(2)
    batch.do(Kind.BATCH_DELETE, {"ids": [first, second]})
    assert door.listing().items == []
    assert batch.events[2:] == [("DELETE", first), ("DELETE", second)]


@needs("batch_create", "batch_write", "text")
def test_changes_of_all_kinds_are_made_together(door: Door, batch: Batch) -> None:
    first, second, third = batch.made(3)
    same = door.get(third)
    created, updated, deleted, kept = batch.write(
        {"create": batch.creation()},
        {"update": batch.update(second, **{door.kind.text: "Changed", "etag": door.get(second)["etag"]})},
        {"delete": batch.deletion(first)},
        {"update": batch.update(third, **{door.kind.text: same[door.kind.text]})},
    )
    assert (updated[door.kind.text], deleted["id"], "deleteTime" in deleted, kept) == ("Changed", first, True, same)
    assert {*door.listing().ids} == {second, third, created["id"]}
    # A change that changes nothing has no event.
    assert sorted(batch.events[3:]) == sorted([("DELETE", first), ("CREATE", created["id"]), ("UPDATE", second)])


@needs("batch_create", "batch_write", "text")
def test_what_is_wrong_is_named_with_its_place_and_nothing_is_done(door: Door, batch: Batch) -> None:
    kind, singular = door.kind, door.kind.singular
    long = kind.too_long(kind.text)
    wrong: list[tuple[Callable[[], Resource], str, str]] = [
        (lambda: {"create": batch.creation(**{kind.text: long})}, f"create.{singular}.{kind.text}", "string.max_len"),
        (dict, "operation", "required"),
        (lambda: {"create": batch.creation(id=NOBODY)}, f"create.{singular}.id", "read_only"),
        (lambda: {"delete": batch.deletion("x")}, f"delete.{singular}_id", "string.uuid"),
    ]
    for operation, path, rule in wrong:
        with refusal("RULE_VIOLATED") as refused:
            batch.write({"create": batch.creation()}, operation())
        assert set(refused.problem.violations) == {door.named(f"operations[1].{path}")}
        assert refused.problem.rules == (rule,)
    assert (door.listing().items, batch.events) == ([], [])


@needs("batch_create", "batch_write", "text")
def test_a_batch_is_done_whole_or_not_at_all(door: Door, batch: Batch) -> None:
    first, second = batch.made(2)
    before = door.listing()
    stale = 'W/"stale"'
    for operation, at in (
        ({"update": batch.update(second, **{door.kind.text: "New", "etag": stale})}, "operations[2].update"),
        ({"delete": batch.deletion(second, etag=stale)}, "operations[2].delete"),
    ):
        with refusal("ETAG_MISMATCH") as refused:
            batch.write({"delete": batch.deletion(first)}, {"create": batch.creation()}, operation)
        assert refused.problem.metadata["at"] == at
    with refusal("RESOURCE_NOT_FOUND"):
        batch.write({"delete": batch.deletion(first)}, {"delete": batch.deletion(NOBODY)})
    assert (door.listing(), batch.events[2:]) == (before, [])


@needs("batch_create", "batch_write", "text")
def test_one_resource_is_changed_once_in_a_batch(door: Door, batch: Batch) -> None:
    (only,) = batch.made(1)
    with refusal("RULE_VIOLATED") as refused:
        batch.write({"update": batch.update(only, **{door.kind.text: "A"})}, {"delete": batch.deletion(only)})
    assert set(refused.problem.violations) == {"operations[1].delete"}
    assert refused.problem.rules == ("batch.unique",)


@needs("batch_create")
def test_a_batch_that_is_sent_again_with_its_key_is_done_once(door: Door, batch: Batch) -> None:
    requests = {"requests": [batch.creation(), batch.creation()]}
    key = unique("key")
    first, second = (batch.do(Kind.BATCH_CREATE, requests, idempotency_key=key) for _ in range(2))
    assert first == second
    assert ({*door.listing().ids}, len(batch.events)) == ({each["id"] for each in first}, 2)


@needs("batch_create")
def test_a_batch_has_one_audit_entry_with_every_change(door: Door, batch: Batch) -> None:
    made = batch.made(2)
    asked = {"filter": f'action = "{door.kind.standard[Kind.BATCH_CREATE].emits}"'}
    (entry,) = door.tenant.rest.get(f"{door.tenant.path}/audit", asked).json()["auditEntries"]
    assert entry["changes"] == dict.fromkeys(made, ANY)


@needs("batch_create", "parent_in_path")
def test_a_batch_is_of_one_parent(door: Door, batch: Batch) -> None:
    parent = door.kind.resource.parent
    assert parent is not None
    with refusal("RULE_VIOLATED") as refused:
        batch.do(Kind.BATCH_CREATE, {"requests": [batch.creation() | {parent.field: NOBODY}]})
    assert set(refused.problem.violations) == {door.named(f"requests[0].{parent.field}")}
    assert refused.problem.rules == ("batch.same",)


@needs("batch_write", "batch_delete", "batch_update", "parent_in_path", "text")
def test_a_batch_reaches_the_children_of_its_parent_alone(door: Door, batch: Batch) -> None:
    made = door.create()
    other = Batch(door.below(new_parent(door.tenant, door.kind)))
    calls: tuple[Callable[[], Any], ...] = (
        lambda: other.do(Kind.BATCH_DELETE, {"ids": [made["id"]]}),
        lambda: other.do(Kind.BATCH_UPDATE, {"requests": [batch.update(made["id"], **{door.kind.text: "Stolen"})]}),
        lambda: other.write({"delete": batch.deletion(made["id"])}),
    )
    for call in calls:
        with refusal("RESOURCE_NOT_FOUND") as refused:
            call()
        assert refused.problem.metadata["resource_type"] == door.kind.resource_type
    assert door.get(made["id"]) == made
