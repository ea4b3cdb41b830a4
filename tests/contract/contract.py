"""The contract as data: the real descriptors, and copies of them with a fault planted."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

from server import app

PAGES = "plinth/sites/v1/page.proto"
SECTIONS = "plinth/sites/v1/section.proto"
AUTH = "plinth/identity/v1/auth.proto"
USERS = "plinth/identity/v1/user.proto"
API_KEYS = "plinth/identity/v1/api_key.proto"
OURS = "plinth/"
OPTIONS_ONLY = "plinth/policy/"


class Contract:
    """Every service, message and enum of ours in one descriptor set."""

    def __init__(self, files: FileDescriptorSet) -> None:
        pool = DescriptorPool()
        for file in files.file:
            pool.AddSerializedFile(file.SerializeToString())
        ours = [file.name for file in files.file if file.name.startswith(OURS) and OPTIONS_ONLY not in file.name]
        self._files: list[Any] = [pool.FindFileByName(name) for name in ours]

    @property
    def services(self) -> list[ServiceDescriptor]:
        return [service for file in self._files for service in file.services_by_name.values()]

    @property
    def methods(self) -> list[MethodDescriptor]:
        return [method for service in self.services for method in service.methods]

    @property
    def messages(self) -> list[Descriptor]:
        tops = [message for file in self._files for message in file.message_types_by_name.values()]
        return [message for top in tops for message in _with_nested(top)]

    @property
    def enums(self) -> list[EnumDescriptor]:
        tops = [enum for file in self._files for enum in file.enum_types_by_name.values()]
        return tops + [enum for message in self.messages for enum in message.enum_types]

    @property
    def requests(self) -> list[Descriptor]:
        return list({method.input_type.full_name: method.input_type for method in self.methods}.values())

    @property
    def responses(self) -> list[Descriptor]:
        return list({method.output_type.full_name: method.output_type for method in self.methods}.values())


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)


def descriptor_set() -> FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString(app.descriptors())


@cache
def real() -> Contract:
    return Contract(descriptor_set())


def planted(file: str, plant: Callable[[FileDescriptorProto], None]) -> Contract:
    """A copy of the contract in which one file was changed."""
    files = descriptor_set()
    plant(next(candidate for candidate in files.file if candidate.name == file))
    return Contract(files)


def method_of(file: FileDescriptorProto, name: str) -> MethodDescriptorProto:
    """The RPC of this name."""
    return next(method for service in file.service for method in service.method if method.name == name)


def message_of(file: FileDescriptorProto, name: str) -> DescriptorProto:
    """The message of this name."""
    return next(message for message in file.message_type if message.name == name)


def field_of(file: FileDescriptorProto, message: str, name: str) -> descriptor_pb2.FieldDescriptorProto:
    """The field of this name."""
    return next(field for field in message_of(file, message).field if field.name == name)


def in_method(name: str, change: Callable[[Any], None]) -> Callable[[FileDescriptorProto], None]:
    """A fault in the options of an RPC."""
    return lambda file: change(method_of(file, name).options)


def in_field(message: str, name: str, change: Callable[[Any], None]) -> Callable[[FileDescriptorProto], None]:
    """A fault in a field."""
    return lambda file: change(field_of(file, message, name))


def in_message(name: str, change: Callable[[Any], None]) -> Callable[[FileDescriptorProto], None]:
    """A fault in a message."""
    return lambda file: change(message_of(file, name))
