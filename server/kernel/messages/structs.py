"""Free-form JSON in messages: Struct, ListValue and Value, from plain values and back."""

import json
import math
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.timestamp_pb2 import Timestamp

from server.kernel.problems import RuleViolated

STRUCT = Struct.DESCRIPTOR.full_name
LIST_VALUE = ListValue.DESCRIPTOR.full_name
TIMESTAMP = Timestamp.DESCRIPTOR.full_name
# Beyond it, doubles no longer hold every whole number.
LARGEST_EXACT = 2.0**53

# Made once: json.dumps makes one for every call that is not all defaults.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


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
