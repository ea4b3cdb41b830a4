"""The contract of the domain `hooks`, which the product does not have, compiled from the .proto beside this."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc
from plinth.policy.v1 import policy_pb2
from plinth.realtime.v1 import realtime_pb2

FOLDER = Path(__file__).parent / "proto"
FILE = "plinth/hooks/v1/hook.proto"
PACKAGE = "plinth.hooks.v1"
# The pool knows these files once they are imported.
IMPORTED = (validate_pb2, annotations_pb2, httpbody_pb2, policy_pb2, realtime_pb2)


@cache
def file() -> descriptor_pb2.FileDescriptorProto:
    """The compiled .proto."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "hook.binpb"
        known = files("plinth").joinpath("descriptors.binpb")
        arguments = ["protoc", f"--proto_path={FOLDER}", f"--descriptor_set_in={known}", f"--descriptor_set_out={path}"]
        assert protoc.main([*arguments, FILE]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file[0]


def descriptors() -> bytes:
    """The descriptor set of the product, and this file."""
    known = descriptor_pb2.FileDescriptorSet.FromString(files("plinth").joinpath("descriptors.binpb").read_bytes())
    known.file.append(file())
    return known.SerializeToString()


_pool: Any = descriptor_pool.Default()
_pool.AddSerializedFile(file().SerializeToString())
SERVICE: Any = _pool.FindServiceByName(f"{PACKAGE}.HookService")
RUNS: Any = _pool.FindServiceByName(f"{PACKAGE}.RunService")


def message(name: str) -> Any:
    """The class of a message."""
    return GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
