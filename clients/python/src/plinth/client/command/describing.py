"""What an RPC takes and answers, in words."""

import json
import textwrap
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from plinth.client.command.contract import Contract, Method

WIDTH = 100
_KINDS = {value: name.removeprefix("TYPE_").lower() for name, value in Field.Type.items()}
_TEXTS = {
    "google.protobuf.Timestamp": "2026-11-28T12:00:00Z",
    "google.protobuf.Duration": "1.5s",
    "google.protobuf.FieldMask": "title,slug",
}


def describe(contract: Contract, method: Method) -> str:
    """The RPC with its comment, the fields of its request and its answer, and a request to fill in."""
    lines = [method.long_name, *_wrapped(method.comment, "  "), ""]
    for title, name in (("Request", method.proto.input_type), ("Answer", method.proto.output_type)):
        stream = " (a stream)" if title == "Answer" and method.proto.server_streaming else ""
        lines += [f"{title}: {_short(name)}{stream}", *_fields(contract, name), ""]
    request = json.dumps(_example(contract, method.proto.input_type, ()), ensure_ascii=False)
    return "\n".join([*lines, f"plinth call {method.long_name} '{request}'", ""])


def _fields(contract: Contract, message: str) -> Iterator[str]:
    for field, comment in contract.fields(message):
        yield f"  {field.json_name}: {_kind(field)}"
        yield from _wrapped(comment, "      ")


def _kind(field: Field) -> str:
    kind = _short(field.type_name) if field.type_name else _KINDS[field.type]
    return f"list of {kind}" if field.label == Field.LABEL_REPEATED else kind


def _short(name: str) -> str:
    return name.rpartition(".")[2] if name.startswith(".plinth.") else name.lstrip(".")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _example(contract: Contract, message: str, above: tuple[str, ...]) -> dict[str, object]:
    """A request with a value of the right type in each field."""
    return {field.json_name: _value(contract, field, above) for field, _ in contract.fields(message)}


def _value(contract: Contract, field: Field, above: tuple[str, ...]) -> object:
    value = _single(contract, field, above)
    return [value] if field.label == Field.LABEL_REPEATED else value


def _single(contract: Contract, field: Field, above: tuple[str, ...]) -> object:
    name = field.type_name.lstrip(".")
    if name in _TEXTS:
        return _TEXTS[name]
    if field.type == Field.TYPE_MESSAGE:
        try:
            return {} if name in above or name.startswith("google.") else _example(contract, name, (*above, name))
        except LookupError:
            # A message within another one, such as that of a map.
            return {}
    if field.type == Field.TYPE_BOOL:
        return False
    if field.type in (Field.TYPE_STRING, Field.TYPE_BYTES, Field.TYPE_ENUM):
        return ""
    return 0
