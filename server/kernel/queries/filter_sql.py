"""The SQL of a filter, for the fields that a resource declares filterable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from uuid import UUID

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from sqlalchemy import ARRAY, ColumnElement, Table, and_, any_, bindparam, false, func, literal_column, not_, or_
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import BigInteger, SmallInteger

from server.data.clauses import AnyExpression, AnyType
from server.enum_names import short_names, told
from server.kernel.messages.fields import enum_values
from server.kernel.messages.money import MONEY, NoMoney, read_money
from server.kernel.problems import Malformed, Reason
from server.kernel.queries.filters import Comparison, Filter, Group, Node, Value, comparisons

Parameter = str | int | bool | float | datetime

SQL_OPERATORS = {"=": "=", "!=": "IS DISTINCT FROM", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# Forms of SQL in which nothing is compared with a value.
WITHOUT_VALUE = ("is_set", "has_any")
ORDERED = ("<", "<=", ">", ">=")
TIMESTAMP = "google.protobuf.Timestamp"
DATE = "google.type.Date"
DOUBLES = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
LARGEST_OFFSET = timedelta(hours=15, minutes=59)
"""PostgreSQL accepts no time with a larger offset."""


@dataclass(frozen=True, slots=True)
class BoundFilter:
    """A filter with its fields resolved and its values parsed. Filters with equal `key` have the same SQL."""

    shape: Node | None
    forms: tuple[str, ...]
    parameters: Mapping[str, object]

    @property
    def key(self) -> tuple[object, ...]:
        """All that the SQL depends on."""
        return (self.shape, self.forms)


class FilterPlan:
    """The filterable fields of one resource."""

    def __init__(self, fields: Mapping[str, FieldDescriptor], table: Table, names: tuple[str, ...]) -> None:
        """Raises TypeError for a field that no filter can name."""
        for name in names:
            if not _can_be_compared(fields[name]):
                raise TypeError(f"{fields[name].full_name} cannot be filtered: take it out of Resource(filterable=...)")
        money = [name for name in names if is_money(fields[name])]
        self._columns: dict[str, AnyExpression] = {
            name: table.c[f"{name}_minor" if name in money else name] for name in names
        }
        self._currencies = {name: table.c[f"{name}_currency"] for name in money}
        self._fields = {name: fields[name] for name in names}
        # Not every id is a UUID: a request id is chosen by the caller.
        self._ids = frozenset(name for name in names if isinstance(self._columns[name].type, postgresql.UUID))
        self._names = {fields[name].json_name: name for name in names} | {name: name for name in names}

    def bind(self, parsed: Filter) -> BoundFilter:
        """Resolve the fields and parse the values. Raises Malformed for an unknown field or an impossible value."""
        forms: list[str] = []
        parameters: dict[str, object] = {}
        for comparison in comparisons(parsed.shape):
            value = parsed.values[comparison.place]
            field = self._field(comparison)
            form = _form(comparison, field, value, is_id=field.name in self._ids)
            forms.append(form)
            if form not in WITHOUT_VALUE:
                parameters |= self._parameters(comparison, field, value, form)
        return BoundFilter(parsed.shape, tuple(forms), parameters)

    def _parameters(self, comparison: Comparison, field: FieldDescriptor, value: Value, form: str) -> dict[str, object]:
        name = f"filter_{comparison.place}"
        if form == "money":
            minor, currency = _money(comparison, field, value)
            return {name: minor, f"{name}_currency": currency}
        return {name: _read(comparison, field, value, form, _kind_of(self._columns[field.name]))}

    def condition(self, bound: BoundFilter) -> ColumnElement[bool] | None:
        """The SQL of a filter, with its values as parameters. None if the filter is empty."""
        return None if bound.shape is None else self._node(bound.shape, bound.forms)

    def _node(self, node: Node, forms: tuple[str, ...]) -> ColumnElement[bool]:
        if isinstance(node, Group):
            parts = [self._node(part, forms) for part in node.parts]
            if node.operator == "not":
                # A comparison with null does not match, so its negation does.
                return not_(func.coalesce(parts[0], false()))
            return and_(*parts) if node.operator == "and" else or_(*parts)
        return self._comparison(node, forms[node.place])

    def _comparison(self, comparison: Comparison, form: str) -> ColumnElement[bool]:
        column = self._columns[self._names[comparison.field]]
        if form in WITHOUT_VALUE:
            return self._is_set(self._fields[self._names[comparison.field]], column)
        parameter: AnyExpression = bindparam(f"filter_{comparison.place}", type_=_kind_of(column))
        if form == "member":
            return parameter == any_(column)
        if form == "money":
            return self._compare_money(comparison, column, parameter)
        if form == "contains":
            return column.ilike(parameter)
        if form == "like":
            match = column.like(parameter)
            return match if comparison.operator == "=" else not_(func.coalesce(match, false()))
        return column.bool_op(SQL_OPERATORS[comparison.operator])(parameter)

    def _is_set(self, field: FieldDescriptor, column: AnyExpression) -> ColumnElement[bool]:
        """Text without presence and lists count as set if they are not empty (AIP-160)."""
        if field.is_repeated:
            return func.cardinality(column) > literal_column("0")
        is_text = _is_text(field, is_id=field.name in self._ids)
        return column != literal_column("''") if is_text else column.is_not(None)

    def _compare_money(
        self, comparison: Comparison, minor: AnyExpression, parameter: AnyExpression
    ) -> ColumnElement[bool]:
        """Amounts of two currencies have no order, and are never equal."""
        currency = self._currencies[self._names[comparison.field]]
        same = currency == bindparam(f"filter_{comparison.place}_currency", type_=currency.type)
        compared = minor.bool_op(SQL_OPERATORS[comparison.operator])(parameter)
        return or_(not_(same), compared) if comparison.operator == "!=" else and_(same, compared)

    def _field(self, comparison: Comparison) -> FieldDescriptor:
        name = self._names.get(comparison.field)
        if name is None:
            allowed = ", ".join(self._fields)
            raise _refused(comparison, f"`{comparison.field}` cannot be filtered; these can: {allowed}")
        return self._fields[name]


def _refused(comparison: Comparison, message: str) -> Malformed:
    return Malformed(f"filter: {message}.", reason=Reason.REASON_FILTER_INVALID, metadata={"field": comparison.field})


def _is_text(field: FieldDescriptor, *, is_id: bool) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and not is_id


def _form(comparison: Comparison, field: FieldDescriptor, value: Value, *, is_id: bool) -> str:
    """The form of SQL that a comparison needs."""
    is_text = _is_text(field, is_id=is_id)
    if field.is_repeated:
        return _form_of_list(comparison, field, value)
    if comparison.operator == ":":
        if value.text == "*" and not value.quoted:
            return "is_set"
        if not is_text:
            raise _refused(comparison, f"`:` asks `{field.name}` for `*` (is set) only")
        return "contains"
    if is_money(field):
        return "money"
    unordered = is_id or field.enum_type is not None or field.type == FieldDescriptor.TYPE_BOOL
    if comparison.operator in ORDERED and unordered:
        raise _refused(comparison, f"`{field.name}` has no order: use = or !=")
    if is_text and comparison.operator not in ORDERED and value.quoted and _has_wildcard(value.text):
        return "like"
    return "plain"


def _kind_of(column: AnyExpression) -> AnyType:
    """The type of the values that a column is compared with: for an array, of its items."""
    return column.type.item_type if isinstance(column.type, ARRAY) else column.type


def _form_of_list(comparison: Comparison, field: FieldDescriptor, value: Value) -> str:
    """A list is asked for a member, or whether it has any (AIP-160)."""
    if comparison.operator != ":":
        raise _refused(comparison, f"`{field.name}` is a list: use `:` to ask for a member")
    return "has_any" if value.text == "*" and not value.quoted else "member"


def _money(comparison: Comparison, field: FieldDescriptor, value: Value) -> tuple[int, str]:
    """The minor units and the currency that an amount is compared with."""
    try:
        return read_money(value.text)
    except NoMoney as error:
        raise _refused(comparison, f"`{field.name}` cannot be {value.text!a}: it {error}") from error


def is_money(field: FieldDescriptor) -> bool:
    """Whether a field is an amount, which is stored in two columns."""
    return field.message_type is not None and field.message_type.full_name == MONEY and not field.is_repeated


def _has_wildcard(text: str) -> bool:
    return text.startswith("*") or text.endswith("*")


def _read(comparison: Comparison, field: FieldDescriptor, value: Value, form: str, kind: AnyType) -> Parameter:
    """The parameter of a comparison with a column of this type. Raises Malformed for a value that does not fit."""
    try:
        if form == "contains":
            return f"%{_escape(value.text)}%"
        if form == "like":
            return _like_pattern(value.text)
        return _scalar(field, value.text, kind)
    except ValueError as error:
        raise _refused(comparison, f"`{field.name}` cannot be {value.text!a}: {error}") from error


def _scalar(field: FieldDescriptor, text: str, kind: AnyType) -> Parameter:
    if field.enum_type is not None:
        return _enum_number(field.enum_type, text)
    if field.message_type is not None:
        return _time(text) if field.message_type.full_name == TIMESTAMP else date.fromisoformat(text).isoformat()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean(text)
    if field.type == FieldDescriptor.TYPE_STRING:
        return str(UUID(text)) if isinstance(kind, postgresql.UUID) else _storable(text)
    return _double(text) if field.type in DOUBLES else _integer(text, kind)


def _can_be_compared(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        return field.message_type.full_name in (TIMESTAMP, DATE, MONEY) and not field.is_repeated
    return field.type != FieldDescriptor.TYPE_BYTES


def _double(text: str) -> float:
    """A finite number, which is all that JSON can show."""
    number = float(text)
    if not isfinite(number):
        raise ValueError("it is a finite number")
    return number


def _integer(text: str, kind: AnyType) -> int:
    """An integer that a column of this type can hold."""
    if not WHOLE_NUMBER.fullmatch(text):
        raise ValueError("it is a whole number")
    number, bits = int(text), _bits(kind)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(f"it has at most {bits} bits")
    return number


def _bits(kind: AnyType) -> int:
    """The size of an integer column in bits. BigInteger is a subclass of Integer."""
    if isinstance(kind, SmallInteger):
        return 16
    return 64 if isinstance(kind, BigInteger) else 32


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("text has no NUL")
    return text


def _enum_number(enum: EnumDescriptor, text: str) -> int:
    """The number of `PUBLISHED`, `published` or `STATUS_PUBLISHED`."""
    values = enum_values(enum)
    number = (values | short_names(values)).get(text.upper())
    if number is None:
        raise ValueError(f"it is one of {told(values)}")
    return number


def _time(text: str) -> datetime:
    """A time in RFC 3339; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    offset = moment.utcoffset()
    if offset is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # In Python, the years in UTC end at 9999; in PostgreSQL they do not.
        if abs(offset) > LARGEST_OFFSET or offset.seconds % 60 or offset.microseconds:
            raise ValueError("it is beyond what a timestamp holds") from None
        return moment


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("it is true or false")
    return text == "true"


def _escape(text: str) -> str:
    """Text with LIKE's wildcards escaped."""
    return re.sub(r"([\\%_])", r"\\\1", _storable(text))


def _like_pattern(text: str) -> str:
    start = "%" if text.startswith("*") else ""
    end = "%" if text.endswith("*") and len(text) > 1 else ""
    inner = text[len(start) : len(text) - len(end)]
    return f"{start}{_escape(inner)}{end}"
