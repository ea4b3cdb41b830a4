"""Conversion of rows to messages and back, by plans that are made once per type.

A field is stored in the column of the same name, or in those that its codec names (codecs.py). `etag` is made from the
column `version`, if there is one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Generic, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Double,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import UUID

from server.data.clauses import AnyColumn, AnyType
from server.data.connections import Result
from server.data.statements import ColumnValue, Decoder, Row, decoder_of, uuid_text
from server.kernel.messages.etags import etag_of
from server.kernel.messages.fields import FieldValue, descriptor_of, value_of
from server.kernel.messages.structs import TIMESTAMP
from server.kernel.resources.codecs import WITHOUT, Codec, Raw, codec_of
from server.kernel.resources.resource import M

ID = "id"
ETAG = "etag"
VERSION = "version"


class PlanFault(Exception):
    """A message and its table do not match, and the server must not start. Lists every fault."""


class _Coded(NamedTuple):
    """A field with a codec."""

    name: str
    codec: Codec
    place: int
    """That of its first column."""


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
        stored = {name: _columns_of(field, table) for name, field in fields.items() if name not in hidden}
        versions = (table.c[VERSION],) if VERSION in table.c else ()
        self.columns: tuple[AnyColumn, ...] = (*(each for columns in stored.values() for each in columns), *versions)
        """The columns that a statement must select, in this order, so that `message` can read its rows."""
        self._scalars: list[tuple[str, int, Decoder]] = []
        self._coded: list[_Coded] = []
        self._stores: list[tuple[str, Callable[[Message], ColumnValue]]] = []
        self.fields: dict[str, str] = {}
        """The field that each column belongs to."""
        place = 0
        for name, columns in stored.items():
            self._plan(fields[name], columns, place)
            place += len(columns)
        self._version = place
        # The others come back as they were stored.
        self._settled = [each for each in self._coded if type(each.codec).settle is not Codec.settle]
        self._ids = tuple(name for name, _, decode in self._scalars if decode is uuid_text)
        self._stores += [
            (name, _id_store_of(fields[name]) if name in self._ids else _store_of(fields[name]))
            for name, _, _ in self._scalars
        ]
        self._names = frozenset(self.fields.values())
        self._times = tuple(name for name in self._names if _is_time(fields[name]))
        self._computed = tuple(name for name in fields if name not in self._names)
        self._has_etag = ETAG in fields and bool(versions)

    def _plan(self, field: FieldDescriptor, columns: Sequence[AnyColumn], place: int) -> None:
        self.fields |= dict.fromkeys((column.name for column in columns), field.name)
        codec = codec_of(field)
        if codec is None:
            self._scalars += [(field.name, place, decoder_of(column.type)) for column in columns]
        elif columns:
            made = codec(field)
            self._coded.append(_Coded(field.name, made, place))
            self._stores += zip((column.name for column in columns), made.stores, strict=True)

    def as_stored(self, message: M, key: Row, times: dict[str, datetime], version: int) -> M:
        """The message as it would be read back after storing. `key` and `times` are the values that the kernel adds."""
        stored = self._class()
        stored.CopyFrom(message)
        for name in self._computed:
            stored.ClearField(name)
        for name, value in key.items():
            if name in self._names:
                setattr(stored, name, value)
        for name in self._times:
            if name in times:
                value_of(stored, name).FromDatetime(times[name])
        self._settle(stored)
        if self._has_etag:
            setattr(stored, ETAG, etag_of(value_of(stored, "id"), version))
        return stored

    def _settle(self, stored: M) -> None:
        for name in self._ids:
            named = value_of(stored, name)
            if named:
                setattr(stored, name, named.lower())
            else:
                stored.ClearField(name)
        for name, codec, _ in self._settled:
            if not codec.has_presence or stored.HasField(name):
                codec.settle(stored)

    def message(self, raw: Raw) -> M:
        """The message in a row."""
        values: Row = {
            name: decode(value) for name, place, decode in self._scalars if (value := raw[place]) is not None
        }
        if self._has_etag:
            values[ETAG] = etag_of(values["id"], int.from_bytes(raw[self._version] or b"", "big"))
        message = self._class(**values)
        for _, codec, place in self._coded:
            if raw[place] is not None:
                codec.read(message, raw, place)
        return message

    def messages(self, result: Result) -> list[M]:
        """The messages in the rows of a result."""
        message, raw = self.message, result.raw
        return [message(raw(row)) for row in range(result.returned)]

    def holds(self, message: Message, values: Mapping[str, object]) -> bool:
        """Whether a message that was read already has these values."""
        return all(store(message) == values[name] for name, store in self._stores if name in values)

    def values(self, message: Message) -> Row:
        """The parameters that store the fields of a message, by column. Unset fields with presence become NULL."""
        return {name: store(message) for name, store in self._stores}


def _plan_faults(
    fields: Iterable[FieldDescriptor], table: Table, hidden: Collection[str], computed: Collection[str]
) -> Iterator[str]:
    """Fields that would be accepted but neither stored nor read, and other contradictions."""
    known = set()
    for field in fields:
        known.add(field.name)
        name = field.full_name
        wanted = [field.name + suffix for suffix, _ in _column_types_of(field)] or [field.name]
        present = [each for each in wanted if each in table.c] if field.name not in hidden else []
        if present and field.name in computed:
            yield f"{name} is declared as computed, but `{table.name}` has a column of that name: one has to go"
        elif present:
            yield from _column_faults(field, table)
        elif not (field.name in computed or field.name in hidden or (field.name == ETAG and VERSION in table.c)):
            yield f"{name} has no column in `{table.name}`: add one, or name the field in Resource(computed=...)"
    for name in sorted(set(computed) - known):
        yield f"`{name}` is declared as computed for `{table.name}`, whose message has no such field"
    for name in sorted(set(hidden) - set(table.c.keys())):
        yield f"`{name}` is declared as hidden for `{table.name}`, which has no such column"


def _column_faults(field: FieldDescriptor, table: Table) -> Iterator[str]:
    """Columns of a field that are absent, or that cannot hold it."""
    for suffix, kinds in _column_types_of(field):
        name = field.name + suffix
        if name not in table.c:
            yield f"{field.full_name} has no column `{name}` in `{table.name}`: add it"
        elif not isinstance(table.c[name].type, kinds) or not _has_items(table.c[name].type, field):
            allowed = " or ".join(kind.__name__ for kind in kinds)
            items = f" of {' or '.join(kind.__name__ for kind in _COLUMNS[field.type])}" if ARRAY in kinds else ""
            place = f"`{table.name}.{name}` of {table.c[name].type!r}"
            yield f"{field.full_name} does not fit into {place}: use {allowed}{items}"
    if not _column_types_of(field):
        yield f"{field.full_name} is of a type that no column holds: name it in computed=..."


def _has_items(kind: AnyType, field: FieldDescriptor) -> bool:
    """Whether the items of an array hold those of a list."""
    return not isinstance(kind, ARRAY) or isinstance(kind.item_type, _COLUMNS.get(field.type, ()))


def _columns_of(field: FieldDescriptor, table: Table) -> list[AnyColumn]:
    """The columns that hold a field; none for a field without."""
    names = [field.name + suffix for suffix, _ in _column_types_of(field)]
    return [table.c[name] for name in names if name in table.c]


def _column_types_of(field: FieldDescriptor) -> list[tuple[str, tuple[type[AnyType], ...]]]:
    """What the columns of a field are called behind its name, and their types. None for a type that no column holds."""
    codec = codec_of(field)
    if codec is not None:
        if field.message_type is not None and field.message_type.full_name in WITHOUT:
            return []
        return [(suffix, (kind,)) for suffix, kind in codec.columns]
    kinds = _COLUMNS.get(field.type, ())
    return [("", (ARRAY,) if field.is_repeated else kinds)] if kinds else []


def _is_time(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == TIMESTAMP and not field.is_repeated


_INTEGERS: tuple[type[AnyType], ...] = (SmallInteger, Integer, BigInteger)
_COLUMNS: dict[int, tuple[type[AnyType], ...]] = {
    FieldDescriptor.TYPE_STRING: (Text, String, UUID),
    FieldDescriptor.TYPE_BOOL: (Boolean,),
    FieldDescriptor.TYPE_BYTES: (LargeBinary,),
    FieldDescriptor.TYPE_DOUBLE: (Double,),
    FieldDescriptor.TYPE_FLOAT: (Double, Float),
    FieldDescriptor.TYPE_ENUM: _INTEGERS,
    FieldDescriptor.TYPE_INT32: _INTEGERS,
    FieldDescriptor.TYPE_SINT32: _INTEGERS,
    FieldDescriptor.TYPE_SFIXED32: _INTEGERS,
    FieldDescriptor.TYPE_INT64: (BigInteger,),
    FieldDescriptor.TYPE_SINT64: (BigInteger,),
    FieldDescriptor.TYPE_SFIXED64: (BigInteger,),
    # PostgreSQL has no unsigned integers.
    FieldDescriptor.TYPE_UINT32: (BigInteger,),
    FieldDescriptor.TYPE_FIXED32: (BigInteger,),
}


def _store_of(field: FieldDescriptor) -> Callable[[Message], FieldValue]:
    """The function that reads the parameter of a scalar, or of a list of scalars, from a message."""
    name = field.name
    if field.is_repeated:
        return lambda message: list(getattr(message, name))
    if field.has_presence:
        return lambda message: getattr(message, name) if message.HasField(name) else None
    return attrgetter(name)


def _id_store_of(field: FieldDescriptor) -> Callable[[Message], str | None]:
    """The function that reads the parameter of an id. A column of ids holds no empty text: unset and empty are NULL."""
    name = field.name
    return lambda message: value_of(message, name) or None
