"""Messages as the JSON of REST: names in camelCase, and enum values with or without their prefix."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from plinth.client.rpc import Req

Json = dict[str, Any]
_UNSPECIFIED = "UNSPECIFIED"
# protobuf 5.26 has renamed it, and the next version has removed the former name.
_SHOWS_EMPTY, _SHOWED_EMPTY = "always_print_fields_with_no_presence", "including_default_value_fields"
_OPTIONS = inspect.signature(json_format.MessageToDict).parameters
_SHOWN: Mapping[str, Any] = {(_SHOWS_EMPTY if _SHOWS_EMPTY in _OPTIONS else _SHOWED_EMPTY): True}


def message_of(kind: type[Req], value: object) -> Req:
    """A message from an object as `json.loads` reads it.

    Enum values are named as over REST: `STATUS_PUBLISHED`, `PUBLISHED` and `published` are the same. Raises ValueError,
    in words, for anything else than an object, for unknown fields, and for values of another type.
    """
    if not isinstance(value, dict):
        raise ValueError("the request has to be a JSON object")  # noqa: TRY004 - the value is wrong, not the call
    try:
        # The types of protobuf do not say that an instance comes out as what went in.
        message: Req = json_format.ParseDict(_spelled_out(kind.DESCRIPTOR, value, ""), kind())
    except json_format.ParseError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return message


def json_of(message: Message) -> Json:
    """A message as an object for `json.dumps`. Empty fields are shown, except unset messages."""
    shown: Json = json_format.MessageToDict(message, **_SHOWN)
    return shown


def _spelled_out(descriptor: Any, value: Mapping[str, object], path: str) -> dict[str, object]:
    """The object with the full names of its enum values. `path` leads to it, and ends with a dot unless it is empty."""
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for name in value:
        if name not in fields:
            known = ", ".join(field.json_name for field in descriptor.fields)
            raise ValueError(f"{path}{name} is no field of {descriptor.name}, which has: {known or 'none'}")
    return {name: each if each is None else _in_field(fields[name], each, path + name) for name, each in value.items()}


def _in_field(field: Any, value: object, path: str) -> object:
    if isinstance(value, list) and _is_repeated(field):
        return [_in_field(field, each, f"{path}[{index}]") for index, each in enumerate(value)]
    if field.enum_type is not None:
        return _full_name(field.enum_type, value, path) if isinstance(value, str) else value
    kind = field.message_type
    if kind is None or kind.full_name.startswith("google.protobuf."):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{path} has to be a JSON object")  # noqa: TRY004 - the value is wrong, not the call
    if kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {name: _in_field(inner, each, f"{path}.{name}") for name, each in value.items()}
    return _spelled_out(kind, value, f"{path}.")


def _is_repeated(field: Any) -> bool:
    """Versions of protobuf before 6.31 have only `label`, which later ones deprecate."""
    is_repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if is_repeated is None else is_repeated)


def _full_name(enum: Any, name: str, path: str) -> str:
    for each in _spellings(enum, name):
        if each in enum.values_by_name:
            return each
    known = ", ".join(str(value.name) for value in enum.values[1:])
    raise ValueError(f"{path}: `{name}` is none of {known}")


def _spellings(enum: Any, name: str) -> Iterator[str]:
    yield name
    yield name.upper()
    first = str(enum.values[0].name)
    if first.endswith(f"_{_UNSPECIFIED}"):
        yield first[: -len(_UNSPECIFIED)] + name.upper()
