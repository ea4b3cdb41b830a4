"""The comments of the contract. Descriptors at run time lack them; the source info of a descriptor set has them."""

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

# Field numbers in descriptor.proto, of which the paths of source locations are made.
FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES = 4, 5, 6
MESSAGE_FIELDS, MESSAGE_MESSAGES, MESSAGE_ENUMS = 2, 3, 4
ENUM_VALUES, SERVICE_METHODS = 2, 2

Path = tuple[int, ...]
Named = tuple[str, Path]
"""A full name, and the path of its location."""


def read_comments(descriptor_set: bytes) -> Mapping[str, str]:
    """The leading comment of each message, field, enum, value, service and RPC that has one, by full name.

    Each is one paragraph. The name of a value is below that of its enum: `plinth.sites.v1.Page.Status.STATUS_DRAFT`.
    """
    found = {}
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        comments = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        for name, path in _names(file):
            comment = " ".join(comments.get(path, "").split())
            if comment:
                found[name] = comment
    return found


def _names(file: FileDescriptorProto) -> Iterator[Named]:
    yield from _of_enums(file.package, file.enum_type, (FILE_ENUMS,))
    yield from _of_messages(file.package, file.message_type, (FILE_MESSAGES,))
    for place, service in enumerate(file.service):
        name, path = f"{file.package}.{service.name}", (FILE_SERVICES, place)
        yield name, path
        for number, method in enumerate(service.method):
            yield f"{name}.{method.name}", (*path, SERVICE_METHODS, number)


def _of_messages(scope: str, messages: Sequence[DescriptorProto], above: Path) -> Iterator[Named]:
    for place, message in enumerate(messages):
        name, path = f"{scope}.{message.name}", (*above, place)
        yield name, path
        for number, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*path, MESSAGE_FIELDS, number)
        yield from _of_enums(name, message.enum_type, (*path, MESSAGE_ENUMS))
        yield from _of_messages(name, message.nested_type, (*path, MESSAGE_MESSAGES))


def _of_enums(scope: str, enums: Sequence[EnumDescriptorProto], above: Path) -> Iterator[Named]:
    for place, enum in enumerate(enums):
        name, path = f"{scope}.{enum.name}", (*above, place)
        yield name, path
        for number, value in enumerate(enum.value):
            yield f"{name}.{value.name}", (*path, ENUM_VALUES, number)
