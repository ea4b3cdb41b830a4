"""Declarations: what does not fit keeps the server from starting, and what a resource is found by."""

from collections.abc import Callable, Mapping

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from plinth.identity.v1.api_key_pb2 import ApiKey
from plinth.sites.v1.page_pb2 import Page
from sqlalchemy import MetaData, Table

from server.data.tables import uuid_column
from server.domains.sites.pages import PageService
from server.domains.sites.tables import pages, pages_search
from server.kernel.messages.fields import descriptor_of
from server.kernel.policy import read_policies
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.resource import Resource
from server.kernel.resources.rows import ResourceRows
from server.kernel.resources.service import Service
from server.kernel.resources.standard import ServiceHandlers
from server.kernel.search.declaration import LARGEST_WEIGHT, Search, SearchFault, check_search
from server.kernel.search.words import MOST_WORDS
from tests.contract.contract import PAGES, field_of, message_of, planted

SEARCH = Search(pages_search, {"title": 3, "description": 1})


def declared(fields: Mapping[str, int], table: Table = pages) -> Callable[[], object]:
    """Makes the rows of pages with a search by these fields."""
    return lambda: ResourceRows(
        Service[Page](), Resource(Page, table, computed=("path",), search=Search(pages_search, fields))
    )


def another_table() -> Table:
    """A table like that of pages."""
    return pages.to_metadata(MetaData(), name="stories")


FAULTS = {
    "no field": (declared({}), "plinth.sites.v1.Page is searched, but by no field"),
    "a field that is not there": (
        declared({"titel": 1}),
        "plinth.sites.v1.Page is searched by `titel`, which is no text field of it",
    ),
    "a field that is no text": (
        declared({"status": 1}),
        "plinth.sites.v1.Page is searched by `status`, which is no text field of it",
    ),
    "a field without weight": (
        declared({"title": 0}),
        "plinth.sites.v1.Page.title weighs 0 in searches: weights go from 1 to 1000",
    ),
    "a field that is too heavy": (
        declared({"title": 1001}),
        "plinth.sites.v1.Page.title weighs 1001 in searches: weights go from 1 to 1000",
    ),
    "the words of another table": (
        declared({"title": 1}, another_table()),
        "plinth.sites.v1.Page is in stories, but pages_words has the words of pages",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_search_that_does_not_fit_is_refused(what: str) -> None:
    make, fault = FAULTS[what]
    with pytest.raises(SearchFault) as refused:
        make()
    assert fault in str(refused.value).splitlines()


def test_every_fault_is_named() -> None:
    with pytest.raises(SearchFault) as refused:
        declared({"titel": 0, "status": 1})()
    assert len(str(refused.value).splitlines()) == 3


def without_query(file: FileDescriptorProto) -> None:
    """The list of pages has no `q`."""
    request = message_of(file, "ListPagesRequest")
    request.field.remove(field_of(file, "ListPagesRequest", "q"))


def with_a_number(file: FileDescriptorProto) -> None:
    """The `q` of the list of pages is a number."""
    field = field_of(file, "ListPagesRequest", "q")
    field.type = field.TYPE_INT32
    field.options.Clear()


def handler_of_list(plant: Callable[[FileDescriptorProto], None], search: Search | None) -> None:
    """Compose ListPages of a changed contract."""
    contract = planted(PAGES, plant)
    (descriptor,) = [each for each in contract.services if each.name == "PageService"]
    members = {"descriptor": descriptor, "resource": Resource(Page, pages, computed=("path",), search=search)}
    service = type("Planted", (PageService,), members)
    method = read_policies([descriptor])["/plinth.sites.v1.PageService/ListPages"]
    ServiceHandlers([service()], PageTokens(b"k" * 32)).unary(method)


def test_a_list_without_a_query_is_refused() -> None:
    needed = r"^plinth.sites.v1.ListPagesRequest needs `string q`: its resource is declared with a search$"
    for plant in (without_query, with_a_number):
        with pytest.raises(SearchFault, match=needed):
            handler_of_list(plant, SEARCH)
    handler_of_list(without_query, None)
    handler_of_list(lambda _: None, SEARCH)


def test_a_query_without_a_search_is_refused() -> None:
    with pytest.raises(SearchFault, match=r"^plinth.sites.v1.ListPagesRequest has `q`: declare the search"):
        handler_of_list(lambda _: None, None)


def test_a_word_counts_with_the_heaviest_field_that_has_it() -> None:
    page = Page(title="Home of Zürich", description="zurich home page")
    expected = {"home": 3, "of": 3, "zurich": 3, "zuerich": 3, "page": 1}
    assert SEARCH.words(page) == expected
    assert Search(pages_search, {"description": 1, "title": 3}).words(page) == expected


def test_a_list_of_texts_is_searched_too() -> None:
    key = ApiKey(name="Booking", permissions=["sites.pages.read", "travel.trips.read"])
    words = Search(pages_search, {"name": 2, "permissions": 1}).words(key)
    assert words == {"booking": 2, "sites": 1, "pages": 1, "read": 1, "travel": 1, "trips": 1}


def test_the_words_of_a_resource_are_bounded_and_the_heaviest_stay() -> None:
    page = Page(title="last", description=" ".join(f"w{number}" for number in range(2 * MOST_WORDS)))
    words = SEARCH.words(page)
    assert len(words) == MOST_WORDS
    assert words["last"] == 3


def test_another_declaration_has_another_mark() -> None:
    marks = {Search(pages_search, fields).mark for fields in ({"title": 1}, {"title": 2}, {"title": 1, "slug": 1})}
    assert len(marks) == 3
    assert all(0 <= mark < LARGEST_WEIGHT for mark in marks)
    assert Search(pages_search, {"a": 1, "b": 2}).mark == Search(pages_search, {"b": 2, "a": 1}).mark


def test_a_singleton_is_not_searched() -> None:
    table = Table("pages", MetaData(), uuid_column("tenant_id", primary_key=True))
    with pytest.raises(SearchFault, match=r"plinth.sites.v1.Page is a singleton: there is nothing to search"):
        check_search(SEARCH, descriptor_of(Page), table)
