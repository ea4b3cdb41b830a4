"""Requests that people and agents write as JSON."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plinth.client.json_messages import json_of, message_of
from plinth.sites.v1 import page_pb2


@pytest.mark.parametrize("name", ["STATUS_PUBLISHED", "PUBLISHED", "published"])
def test_enum_values_have_the_names_that_rest_takes(name: str) -> None:
    request = message_of(page_pb2.UpdatePageRequest, {"page": {"status": name}})
    assert request.page.status == page_pb2.Page.STATUS_PUBLISHED


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"nothing": 1}, "nothing is no field of UpdatePageRequest, which has: tenantId, pageId"),
        ({"page": {"nothing": 1}}, "page.nothing is no field of Page"),
        ({"page": {"status": "lost"}}, "page.status: `lost` is none of STATUS_DRAFT, STATUS_PUBLISHED"),
        ({"page": {"title": 1}}, "title"),
        ({"page": []}, "page has to be a JSON object"),
        ({"page": 5}, "page has to be a JSON object"),
        ([], "the request has to be a JSON object"),
        (None, "the request has to be a JSON object"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        message_of(page_pb2.UpdatePageRequest, value)


def test_both_spellings_of_a_field_and_null_are_read() -> None:
    request = message_of(page_pb2.UpdatePageRequest, {"page_id": "a", "page": {"title": None}, "updateMask": "title"})
    assert (request.page_id, request.page.title, list(request.update_mask.paths)) == ("a", "", ["title"])


@given(st.dictionaries(st.text(min_size=1), st.text() | st.booleans() | st.lists(st.text()), max_size=4))
def test_free_form_values_are_not_taken_for_fields(settings: dict[str, object]) -> None:
    request = message_of(page_pb2.CreatePageRequest, {"page": {"title": "Home", "settings": settings}})
    assert json_of(request.page)["settings"] == settings


def test_messages_come_back_as_they_were_written() -> None:
    page = page_pb2.Page(id="a", title="Home", status=page_pb2.Page.STATUS_DRAFT)
    shown = json_of(page)
    assert (shown["slug"], shown["status"], "publishTime" in shown) == ("", "STATUS_DRAFT", False)
    assert message_of(page_pb2.Page, shown) == page
