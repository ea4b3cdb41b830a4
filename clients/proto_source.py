"""The source of a .proto file, printed from its descriptor.

protovalidate is distributed for Python and JavaScript without buf/validate/validate.proto, which every file of ours
imports. What is printed has no comments, since the descriptor has none. It covers what that file uses: proto2 and
proto3 messages, enums, oneofs, extensions and their options, but neither services, groups nor maps.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

INDENT = "  "
MOST = 536_870_912
"""The end of the largest extension range, which is written `max`."""
LABELS = {
    FieldDescriptorProto.LABEL_OPTIONAL: "optional ",
    FieldDescriptorProto.LABEL_REPEATED: "repeated ",
    FieldDescriptorProto.LABEL_REQUIRED: "required ",
}


def proto_source(files: descriptor_pb2.FileDescriptorSet, name: str) -> str:
    """The source of one file of a set that has all its imports, which stand before it."""
    pool = DescriptorPool()
    for each in files.file:
        pool.AddSerializedFile(each.SerializeToString())
    # A message class of this pool reads the extensions that the file itself defines for its options.
    kind = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FileDescriptorProto"))
    file: Any = kind.FromString(next(each for each in files.file if each.name == name).SerializeToString())
    return "\n".join(_file(file)) + "\n"


def _file(file: Any) -> Iterator[str]:
    yield f'syntax = "{file.syntax or "proto2"}";'
    yield f"\npackage {file.package};\n"
    public = {file.dependency[place] for place in file.public_dependency}
    yield from (f'import {"public " if name in public else ""}"{name}";' for name in file.dependency)
    yield ""
    yield from (f"option {option};" for option in _options(file))
    for extendee, extensions in groupby(file.extension, lambda extension: extension.extendee):
        yield f"\nextend {_type(extendee, file)} {{"
        yield from (INDENT + _field(extension, file) for extension in extensions)
        yield "}"
    for message in file.message_type:
        yield ""
        yield from _message(message, file)
    for enum in file.enum_type:
        yield ""
        yield from _enum(enum)


def _message(message: Any, file: Any) -> Iterator[str]:
    yield f"message {message.name} {{"
    yield from _indented(f"option {option};" for option in _options(message))
    yield from _indented(_reserved(message, [(each.start, each.end - 1) for each in message.reserved_range]))
    for nested in message.nested_type:
        yield from _indented(_message(nested, file))
    for enum in message.enum_type:
        yield from _indented(_enum(enum))
    for place, fields in groupby(message.field, _oneof_of):
        lines = [_field(field, file) for field in fields]
        if place is None:
            yield from _indented(lines)
        else:
            oneof = message.oneof_decl[place]
            yield from _indented([f"oneof {oneof.name} {{"])
            yield from _indented(_indented([*(f"option {option};" for option in _options(oneof)), *lines]))
            yield from _indented(["}"])
    yield from (
        f"{INDENT}extensions {each.start} to {'max' if each.end == MOST else each.end - 1};"
        for each in message.extension_range
    )
    yield "}"


def _oneof_of(field: Any) -> int | None:
    """The index of the oneof that a field is in, or None. The oneof that protoc makes for `optional` does not count."""
    return field.oneof_index if field.HasField("oneof_index") and not field.proto3_optional else None


def _field(field: Any, file: Any) -> str:
    """One field. Those of a oneof have no label, nor those of proto3 without presence."""
    is_plain = file.syntax == "proto3" and field.label == field.LABEL_OPTIONAL and not field.proto3_optional
    label = "" if is_plain or _oneof_of(field) is not None else LABELS[field.label]
    kind = _type(field.type_name, file) if field.type_name else field.Type.Name(field.type)[5:].lower()
    default = [f"default = {_default(field)}"] if field.HasField("default_value") else []
    options = ", ".join([*default, *_options(field)])
    return f"{label}{kind} {field.name} = {field.number}{f' [{options}]' if options else ''};"


def _default(field: Any) -> str:
    return _quote(field.default_value) if field.type == field.TYPE_STRING else str(field.default_value)


def _enum(enum: Any) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    yield from _indented(f"option {option};" for option in _options(enum))
    yield from _indented(_reserved(enum, [(each.start, each.end) for each in enum.reserved_range]))
    for value in enum.value:
        options = ", ".join(_options(value))
        yield f"{INDENT}{value.name} = {value.number}{f' [{options}]' if options else ''};"
    yield "}"


def _reserved(holder: Any, ranges: list[tuple[int, int]]) -> Iterator[str]:
    if ranges:
        yield f"reserved {', '.join(str(low) if low == high else f'{low} to {high}' for low, high in ranges)};"
    if holder.reserved_name:
        yield f"reserved {', '.join(map(_quote, holder.reserved_name))};"


def _options(holder: Any) -> Iterator[str]:
    """Every option that is set, as `name = value`."""
    for field, value in holder.options.ListFields():
        name = f"({field.full_name})" if field.is_extension else field.name
        for each in value if field.is_repeated else [value]:
            yield f"{name} = {_option_value(field, each)}"


def _option_value(field: Any, value: Any) -> str:
    if isinstance(value, Message):
        return f"{{ {text_format.MessageToString(value, as_one_line=True)} }}"
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return str(value).lower()
    return _quote(value) if isinstance(value, str) else str(value)


def _type(name: str, file: Any) -> str:
    """A type's name, without the package that the file is in."""
    return name.removeprefix(f".{file.package}.").lstrip(".")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (INDENT + line for line in lines)
