"""What an audit entry tells of changes, and how much of them at most."""

import json
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value
from plinth.audit.v1.audit_pb2 import AuditEntry
from plinth.sites.v1.page_pb2 import Page
from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery

from server.kernel.messages.changes import LONGEST_CHANGES, LONGEST_VALUE, NOTHING, changes_of, changes_of_all
from server.kernel.messages.sizes import ANSWER_BYTES
from server.kernel.messages.structs import fill_struct


def pages(count: int, size: int) -> list[tuple[Page, Page]]:
    """Before and after of so many pages, each with so many characters of description."""
    return [(Page(id=str(n), description="a" * size), Page(id=str(n), description="b" * size)) for n in range(count)]


def told(changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(changes.plain)
    return found


def test_a_value_that_is_too_long_is_told_by_its_length_and_hash() -> None:
    ((before, after),) = pages(1, LONGEST_VALUE - 2)
    assert told(changes_of(before, after)) == {
        "description": {"before": before.description, "after": after.description}
    }
    ((before, after),) = pages(1, LONGEST_VALUE - 1)
    change = told(changes_of(before, after))["description"]
    assert [sorted(change[side]) for side in ("before", "after")] == [["length", "sha256"]] * 2
    assert change["before"]["length"] == LONGEST_VALUE + 1


def test_the_changes_of_many_resources_are_told_in_full_while_they_have_room() -> None:
    pairs = pages(20, 4000)
    assert [told(changes)["description"]["after"] for changes in changes_of_all(pairs)] == ["b" * 4000] * 20


def test_of_more_than_an_entry_holds_every_value_is_told_by_its_length_and_hash() -> None:
    found = changes_of_all(pages(100, 4000))
    assert len(found) == 100
    assert all(told(changes)["description"]["after"]["length"] == 4002 for changes in found)
    assert sum(len(changes.plain) for changes in found) < LONGEST_CHANGES


def test_the_most_that_an_entry_tells_fits_into_an_answer() -> None:
    """Digits are what grows most in protobuf."""
    changes = Struct()
    fill_struct(changes, {"a": [0] * (LONGEST_CHANGES // 2)})
    assert AuditEntry(changes=changes).ByteSize() < ANSWER_BYTES


def test_what_was_never_there_has_not_changed() -> None:
    assert changes_of(None, None) == NOTHING


def test_a_map_is_told_by_its_keys() -> None:
    before = WebhookDelivery.Attempt(number=1, request_headers={"b": "2", "a": "1"})
    after = WebhookDelivery.Attempt(number=1, request_headers={"a": "1"})
    assert told(changes_of(before, after)) == {"requestHeaders": {"before": {"a": "1", "b": "2"}, "after": {"a": "1"}}}
    titled = Struct(fields={"title": Value(string_value="x")})
    assert told(changes_of(Struct(), titled))["fields"]["after"] == {"title": "x"}
