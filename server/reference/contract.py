"""The contract as the reference reads it: messages, enums and RPCs by full name, each with its comment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from google.protobuf import descriptor_pb2 as pb

# Field numbers in descriptor.proto, of which the paths of source locations are made.
FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES = 4, 5, 6
MESSAGE_FIELDS, MESSAGE_MESSAGES, MESSAGE_ENUMS = 2, 3, 4
ENUM_VALUES, SERVICE_METHODS = 2, 2

Path = tuple[int, ...]


class Comments:
    """The leading comments of one file, by the path of what they stand above."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self._comments = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
            if location.leading_comments
        }

    def at(self, *path: int) -> str:
        """A comment as one paragraph; empty if there is none."""
        return " ".join(self._comments.get(path, "").split())


class Field(NamedTuple):
    """A field of a message."""

    descriptor: pb.FieldDescriptorProto
    comment: str

    @property
    def name(self) -> str:
        """The name in JSON."""
        return self.descriptor.json_name

    @property
    def type_name(self) -> str:
        """The full name of its message or enum; empty for other types."""
        return self.descriptor.type_name.lstrip(".")

    @property
    def is_repeated(self) -> bool:
        """Whether it is a list, or a map."""
        return self.descriptor.label == pb.FieldDescriptorProto.LABEL_REPEATED


class Message(NamedTuple):
    """A message."""

    name: str
    """Full name."""
    descriptor: pb.DescriptorProto
    comment: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        """A field by its name in the .proto."""
        return next((field for field in self.fields if field.descriptor.name == name), None)


class Value(NamedTuple):
    """A value of an enum."""

    name: str
    comment: str


class Enum(NamedTuple):
    """An enum."""

    name: str
    comment: str
    values: tuple[Value, ...]


class Method(NamedTuple):
    """An RPC."""

    service: str
    """Full name of its service."""
    descriptor: pb.MethodDescriptorProto
    comment: str

    @property
    def name(self) -> str:
        """`GetPage`."""
        return self.descriptor.name

    @property
    def request(self) -> str:
        """Full name of the request."""
        return self.descriptor.input_type.lstrip(".")

    @property
    def response(self) -> str:
        """Full name of the response."""
        return self.descriptor.output_type.lstrip(".")


@dataclass(frozen=True, slots=True)
class Source:
    """Everything in a descriptor set."""

    messages: dict[str, Message]
    enums: dict[str, Enum]
    methods: tuple[Method, ...]
    services: dict[str, str]
    """Full name to comment."""

    @classmethod
    def read(cls, files: pb.FileDescriptorSet) -> Self:
        """Read a descriptor set with source info."""
        found = cls({}, {}, tuple(method for file in files.file for method in _methods(file)), {})
        for file in files.file:
            comments = Comments(file)
            for place, enum in enumerate(file.enum_type):
                found.enums[f"{file.package}.{enum.name}"] = _enum(file.package, enum, comments, (FILE_ENUMS, place))
            for place, service in enumerate(file.service):
                found.services[f"{file.package}.{service.name}"] = comments.at(FILE_SERVICES, place)
            for place, message in enumerate(file.message_type):
                found._add(file.package, message, comments, (FILE_MESSAGES, place))
        return found

    def _add(self, scope: str, message: pb.DescriptorProto, comments: Comments, path: Path) -> None:
        name = f"{scope}.{message.name}"
        fields = tuple(
            Field(field, comments.at(*path, MESSAGE_FIELDS, place)) for place, field in enumerate(message.field)
        )
        self.messages[name] = Message(name, message, comments.at(*path), fields)
        for place, enum in enumerate(message.enum_type):
            self.enums[f"{name}.{enum.name}"] = _enum(name, enum, comments, (*path, MESSAGE_ENUMS, place))
        for place, below in enumerate(message.nested_type):
            self._add(name, below, comments, (*path, MESSAGE_MESSAGES, place))


def _enum(scope: str, enum: pb.EnumDescriptorProto, comments: Comments, path: Sequence[int]) -> Enum:
    values = tuple(Value(value.name, comments.at(*path, ENUM_VALUES, place)) for place, value in enumerate(enum.value))
    return Enum(f"{scope}.{enum.name}", comments.at(*path), values)


def _methods(file: pb.FileDescriptorProto) -> Iterator[Method]:
    comments = Comments(file)
    for place, service in enumerate(file.service):
        for number, method in enumerate(service.method):
            comment = comments.at(FILE_SERVICES, place, SERVICE_METHODS, number)
            yield Method(f"{file.package}.{service.name}", method, comment)
