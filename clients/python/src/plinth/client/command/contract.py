"""The RPCs of the contract by name, with what it says of them."""

import difflib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.message import Message
from plinth.client.command.faults import CommandFault
from plinth.client.rpc import Rpc

# Field numbers in descriptor.proto, of which the paths of comments are made.
_MESSAGES, _SERVICES, _METHODS, _FIELDS = 4, 6, 2, 2
_SENTENCE = re.compile(r"(.+?[.:])(?:\s|$)")


@dataclass(frozen=True)
class Method:
    """An RPC."""

    service: str
    """`plinth.sites.v1.PageService`."""
    proto: MethodDescriptorProto
    comment: str

    @property
    def name(self) -> str:
        """`PageService/GetPage`."""
        return f"{self.service.rpartition('.')[2]}/{self.proto.name}"

    @property
    def long_name(self) -> str:
        """`sites.PageService/GetPage`, which is unique."""
        return f"{self.service.split('.')[1]}.{self.name}"

    @property
    def path(self) -> str:
        """`/plinth.sites.v1.PageService/GetPage`."""
        return f"/{self.service}/{self.proto.name}"

    @property
    def summary(self) -> str:
        """The first sentence of its comment."""
        found = _SENTENCE.match(self.comment)
        return found[1] if found else self.comment

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.proto.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS


class Contract:
    """What the package knows of the services."""

    def __init__(self, content: bytes) -> None:
        """`content` is a FileDescriptorSet with its source info."""
        self._set = FileDescriptorSet.FromString(content)

    @classmethod
    def installed(cls) -> "Contract":
        """That of the installed package."""
        return cls((files("plinth") / "descriptors.binpb").read_bytes())

    @cached_property
    def methods(self) -> list[Method]:
        """Every RPC of Plinth, in the order of the contract."""
        return [method for file in self._set.file if file.package.startswith("plinth.") for method in _methods_of(file)]

    def find(self, name: str) -> Method:
        """The RPC of a name: with its service or without, with its domain or without. Raises CommandFault."""
        wanted = name.strip("/").casefold()
        found = [method for method in self.methods if wanted in _names(method)]
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandFault(f"`{name}` is several: {', '.join(method.long_name for method in found)}")
        names = {each: method.long_name for method in self.methods for each in _names(method)}
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
        hint = f": did you mean {' or '.join(dict.fromkeys(names[each] for each in near))}?" if near else ""
        raise CommandFault(f"`{name}` is no RPC{hint}")

    def rpc(self, method: Method) -> Rpc[Message, Message]:
        """What a client calls."""
        request, response = (self.message_class(name) for name in (method.proto.input_type, method.proto.output_type))
        return Rpc(method.path, request, response, reads=method.reads)

    def fields(self, message: str) -> list[tuple[FieldDescriptorProto, str]]:
        """The fields of a message of the top level by its full name, each with its comment."""
        file, place = self._place(message.lstrip("."))
        comments = _comments(file)
        return [
            (field, comments.get((_MESSAGES, place, _FIELDS, number), ""))
            for number, field in enumerate(file.message_type[place].field)
        ]

    def _place(self, message: str) -> tuple[FileDescriptorProto, int]:
        for file in self._set.file:
            for place, each in enumerate(file.message_type):
                if f"{file.package}.{each.name}" == message:
                    return file, place
        raise LookupError(message)

    def message_class(self, name: str) -> type[Message]:
        """The generated class of a message of the top level. Raises LookupError for any other."""
        file, place = self._place(name.lstrip("."))
        module: Any = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
        found: type[Message] = getattr(module, file.message_type[place].name)
        return found


def _names(method: Method) -> set[str]:
    """All names of an RPC, in lower case: with snakes for camels as well."""
    path = method.path[1:]
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", method.proto.name)
    names = (path, path.replace("/", "."), method.long_name, method.name, method.proto.name, snake)
    return {name.casefold() for name in names}


def _methods_of(file: FileDescriptorProto) -> Iterator[Method]:
    comments = _comments(file)
    for place, service in enumerate(file.service):
        for number, method in enumerate(service.method):
            comment = comments.get((_SERVICES, place, _METHODS, number), "")
            yield Method(f"{file.package}.{service.name}", method, comment)


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(one.path): " ".join(one.leading_comments.split()) for one in file.source_code_info.location}
