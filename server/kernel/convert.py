"""Rows to messages and back, by plans that are made once per type.

A field and a column of the same name belong together. `etag` comes from the column `version`, where there is one.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Table

from server.data.connections import Result
from server.data.statements import POSTGRES_EPOCH_SECONDS, decoder_of, uuid_text
from server.kernel.etags import etag_of
from server.kernel.problems import RuleViolated, Violation

STRUCT = Struct.DESCRIPTOR.full_name
LIST_VALUE = ListValue.DESCRIPTOR.full_name
TIMESTAMP = Timestamp.DESCRIPTOR.full_name
MICROSECONDS = 1_000_000
# Beyond it, doubles no longer hold every whole number.
LARGEST_EXACT = 2.0**53
ETAG = "etag"
VERSION = "version"

Raw = list[bytes | None]

# Made once: json.dumps makes one for every call that is not all defaults.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class ConversionPlan:
    """How rows of one table become messages of one type, and back."""

    def __init__(self, message_class: type[Message], table: Table, hidden: Collection[str] = ()) -> None:
        """`hidden` names columns that are no field's, though one of the same name exists: it is filled otherwise."""
        fields: Mapping[str, Any] = message_class.DESCRIPTOR.fields_by_name
        self._class = message_class
        versions = (table.c[VERSION],) if VERSION in table.c else ()
        shown = (name for name in fields if name in table.c and name not in hidden)
        self.columns = (*(table.c[name] for name in shown), *versions)
        """What a statement selects, in this order, so that `message` can read its rows."""
        places = {column.name: place for place, column in enumerate(self.columns)}
        self._scalars: list[tuple[str, int, Callable[[bytes], Any]]] = []
        self._times: list[tuple[str, int]] = []
        self._structs: list[tuple[str, int]] = []
        for name, field in fields.items():
            if name in places:
                self._plan(field, places[name], table)
        self._stores = [(name, _store_of(fields[name])) for name in places if name != VERSION]
        self._names = frozenset(places)
        self._computed = tuple(name for name in fields if name not in places)
        self._ids = tuple(name for name, _, decode in self._scalars if decode is uuid_text)
        self._version = places.get(VERSION, 0)
        self._has_etag = ETAG in fields and bool(versions)

    def as_stored(self, message: Message, key: dict[str, Any], times: dict[str, datetime], version: int) -> Any:
        """What reading back a message that is being stored would give: `key` and `times` are what the kernel adds."""
        stored: Any = self._class()
        stored.CopyFrom(message)
        for name in self._computed:
            stored.ClearField(name)
        for name, value in key.items():
            if name in self._names:
                setattr(stored, name, value)
        for name in self._ids:
            setattr(stored, name, getattr(stored, name).lower())
        for name, _ in self._times:
            if name in times:
                getattr(stored, name).FromDatetime(times[name])
            elif stored.HasField(name):
                moment = getattr(stored, name)
                # PostgreSQL keeps microseconds.
                moment.nanos -= moment.nanos % 1000
        if self._has_etag:
            stored.etag = etag_of(stored.id, version)
        return stored

    def _plan(self, field: FieldDescriptor, place: int, table: Table) -> None:
        kind = field.message_type.full_name if field.message_type is not None else ""
        if kind == TIMESTAMP:
            self._times.append((field.name, place))
        elif kind == STRUCT:
            self._structs.append((field.name, place))
        else:
            self._scalars.append((field.name, place, decoder_of(table.c[field.name].type)))

    def message(self, raw: Raw) -> Any:
        """The message that a row holds."""
        values = {name: decode(value) for name, place, decode in self._scalars if (value := raw[place]) is not None}
        if self._has_etag:
            values[ETAG] = etag_of(values["id"], int.from_bytes(raw[self._version] or b"", "big"))
        message = self._class(**values)
        for name, place in self._times:
            if (value := raw[place]) is not None:
                _set_time(getattr(message, name), value)
        for name, place in self._structs:
            if (value := raw[place]) is not None:
                struct = getattr(message, name)
                struct.SetInParent()
                fill_struct(struct, json.loads(value[1:]))
        return message

    def messages(self, result: Result) -> list[Any]:
        """The messages that a result's rows hold."""
        message, raw = self.message, result.raw
        return [message(raw(row)) for row in range(result.returned)]

    def holds(self, message: Message, values: Mapping[str, Any]) -> bool:
        """Whether a message, as it was read, has these values already."""
        return all(store(message) == values[name] for name, store in self._stores if name in values)

    def values(self, message: Message) -> dict[str, Any]:
        """The parameters that store a message's own fields; unset ones are NULL where they have presence."""
        return {name: store(message) for name, store in self._stores}


def _set_time(timestamp: Any, value: bytes) -> None:
    """A timestamptz in binary is microseconds since 2000."""
    seconds, rest = divmod(int.from_bytes(value, "big", signed=True), MICROSECONDS)
    timestamp.seconds = seconds + POSTGRES_EPOCH_SECONDS
    timestamp.nanos = rest * 1000


def _store_of(field: FieldDescriptor) -> Callable[[Any], Any]:
    """What reads a field of a message as the parameter that stores it."""
    name = field.name
    kind = field.message_type.full_name if field.message_type is not None else ""
    if kind == TIMESTAMP:
        return lambda message: _time_of(message, name) if message.HasField(name) else None
    if kind == STRUCT:
        return lambda message: json_text(getattr(message, name)) if message.HasField(name) else None
    if field.is_repeated:
        return lambda message: list(getattr(message, name))
    if field.has_presence:
        return lambda message: getattr(message, name) if message.HasField(name) else None
    return attrgetter(name)


def _time_of(message: Any, name: str) -> datetime:
    """A moment to the microsecond, as PostgreSQL keeps it. Raises RuleViolated for one beyond the year 9999."""
    try:
        moment: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        violation = Violation(name, "is no moment between the years 1 and 9999", "timestamp.range")
        raise RuleViolated(f"{name}: {violation.description}.", violations=[violation]) from error
    return moment


def json_text(part: Any) -> str:
    """A Struct, ListValue or Value as it is stored: JSON without white space. Raises RuleViolated for NaN."""
    kind = part.DESCRIPTOR.full_name
    if kind == STRUCT:
        return _encode(plain_struct(part))
    return _encode([_plain_value(item) for item in part.values] if kind == LIST_VALUE else _plain_value(part))


def fill_struct(struct: Any, values: dict[str, Any]) -> None:
    """Fill a Struct from plain values (five times as fast as json_format.ParseDict)."""
    fields = struct.fields
    for key, value in values.items():
        _fill_value(fields[key], value)


def _fill_value(target: Any, value: Any) -> None:
    kind = type(value)
    if kind is str:
        target.string_value = value
    elif kind is bool:
        target.bool_value = value
    elif value is None:
        target.null_value = 0
    elif kind is dict:
        target.struct_value.SetInParent()
        fill_struct(target.struct_value, value)
    elif kind is list:
        target.list_value.SetInParent()
        for item in value:
            _fill_value(target.list_value.values.add(), item)
    else:
        target.number_value = value


def plain_struct(struct: Any) -> dict[str, Any]:
    """The plain values of a Struct; whole numbers as integers, as JSON shows them. Raises RuleViolated for NaN."""
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    if kind == "number_value":
        return _plain_number(value.number_value)
    return None if kind in (None, "null_value") else getattr(value, kind)


def _plain_number(number: float) -> float | int:
    if not math.isfinite(number):
        raise RuleViolated("JSON has no NaN and no infinity.")
    return int(number) if number.is_integer() and abs(number) < LARGEST_EXACT else number
