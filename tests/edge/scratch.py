"""A service that the contract does not have: an upload, a long call, free-form and nested bodies."""

from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from server.extensions import POLICY
from server.gateway.descriptors import parse

FILE = "plinth/scratch/v1/scratch.proto"
PACKAGE = "plinth.scratch.v1"
SERVICE = f"{PACKAGE}.ScratchService"
Field = descriptor_pb2.FieldDescriptorProto


def scratch_file() -> descriptor_pb2.FileDescriptorProto:
    """The messages, and a service without methods."""
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    file.dependency.extend(["google/api/httpbody.proto", "google/protobuf/struct.proto", "google/api/annotations.proto",
                            "plinth/policy/v1/policy.proto"])  # fmt: skip
    file.service.add(name="ScratchService")
    _message(file, "Upload", name=None, content="google.api.HttpBody")
    _message(file, "Node", name=None, child=f"{PACKAGE}.Node", free_form="google.protobuf.Struct")
    _message(file, "Save", name=None, node=f"{PACKAGE}.Node", extra="google.protobuf.Struct")
    return file


def add_method(
    file: descriptor_pb2.FileDescriptorProto,
    name: str,
    request: str,
    rule: http_pb2.HttpRule,
    *,
    uploads: bool = False,
    timeout: float | None = None,
) -> None:
    """Add a public method that answers what it is asked."""
    method = file.service[0].method.add(
        name=name, input_type=f".{PACKAGE}.{request}", output_type=f".{PACKAGE}.Node", client_streaming=uploads
    )
    method.options.Extensions[annotations_pb2.http].CopyFrom(rule)
    policy: Any = method.options.Extensions[POLICY]
    policy.public = True
    if uploads:
        policy.upload.max_bytes = 16 * 1024 * 1024
    if timeout is not None:
        policy.timeout.FromMilliseconds(round(timeout * 1000))


def with_file(descriptors: bytes, file: descriptor_pb2.FileDescriptorProto) -> bytes:
    """A descriptor set with one file more."""
    files = parse(descriptors)
    files.file.append(file)
    return files.SerializeToString()


def register(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Make the messages known to Python, once in a process."""
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


def _message(file: descriptor_pb2.FileDescriptorProto, message: str, **fields: str | None) -> None:
    """Add a message; a field without a type is a string."""
    added = file.message_type.add(name=message)
    for number, (name, kind) in enumerate(fields.items(), start=1):
        json_name = "".join(part.title() if index else part for index, part in enumerate(name.split("_")))
        field = added.field.add(name=name, number=number, json_name=json_name, label=Field.LABEL_OPTIONAL)
        field.type = Field.TYPE_MESSAGE if kind else Field.TYPE_STRING
        if kind:
            field.type_name = f".{kind}"
