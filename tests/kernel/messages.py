"""Message types made up for a test, from a few lines of descriptor."""

from typing import Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.type import date_pb2, datetime_pb2, latlng_pb2

TEXT = FieldDescriptorProto.TYPE_STRING
MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
ONE = FieldDescriptorProto.LABEL_OPTIONAL
MANY = FieldDescriptorProto.LABEL_REPEATED


def built(file: FileDescriptorProto, name: str, *imported: Any) -> Any:
    """The class of a message of a file that imports these modules."""
    pool = DescriptorPool()
    for module in imported:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file.dependency.extend(module.DESCRIPTOR.name for module in imported)
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}"))


def secretive() -> Any:
    """`Node`: name, token (redacted), child, children, by_name (a map), one of two leaves."""
    file = FileDescriptorProto(name="test/node.proto", package="test", syntax="proto3")
    leaf = file.message_type.add(name="Leaf")
    leaf.field.add(name="name", number=1, type=TEXT, label=ONE)
    leaf.field.add(name="token", number=2, type=TEXT, label=ONE).options.debug_redact = True
    node = file.message_type.add(name="Node")
    node.field.add(name="name", number=1, type=TEXT, label=ONE)
    node.field.add(name="token", number=2, type=TEXT, label=ONE).options.debug_redact = True
    node.field.add(name="leaf", number=3, type=MESSAGE, label=ONE, type_name=".test.Leaf")
    node.field.add(name="leaves", number=4, type=MESSAGE, label=MANY, type_name=".test.Leaf")
    node.field.add(name="child", number=5, type=MESSAGE, label=ONE, type_name=".test.Node")
    node.field.add(name="by_name", number=6, type=MESSAGE, label=MANY, type_name=".test.Node.ByNameEntry")
    node.field.add(name="tokens", number=7, type=TEXT, label=MANY).options.debug_redact = True
    entry = node.nested_type.add(name="ByNameEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=TEXT, label=ONE)
    entry.field.add(name="value", number=2, type=MESSAGE, label=ONE, type_name=".test.Leaf")
    node.oneof_decl.add(name="either")
    node.field.add(name="left", number=8, type=MESSAGE, label=ONE, type_name=".test.Leaf", oneof_index=0)
    node.field.add(name="right", number=9, type=TEXT, label=ONE, oneof_index=0).options.debug_redact = True
    return built(file, "Node")


def reference() -> Any:
    """`Reference`: id, owner_id (optional), parent_id."""
    file = FileDescriptorProto(name="test/reference.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Reference")
    message.field.add(name="id", number=1, type=TEXT, label=ONE)
    message.oneof_decl.add(name="_owner_id")
    message.field.add(name="owner_id", number=2, type=TEXT, label=ONE, oneof_index=0, proto3_optional=True)
    message.field.add(name="parent_id", number=3, type=TEXT, label=ONE)
    return built(file, "Reference")


def everything() -> Any:
    """`Everything`: a field of every type that a column holds, and of every google.type that has a codec."""
    file = FileDescriptorProto(name="test/everything.proto", package="test", syntax="proto3")
    kind = file.enum_type.add(name="Kind")
    for number, name in enumerate(("KIND_UNSPECIFIED", "KIND_ONE", "KIND_TWO")):
        kind.value.add(name=name, number=number)
    part = file.message_type.add(name="Part")
    part.field.add(name="name", number=1, type=TEXT, label=ONE)
    part.field.add(name="count", number=2, type=FieldDescriptorProto.TYPE_INT64, label=ONE)
    part.field.add(name="since", number=3, type=MESSAGE, label=ONE, type_name=".google.protobuf.Timestamp")
    message = file.message_type.add(name="Everything")
    entry = message.nested_type.add(name="PricesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=TEXT, label=ONE)
    entry.field.add(name="value", number=2, type=FieldDescriptorProto.TYPE_INT32, label=ONE)
    for number, (name, (type_, type_name, label)) in enumerate(FIELDS.items(), 1):
        message.field.add(name=name, number=number, type=type_, type_name=type_name or None, label=label)
    for name in OPTIONAL:
        field = next(field for field in message.field if field.name == name)
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    return built(file, "Everything", *WELL_KNOWN)


WELL_KNOWN = (date_pb2, latlng_pb2, duration_pb2, struct_pb2, timestamp_pb2)
P = FieldDescriptorProto
# Name to type, type name and label.
FIELDS = {
    "id": (TEXT, "", ONE),
    "text": (TEXT, "", ONE),
    "flag": (P.TYPE_BOOL, "", ONE),
    "raw": (P.TYPE_BYTES, "", ONE),
    "ratio": (P.TYPE_DOUBLE, "", ONE),
    "share": (P.TYPE_FLOAT, "", ONE),
    "small": (P.TYPE_INT32, "", ONE),
    "large": (P.TYPE_INT64, "", ONE),
    "unsigned": (P.TYPE_UINT32, "", ONE),
    "kind": (P.TYPE_ENUM, ".test.Kind", ONE),
    "maybe": (P.TYPE_DOUBLE, "", ONE),
    "owner_id": (TEXT, "", ONE),
    "texts": (TEXT, "", MANY),
    "flags": (P.TYPE_BOOL, "", MANY),
    "ratios": (P.TYPE_DOUBLE, "", MANY),
    "numbers": (P.TYPE_INT64, "", MANY),
    "kinds": (P.TYPE_ENUM, ".test.Kind", MANY),
    "ids": (TEXT, "", MANY),
    "moment": (MESSAGE, ".google.protobuf.Timestamp", ONE),
    "span": (MESSAGE, ".google.protobuf.Duration", ONE),
    "day": (MESSAGE, ".google.type.Date", ONE),
    "place": (MESSAGE, ".google.type.LatLng", ONE),
    "free": (MESSAGE, ".google.protobuf.Struct", ONE),
    "value": (MESSAGE, ".google.protobuf.Value", ONE),
    "part": (MESSAGE, ".test.Part", ONE),
    "parts": (MESSAGE, ".test.Part", MANY),
    "prices": (MESSAGE, ".test.Everything.PricesEntry", MANY),
}
OPTIONAL = ("maybe", "owner_id")


def scheduled() -> Any:
    """`Scheduled`: id, start (google.type.DateTime)."""
    file = FileDescriptorProto(name="test/scheduled.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Scheduled")
    message.field.add(name="id", number=1, type=TEXT, label=ONE)
    message.field.add(name="start", number=2, type=MESSAGE, label=ONE, type_name=".google.type.DateTime")
    return built(file, "Scheduled", duration_pb2, datetime_pb2)
