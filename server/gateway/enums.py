"""Enums over REST: a value may be named without the prefix that its enum has in the .proto, and in small letters.

`PUBLISHED` and `published` mean `STATUS_PUBLISHED`. Answers have the whole name.
"""

from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pb2

from server.enum_names import short_names
from server.gateway.contract import messages_below

Enum = descriptor_pb2.EnumDescriptorProto


def values_of(enum: Enum) -> dict[str, int]:
    """Its values by name."""
    return {value.name: value.number for value in enum.value}


def add_short_names(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
    """Add the short names to the enums, as aliases, which the transcoder then parses. It prints the first name.

    Values are declared in the scope around their enum, in which two enums may have the same short names. Each enum
    therefore moves into a message of its own.
    """
    moved: dict[str, str] = {}
    listed = list(files)
    for file in listed:
        moved |= _enclose(file, f".{file.package}", file.enum_type, file.message_type)
    for field in (field for file in listed for field in _fields(file) if field.type_name in moved):
        field.type_name = moved[field.type_name]


def _enclose(
    parent: descriptor_pb2.FileDescriptorProto | descriptor_pb2.DescriptorProto,
    scope: str,
    enums: Iterable[Enum],
    messages: Iterable[descriptor_pb2.DescriptorProto],
) -> dict[str, str]:
    """Move the enums of a file or message into messages of their own. Returns the new full names by the old ones."""
    moved: dict[str, str] = {}
    for message in list(messages):
        moved |= _enclose(message, f"{scope}.{message.name}", message.enum_type, message.nested_type)
    stay = [enum for enum in enums if not short_names(values_of(enum))]
    for enum in (enum for enum in enums if short_names(values_of(enum))):
        added = parent.message_type if isinstance(parent, descriptor_pb2.FileDescriptorProto) else parent.nested_type
        around = added.add(name=f"{enum.name}Scope")
        around.enum_type.add().CopyFrom(enum)
        _add_aliases(around.enum_type[0])
        moved[f"{scope}.{enum.name}"] = f"{scope}.{around.name}.{enum.name}"
    del parent.enum_type[:]
    parent.enum_type.extend(stay)
    return moved


def _add_aliases(enum: Enum) -> None:
    for name, number in short_names(values_of(enum)).items():
        enum.value.add(name=name, number=number)
        enum.options.allow_alias = True


def _fields(file: descriptor_pb2.FileDescriptorProto) -> Iterator[descriptor_pb2.FieldDescriptorProto]:
    yield from file.extension
    for _, message in messages_below(file.package, file.message_type):
        yield from message.field
        yield from message.extension
