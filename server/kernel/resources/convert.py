"""Conversion of rows to messages and back, by plans that are made once per type.

A field is stored in the column of the same name. `etag` is made from the column `version`, if there is one.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Generic

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from server.data.clauses import AnyColumn, AnyType
from server.data.connections import Result
from server.data.statements import POSTGRES_EPOCH_SECONDS, Decoder, Row, decoder_of, uuid_text
from server.kernel.messages.etags import etag_of
from server.kernel.messages.fields import FieldValue, descriptor_of, value_of
from server.kernel.messages.structs import STRUCT, TIMESTAMP, fill_struct, json_text
from server.kernel.problems import RuleViolated, Violation
from server.kernel.resources.resource import M

MICROSECONDS = 1_000_000
ID = "id"
ETAG = "etag"
VERSION = "version"

Raw = list[bytes | None]


class PlanFault(Exception):
    """A message and its table do not match, and the server must not start. Lists every fault."""


class ConversionPlan(Generic[M]):
    """The conversion between the rows of one table and messages of one type."""

    def __init__(
        self, message_class: type[M], table: Table, hidden: Collection[str] = (), computed: Collection[str] = ()
    ) -> None:
        """`hidden` names columns that do not belong to the field of the same name, which is filled in another way.

        `computed` names the fields without a column. Raises PlanFault for any other field that would not be stored.
        """
        fields = descriptor_of(message_class).fields_by_name
        faults = list(_plan_faults(fields.values(), table, hidden, computed))
        if faults:
            raise PlanFault("\n".join(faults))
        self._class = message_class
        versions = (table.c[VERSION],) if VERSION in table.c else ()
        shown = (name for name in fields if name in table.c and name not in hidden)
        self.columns = (*(table.c[name] for name in shown), *versions)
        """The columns that a statement must select, in this order, so that `message` can read its rows."""
        places = {column.name: place for place, column in enumerate(self.columns)}
        self._scalars: list[tuple[str, int, Decoder]] = []
        self._times: list[tuple[str, int]] = []
        self._structs: list[tuple[str, int]] = []
        for name, field in fields.items():
            if name in places:
                self._plan(field, places[name], table)
        self._ids = tuple(name for name, _, decode in self._scalars if decode is uuid_text)
        self._stores = [
            (name, _id_store_of(fields[name]) if name in self._ids else _store_of(fields[name]))
            for name in places
            if name != VERSION
        ]
        self._names = frozenset(places)
        self._computed = tuple(name for name in fields if name not in places)
        self._version = places.get(VERSION, 0)
        self._has_etag = ETAG in fields and bool(versions)

    def as_stored(self, message: M, key: Row, times: dict[str, datetime], version: int) -> M:
        """The message as it would be read back after storing. `key` and `times` are the values that the kernel adds."""
        stored = self._class()
        stored.CopyFrom(message)
        for name in self._computed:
            stored.ClearField(name)
        for name, value in key.items():
            if name in self._names:
                setattr(stored, name, value)
        for name in self._ids:
            named = value_of(stored, name)
            if named:
                setattr(stored, name, named.lower())
            else:
                stored.ClearField(name)
        for name, _ in self._times:
            if name in times:
                getattr(stored, name).FromDatetime(times[name])
            elif stored.HasField(name):
                moment = getattr(stored, name)
                # PostgreSQL stores microseconds.
                moment.nanos -= moment.nanos % 1000
        if self._has_etag:
            setattr(stored, ETAG, etag_of(value_of(stored, "id"), version))
        return stored

    def _plan(self, field: FieldDescriptor, place: int, table: Table) -> None:
        kind = field.message_type.full_name if field.message_type is not None else ""
        if kind == TIMESTAMP:
            self._times.append((field.name, place))
        elif kind == STRUCT:
            self._structs.append((field.name, place))
        else:
            self._scalars.append((field.name, place, decoder_of(table.c[field.name].type)))

    def message(self, raw: Raw) -> M:
        """The message in a row."""
        values: Row = {
            name: decode(value) for name, place, decode in self._scalars if (value := raw[place]) is not None
        }
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

    def messages(self, result: Result) -> list[M]:
        """The messages in the rows of a result."""
        message, raw = self.message, result.raw
        return [message(raw(row)) for row in range(result.returned)]

    def holds(self, message: Message, values: Mapping[str, object]) -> bool:
        """Whether a message that was read already has these values."""
        return all(store(message) == values[name] for name, store in self._stores if name in values)

    def values(self, message: Message) -> Row:
        """The parameters that store the fields of a message. Unset fields with presence become NULL."""
        return {name: store(message) for name, store in self._stores}


def _plan_faults(
    fields: Iterable[FieldDescriptor], table: Table, hidden: Collection[str], computed: Collection[str]
) -> Iterator[str]:
    """Fields that would be accepted but neither stored nor read, and other contradictions."""
    known = set()
    for field in fields:
        known.add(field.name)
        has_column = field.name in table.c and field.name not in hidden
        name = field.full_name
        if has_column and field.name in computed:
            yield f"{name} is declared as computed, but `{table.name}` has a column of that name: one has to go"
        elif has_column:
            yield from _column_faults(field, table.c[field.name])
        elif not has_column and not (
            field.name in computed or field.name in hidden or (field.name == ETAG and VERSION in table.c)
        ):
            yield f"{name} has no column in `{table.name}`: add one, or name the field in Resource(computed=...)"
    for name in sorted(set(computed) - known):
        yield f"`{name}` is declared as computed for `{table.name}`, whose message has no such field"
    for name in sorted(set(hidden) - set(table.c.keys())):
        yield f"`{name}` is declared as hidden for `{table.name}`, which has no such column"


def _column_faults(field: FieldDescriptor, column: AnyColumn) -> Iterator[str]:
    kinds = _column_types_of(field)
    if not kinds:
        yield f"{field.full_name} is of a type that no column holds: name it in computed=..."
    elif not isinstance(column.type, kinds):
        allowed = " or ".join(kind.__name__ for kind in kinds)
        place = f"`{column.table.name}.{column.name}` of {column.type!r}"
        yield f"{field.full_name} does not fit into {place}: use {allowed}"


def _column_types_of(field: FieldDescriptor) -> tuple[type[AnyType], ...]:
    """The types of columns that hold a field. None for a field that no column holds."""
    if field.message_type is not None:
        return () if field.is_repeated else _COLUMNS_OF_MESSAGES.get(field.message_type.full_name, ())
    if field.is_repeated:
        return (ARRAY,) if field.type == FieldDescriptor.TYPE_STRING else ()
    return _COLUMNS.get(field.type, ())


_INTEGERS: tuple[type[AnyType], ...] = (SmallInteger, Integer, BigInteger)
_COLUMNS: dict[int, tuple[type[AnyType], ...]] = {
    FieldDescriptor.TYPE_STRING: (Text, String, UUID),
    FieldDescriptor.TYPE_BOOL: (Boolean,),
    FieldDescriptor.TYPE_BYTES: (LargeBinary,),
    FieldDescriptor.TYPE_ENUM: _INTEGERS,
    FieldDescriptor.TYPE_INT32: _INTEGERS,
    FieldDescriptor.TYPE_INT64: _INTEGERS,
    FieldDescriptor.TYPE_UINT32: _INTEGERS,
}
_COLUMNS_OF_MESSAGES: dict[str, tuple[type[AnyType], ...]] = {TIMESTAMP: (DateTime,), STRUCT: (JSONB,)}


def _set_time(timestamp: Timestamp, value: bytes) -> None:
    """Set a timestamp from a binary timestamptz: microseconds since 2000."""
    seconds, rest = divmod(int.from_bytes(value, "big", signed=True), MICROSECONDS)
    timestamp.seconds = seconds + POSTGRES_EPOCH_SECONDS
    timestamp.nanos = rest * 1000


def _store_of(field: FieldDescriptor) -> Callable[[Message], FieldValue]:
    """The function that reads the parameter of a field from a message."""
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


def _id_store_of(field: FieldDescriptor) -> Callable[[Message], str | None]:
    """The function that reads the parameter of an id. A column of ids holds no empty text: unset and empty are NULL."""
    name = field.name
    return lambda message: value_of(message, name) or None


def _time_of(message: Message, name: str) -> datetime:
    """A time in microseconds, as PostgreSQL stores it. Raises RuleViolated for a time after the year 9999."""
    try:
        moment: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        violation = Violation(name, "is no moment between the years 1 and 9999", "timestamp.range")
        raise RuleViolated(f"{name}: {violation.description}.", violations=[violation]) from error
    return moment
