"""JSON: lines with an object each, and objects that are read strictly, each fault with the field it is in."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from server.domains.dictionary.formats.lines import Line, Source, lines_of

JsonObject = dict[str, Any]
_WHOLE = re.compile(r"[0-9]{1,9}")
_MOST_WHOLE = 999_999_999


class JsonLine(NamedTuple):
    """A line: its object, or, in `fault`, why it cannot be read."""

    number: int
    value: JsonObject
    fault: str


def objects_of(source: Source) -> Iterator[JsonLine]:
    """The objects of JSON Lines. Blank lines are passed over."""
    for line in lines_of(source):
        if line.fault:
            yield JsonLine(line.number, {}, line.fault)
        elif line.text.strip():
            yield _parsed(line)


def _parsed(line: Line) -> JsonLine:
    try:
        value = json.loads(line.text)
    except json.JSONDecodeError as error:
        return JsonLine(line.number, {}, f"the line must be JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError):
        return JsonLine(line.number, {}, "the line must be JSON without huge numbers and without hundreds of levels")
    if not isinstance(value, dict):
        return JsonLine(line.number, {}, "the line must be a JSON object")
    return JsonLine(line.number, value, "")


class Part:
    """An object with its place in a document. What is absent or null is empty.

    Everything raises ValueError with one line, such as `senses[0].indicator: must be a text`.
    """

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise _misshapen(path or "the entry", "must be a JSON object")
        self._value: JsonObject = value
        self._prefix = f"{path}." if path else ""

    def path(self, key: str) -> str:
        """Where a field is."""
        return self._prefix + key

    def text(self, key: str) -> str:
        """A text."""
        value = self._value.get(key)
        return "" if value is None else _text(value, self.path(key))

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        return [_text(value, f"{self.path(key)}[{index}]") for index, value in enumerate(self._list(key))]

    def whole(self, key: str) -> int:
        """A whole number, or a text that is one: DMLex writes numbers of homographs as texts."""
        value = self._value.get(key)
        if value is None:
            return 0
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_WHOLE:
            return value
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        raise _misshapen(self.path(key), "must be a whole number")

    def number(self, key: str) -> float:
        """A number."""
        value = self._value.get(key)
        if value is None:
            return 0
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST_WHOLE:
            return value
        raise _misshapen(self.path(key), f"must be a number of at most {_MOST_WHOLE:,}")

    def part(self, key: str) -> "Part":
        """An object; an empty one if it is absent."""
        value = self._value.get(key)
        return Part({} if value is None else value, self.path(key))

    def parts(self, key: str) -> "list[Part]":
        """A list of objects."""
        return [Part(value, f"{self.path(key)}[{index}]") for index, value in enumerate(self._list(key))]

    def _list(self, key: str) -> list[Any]:
        value = self._value.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise _misshapen(self.path(key), "must be a list")
        return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise _misshapen(path, "must be a text")
    if "\0" in value:
        raise _misshapen(path, "must not have a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _misshapen(path, "must be valid Unicode, without halves of surrogate pairs") from None
    return value


def _misshapen(path: str, rule: str) -> ValueError:
    return ValueError(f"{path}: {rule}")
