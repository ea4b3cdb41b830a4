"""The items of the lists of a large JSON object, one at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import ijson  # type: ignore[import-untyped]

from server.domains.dictionary.formats.found import MOST_BYTES
from server.domains.dictionary.formats.lines import Source

_PIECE_BYTES = 64 * 1024
_LEAST = 2
"""What any value counts as, beside its characters."""
_IN_OBJECT, _IN_LIST = 1, 2
"""How many objects and lists are open around the keys of the object, and around the items of its lists."""
_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
_Event = tuple[str, Any]


class Broken(Exception):
    """It is not JSON, or not complete, or has what nobody needs: a text of more than 1 MB, a number of 20 digits."""


class Item(NamedTuple):
    """An item of a list."""

    key: str
    """That of the list."""
    value: Any
    is_too_large: bool


def keys_of(head: bytes) -> tuple[set[str], set[str]]:
    """The keys of the first object of a file, as far as `head` shows them: its own, and those of all objects in it."""
    own, all_keys, depth = set(), set(), 0
    for event, value in _Parser().events_until_fault(head):
        if event == "map_key":
            all_keys.add(value)
            if depth == _IN_OBJECT:
                own.add(value)
        depth += (event in _STARTS) - (event in _ENDS)
    return own, all_keys


def items_of(source: Source, *keys: str) -> Iterator[Item]:
    """The items of these lists of the object. Raises Broken where it breaks."""
    key, depth, item = "", 0, _Item()
    for event, value in _events(source):
        depth -= event in _ENDS
        if event == "map_key" and depth == _IN_OBJECT:
            key = value
        elif depth >= _IN_LIST and key in keys:
            if event == "map_key" and depth == _IN_LIST:
                raise Broken(f"{key}: must be a list")
            item.add(event, value)
            if depth == _IN_LIST and event not in _STARTS:
                yield item.found(key)
                item = _Item()
        depth += event in _STARTS


class _Item:
    """An item that is being read."""

    def __init__(self) -> None:
        self._builder = ijson.ObjectBuilder()
        self._size = 0

    def add(self, event: str, value: Any) -> None:
        self._size += _LEAST + (len(value) if isinstance(value, str) else 0)
        if self._size > MOST_BYTES:
            self._builder = None
        else:
            self._builder.event(event, value)

    def found(self, key: str) -> Item:
        if self._builder is None:
            return Item(key, None, is_too_large=True)
        return Item(key, self._builder.value, is_too_large=False)


def _events(source: Source) -> Iterator[_Event]:
    parser, silence = _Parser(), 0
    while piece := source.read(_PIECE_BYTES):
        silence += len(piece)
        for event in parser.events(piece):
            silence = 0
            yield event
        if silence > MOST_BYTES:
            raise Broken(f"a value must have at most {MOST_BYTES:,} bytes")
    parser.end()


class _Parser:
    """Tells what is before a fault too; ijson's generators lose what they have read of the piece that has it."""

    def __init__(self) -> None:
        self._found: list[_Event] = ijson.sendable_list()
        # Without `use_float`, numbers of thousands of digits make events that crash the process.
        self._parser = ijson.basic_parse_coro(self._found, use_float=True)

    def events(self, piece: bytes) -> Iterator[_Event]:
        """The events of the next piece. Raises Broken behind those that are before a fault."""
        fault = None
        try:
            self._parser.send(piece)
        except (ijson.JSONError, ValueError) as error:
            fault = error
        yield from self._found
        self._found.clear()
        if fault:
            raise Broken(_first_line(fault)) from fault

    def events_until_fault(self, piece: bytes) -> Iterator[_Event]:
        """The events of a piece, as far as it is JSON."""
        try:
            yield from self.events(piece)
        except Broken:
            return

    def end(self) -> None:
        """Raise Broken if something is missing."""
        try:
            self._parser.close()
        except (ijson.JSONError, ValueError) as error:
            raise Broken(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    # ijson shows what it cannot decode as Python shows bytes.
    return str(error).removeprefix("b'").replace("\\n", "\n").partition("\n")[0]
