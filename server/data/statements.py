"""Statements: described with SQLAlchemy Core, compiled once, sent by libpq.

Compiling costs about 300 us, running a compiled statement about 30 us of client time, so statements are made at import
or kept by their shape (shapes.py). A statement is compiled at its first use, because a process uses only some of those
that it imports.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement, Insert
from sqlalchemy.sql.compiler import SQLCompiler

from server.data.clauses import AnyType
from server.json_values import JsonValue

# Used only for its parameter style ($1::UUID), which is that of libpq.
_dialect: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_numbers = count(1)

# PostgreSQL counts microseconds from 2000-01-01 (binary format of timestamptz).
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
POSTGRES_EPOCH_SECONDS = int(POSTGRES_EPOCH.timestamp())

Clause = ClauseElement | Callable[[], ClauseElement]
ColumnValue = Any
"""The value of a column in a row. Its type is known where the statement is written, but not to a type checker."""
Row = dict[str, ColumnValue]
Decoder = Callable[[bytes], object]
Encoder = Callable[[ColumnValue], bytes | None]


class Statement:
    """One statement: its SQL, its parameters in order, and the decoders of its columns.

    Results are requested in binary format, in which an integer is decoded ten times as fast as from text.
    """

    __slots__ = ("_clause", "columns", "constants", "decoders", "formats", "is_kept", "name", "parameters", "sql")

    columns: tuple[str, ...]
    constants: Row
    decoders: tuple[Decoder, ...]
    formats: list[int] | None
    parameters: tuple[str, ...]
    sql: bytes

    def __init__(self, clause: Clause, *, is_kept: bool = True) -> None:
        """`clause` may be a function that describes the clause.

        It is called for compiling: a description costs about 100 us.

        `is_kept`: connections keep it prepared. A statement that may never be used again is parsed each time.
        """
        self._clause: Clause | None = clause
        self.name = b"s%d" % next(_numbers)
        self.is_kept = is_kept

    def __getattr__(self, name: str) -> object:
        """Compile at the first access to a compiled attribute. Afterwards the attribute is in its slot."""
        if name not in _COMPILED:
            raise AttributeError(name)
        self.compile()
        return getattr(self, name)

    def compile(self) -> None:
        """Compile once. Two threads that do so at once get equal results."""
        clause = self._clause
        if clause is None:
            return
        if not isinstance(clause, ClauseElement):
            clause = clause()
        if isinstance(clause, Insert) and not clause.exported_columns:
            # Otherwise SQLAlchemy would have generated keys returned, for an ORM that is not used here.
            clause = clause.inline()
        compiled = clause.compile(dialect=_dialect)
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - a narrowing for the type checker
        columns = _result_columns(compiled)
        self.columns = tuple(name for name, _ in columns)
        self.decoders = tuple(decoder_of(kind) for _, kind in columns)
        self.parameters = tuple(compiled.positiontup or ())
        self.constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        self.formats = _formats(compiled, self.parameters)
        self.sql = str(compiled).encode()
        # The description takes far more memory than the compiled statement.
        self._clause = None

    def encode(self, parameters: Mapping[str, object]) -> list[bytes | None]:
        """The parameters in libpq's format.

        Raises KeyError for a missing parameter or one whose type has no encoder, and UnicodeError for a NUL.
        """
        given = {**self.constants, **parameters} if self.constants else parameters
        return [_ENCODERS[type(value)](value) for value in map(given.__getitem__, self.parameters)]


_COMPILED = frozenset(("columns", "constants", "decoders", "formats", "parameters", "sql"))


def _formats(compiled: SQLCompiler, parameters: Sequence[str]) -> list[int] | None:
    """Bytes are sent in binary, everything else as text. None if all is text."""
    formats = [1 if isinstance(compiled.binds[name].type, LargeBinary) else 0 for name in parameters]
    return formats if any(formats) else None


def _result_columns(compiled: SQLCompiler) -> list[tuple[str, AnyType]]:
    entries = compiled._result_columns  # noqa: SLF001 - the only place where the compiler keeps them
    return [(entry.name, entry.type) for entry in entries]


def _encode_list(values: Sequence[ColumnValue]) -> bytes:
    """An array. PostgreSQL reads each item, in quotes, as it reads a value of the item's type."""
    items = [item for value in values if (item := _ENCODERS[type(value)](value)) is not None]
    if len(items) != len(values):
        raise TypeError("an array holds no NoneType")
    quoted = (b'"' + item.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for item in items)
    return b"{" + b",".join(quoted) + b"}"


def _encode_text(value: str) -> bytes:
    """Text in UTF-8. Refuses a NUL, at which libpq would silently cut it."""
    if "\0" in value:
        raise UnicodeError("PostgreSQL stores no NUL in text")
    return value.encode()


def _encode_time(value: datetime) -> bytes:
    return value.isoformat().encode()


_ENCODERS: dict[type, Encoder] = {
    str: _encode_text,
    int: lambda value: b"%d" % value,
    bool: lambda value: b"t" if value else b"f",
    # The shortest text that reads as the same double.
    float: lambda value: repr(value).encode(),
    type(None): lambda _: None,
    bytes: bytes,
    datetime: _encode_time,
    timedelta: lambda value: f"{value.total_seconds()} seconds".encode(),
    list: _encode_list,
    tuple: _encode_list,
    dict: lambda value: json.dumps(value, separators=(",", ":")).encode(),
}


def uuid_text(value: bytes) -> str:
    """The 16 bytes of a UUID in canonical text form (three times as fast as uuid.UUID)."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def decode_text(value: bytes) -> str:
    """UTF-8 text."""
    return value.decode()


def decode_int(value: bytes) -> int:
    """A signed integer of 2, 4 or 8 bytes."""
    return int.from_bytes(value, "big", signed=True)


def decode_bool(value: bytes) -> bool:
    """A boolean."""
    return value == b"\x01"


def decode_time(value: bytes) -> datetime:
    """A timestamptz."""
    return POSTGRES_EPOCH + timedelta(microseconds=int.from_bytes(value, "big", signed=True))


def decode_json(value: bytes) -> JsonValue:
    """A jsonb. Its binary format is a version byte and the text."""
    read: JsonValue = json.loads(value[1:])
    return read


def decode_float(value: bytes) -> float:
    """A float of 4 or 8 bytes."""
    number: float
    (number,) = _DOUBLE.unpack(value) if len(value) == _DOUBLE.size else _FLOAT.unpack(value)
    return number


def decode_date(value: bytes) -> date:
    """A date: days since 2000-01-01."""
    return POSTGRES_EPOCH.date() + timedelta(days=decode_int(value))


def microseconds_of_interval(value: bytes) -> int:
    """An interval, with days of 24 hours and months of 30 days."""
    rest, days, months = _INTERVAL.unpack(value)
    return int(rest) + (int(days) + int(months) * 30) * 86_400_000_000


def decode_interval(value: bytes) -> timedelta:
    """An interval, with days of 24 hours and months of 30 days."""
    return timedelta(microseconds=microseconds_of_interval(value))


def decode_array(value: bytes, decode: Decoder) -> list[object]:
    """A one-dimensional array without nulls (binary: header, then length and bytes of each item)."""
    if int.from_bytes(value[:4], "big") == 0:
        return []
    items, position = [], 20
    while position < len(value):
        size = int.from_bytes(value[position : position + 4], "big")
        items.append(decode(value[position + 4 : position + 4 + size]))
        position += 4 + size
    return items


_DOUBLE, _FLOAT, _INTERVAL = struct.Struct(">d"), struct.Struct(">f"), struct.Struct(">qii")
_DECODERS: tuple[tuple[type[AnyType], Decoder], ...] = (
    (UUID, uuid_text),
    (JSONB, decode_json),
    (DateTime, decode_time),
    (Boolean, decode_bool),
    (LargeBinary, bytes),
    (Text, decode_text),
    (String, decode_text),
    (SmallInteger, decode_int),
    (BigInteger, decode_int),
    (Integer, decode_int),
    (Float, decode_float),
    (Date, decode_date),
    (Interval, decode_interval),
)


def decoder_of(kind: AnyType) -> Decoder:
    """The decoder of a column of this type."""
    if isinstance(kind, ARRAY):
        return partial(decode_array, decode=decoder_of(kind.item_type))
    for known, decoder in _DECODERS:
        if isinstance(kind, known):
            return decoder
    raise TypeError(f"no decoder reads a column of type {kind!r}: cast it in the statement")
