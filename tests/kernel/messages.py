"""Message types made up for a test, from a few lines of descriptor."""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

TEXT = FieldDescriptorProto.TYPE_STRING
MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
ONE = FieldDescriptorProto.LABEL_OPTIONAL
MANY = FieldDescriptorProto.LABEL_REPEATED


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
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("test.Node"))


def reference() -> Any:
    """`Reference`: id, owner_id (optional), parent_id."""
    file = FileDescriptorProto(name="test/reference.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Reference")
    message.field.add(name="id", number=1, type=TEXT, label=ONE)
    message.oneof_decl.add(name="_owner_id")
    message.field.add(name="owner_id", number=2, type=TEXT, label=ONE, oneof_index=0, proto3_optional=True)
    message.field.add(name="parent_id", number=3, type=TEXT, label=ONE)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("test.Reference"))
