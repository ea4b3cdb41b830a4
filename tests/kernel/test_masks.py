"""Which fields an update sets, clears and leaves alone."""

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from plinth.sites.v1 import page_pb2
from plinth.sites.v1.page_pb2 import Page

from server.kernel.messages.fields import descriptor_of
from server.kernel.messages.masks import apply_mask, body_mask, check_mask, copy_field, set_fields
from server.kernel.problems import Malformed, RuleViolated
from tests.kernel.messages import secretive

UPDATE = descriptor_of(page_pb2.UpdatePageRequest)
EVENT = descriptor_of(page_pb2.PageEvent)
LIST = descriptor_of(page_pb2.ListPagesResponse)
PAGE = descriptor_of(Page)
Node = secretive()


@pytest.mark.parametrize(
    ("keys", "mask"),
    [
        ("", ()),
        ("title", ("title",)),
        ("title,description", ("description", "title")),
        ("title,title", ("title",)),
        ("publishTime,publish_time", ("publish_time",)),
        ("settings,settings.theme,settings.theme.dark", ("settings",)),
        ("settings.a%2Eb%2Cc", ("settings",)),
    ],
)
def test_keys_become_a_mask(keys: str, mask: tuple[str, ...]) -> None:
    assert body_mask(UPDATE, "page", keys) == mask


def test_a_nested_key_names_the_deepest_field_only() -> None:
    assert body_mask(EVENT, "*", "page,page.title") == ("page.title",)
    assert body_mask(EVENT, "*", "page,page.publishTime,id") == ("id", "page.publish_time")


def test_keys_below_a_list_name_the_list() -> None:
    assert body_mask(LIST, "*", "pages[],pages[].title,pages[].settings.x") == ("pages",)


def test_keys_below_a_map_are_free() -> None:
    assert body_mask(Node.DESCRIPTOR, "*", "byName,byName.whatever,byName.whatever.nope") == ("by_name",)


@pytest.mark.parametrize(
    ("keys", "path", "nearest"),
    [
        ("titel", "titel", "title"),
        ("publish_tiem", "publish_tiem", "publishTime"),
        ("title,zzz", "zzz", ""),
        ("seo%2Etitle", "seo.title", "title"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(keys: str, path: str, nearest: str) -> None:
    with pytest.raises(Malformed) as caught:
        body_mask(UPDATE, "page", keys)
    assert caught.value.metadata["field"] == path
    assert caught.value.metadata.get("nearest", "") == nearest
    assert caught.value.http_status == 400


@pytest.mark.parametrize("keys", ["page.titel", "pages[].titel"])
def test_an_unknown_key_below_a_field_is_named_with_its_path(keys: str) -> None:
    descriptor = LIST if keys.startswith("pages") else EVENT
    with pytest.raises(Malformed) as caught:
        body_mask(descriptor, "*", keys)
    assert caught.value.metadata["field"] == keys
    assert caught.value.metadata["nearest"].endswith(".title")


@pytest.mark.parametrize("paths", [["*"], [], ["title"], ["title", "settings"], ["publish_time.seconds"]])
def test_a_mask_of_real_fields_is_taken(paths: list[str]) -> None:
    assert check_mask(PAGE, paths) == tuple(paths)


@pytest.mark.parametrize(
    "path", ["", "nope", "title.x", "publishTime", "settings.theme", "title.", ".title", "*.title"]
)
def test_a_mask_of_other_fields_is_refused(path: str) -> None:
    with pytest.raises(RuleViolated) as caught:
        check_mask(PAGE, ["title", path])
    assert [violation.field for violation in caught.value.violations] == ["update_mask"]
    assert f"`{path}`" in caught.value.violations[0].description


def test_every_wrong_path_is_listed() -> None:
    with pytest.raises(RuleViolated) as caught:
        check_mask(PAGE, ["a", "title", "b"])
    assert len(caught.value.violations) == 2


def test_absent_fields_stay_and_null_clears() -> None:
    stored = Page(title="old", description="kept", settings=Struct(fields={}))
    apply_mask(Page(title="new", slug="not named"), stored, ["title", "settings"])
    assert stored == Page(title="new", description="kept")


def test_named_text_without_a_value_becomes_empty() -> None:
    stored = Page(title="old")
    apply_mask(Page(), stored, ["title"])
    assert not stored.title


def test_a_named_message_is_replaced_and_not_merged() -> None:
    stored, change = Page(), Page()
    stored.settings.update({"a": 1, "b": 2})
    change.settings.update({"a": 3})
    apply_mask(change, stored, ["settings"])
    assert dict(stored.settings) == {"a": 3}


def test_a_nested_path_changes_one_field() -> None:
    stored: Any = Node(leaf={"name": "old", "token": "kept"})
    apply_mask(Node(leaf={"name": "new", "token": "other"}), stored, ["leaf.name"])
    assert stored == Node(leaf={"name": "new", "token": "kept"})


def test_a_list_is_replaced() -> None:
    stored: Any = Node(leaves=[{"name": "a"}, {"name": "b"}])
    apply_mask(Node(leaves=[{"name": "c"}]), stored, ["leaves"])
    assert [leaf.name for leaf in stored.leaves] == ["c"]
    apply_mask(Node(), stored, ["leaves"])
    assert not stored.leaves


def test_a_map_is_replaced() -> None:
    stored: Any = Node(by_name={"a": {}, "b": {}})
    copy_field(Node(by_name={"c": {}}), stored, Node.DESCRIPTOR.fields_by_name["by_name"])
    assert list(stored.by_name) == ["c"]


def test_without_a_mask_the_fields_that_are_set_count() -> None:
    assert set(set_fields(Page(title="x", slug="y"))) == {"title", "slug"}
    assert set_fields(Page(title="")) == ()
