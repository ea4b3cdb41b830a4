"""The declaration of a search by a resource, and what keeps it from fitting."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import Table

from server.data.search import SEARCHED, SearchTables
from server.kernel.messages.fields import value_of
from server.kernel.search.folding import VERSION
from server.kernel.search.words import MOST_WORDS, words_of

QUERY = "q"
"""The field of a List request that holds the words to find."""
HEAVIEST = 1_000
LARGEST_WEIGHT = 2**15 - 1
"""What the column holds."""
MARK = ""
"""The word of the row that says under which version the words of a resource were made, as its weight."""


class SearchFault(Exception):
    """A search does not fit its resource, and the server must not start. Lists every fault."""


@dataclass(frozen=True)
class Search:
    """What a resource is found by."""

    tables: SearchTables
    fields: Mapping[str, int]
    """The text fields, each with its weight from 1 to 1,000. A word counts once, with the heaviest field that has it.

    When they change, workers make the words of stored resources again.
    """

    @cached_property
    def mark(self) -> int:
        """The version under which words are made. It changes with the fields, their weights, and folding."""
        return crc32(repr((VERSION, sorted(self.fields.items()))).encode()) % LARGEST_WEIGHT

    @cached_property
    def _heaviest_first(self) -> list[tuple[str, int]]:
        return sorted(self.fields.items(), key=lambda item: -item[1])

    def words(self, message: Message) -> dict[str, int]:
        """The words of a resource with their weights. Those of the heaviest fields come first."""
        found: dict[str, int] = {}
        for name, weight in self._heaviest_first:
            for word in _words_in(value_of(message, name)):
                if len(found) == MOST_WORDS:
                    return found
                found.setdefault(word, weight)
        return found


def _words_in(value: str | Iterable[str]) -> Iterator[str]:
    for text in (value,) if isinstance(value, str) else value:
        yield from words_of(text)


def check_search(search: Search, message: Descriptor, table: Table) -> None:
    """Raise SearchFault if a search does not fit the message and the table of its resource."""
    faults = list(_faults(search, message, table))
    if faults:
        raise SearchFault("\n".join(faults))


def _faults(search: Search, message: Descriptor, table: Table) -> Iterator[str]:
    if not search.fields:
        yield f"{message.full_name} is searched, but by no field"
    for name, weight in search.fields.items():
        field = message.fields_by_name.get(name)
        if field is None or field.type != FieldDescriptor.TYPE_STRING:
            yield f"{message.full_name} is searched by `{name}`, which is no text field of it"
        if not 1 <= weight <= HEAVIEST:
            yield f"{message.full_name}.{name} weighs {weight} in searches: weights go from 1 to {HEAVIEST}"
    named = search.tables.words.info[SEARCHED]
    if named != table.name:
        yield f"{message.full_name} is in {table.name}, but {search.tables.words.name} has the words of {named}"
    if "id" not in table.c:
        yield f"{message.full_name} is a singleton: there is nothing to search"


def check_request(search: Search | None, request: Descriptor) -> None:
    """Raise SearchFault if a List request has a query and the resource no search, or the other way round."""
    field = request.fields_by_name.get(QUERY)
    if search is not None and (field is None or field.type != FieldDescriptor.TYPE_STRING or field.is_repeated):
        raise SearchFault(f"{request.full_name} needs `string {QUERY}`: its resource is declared with a search")
    if search is None and field is not None:
        raise SearchFault(f"{request.full_name} has `{QUERY}`: declare the search, as in Resource(search=Search(...))")
