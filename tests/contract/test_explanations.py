"""Explanations have one shape: what is called Explain answers plinth.types.v1.Explanation, by itself or in a field."""

from google.protobuf.descriptor import Descriptor
from plinth.types.v1.explanation_pb2 import Explanation

from server import app

SHAPE = Explanation.DESCRIPTOR.full_name


def has_shape(message: Descriptor) -> bool:
    """Whether a message is an explanation, or has one."""
    fields = (field.message_type for field in message.fields if field.message_type is not None)
    return message.full_name == SHAPE or any(field.full_name == SHAPE for field in fields)


def test_what_explains_answers_in_one_shape_and_nothing_else_does() -> None:
    rpcs = [method.descriptor for method in app.policies().values()]
    explaining = {rpc.full_name for rpc in rpcs if rpc.name.startswith("Explain")}
    assert explaining == {rpc.full_name for rpc in rpcs if has_shape(rpc.output_type)}
    assert len(explaining) >= 4


def test_explanations_change_nothing() -> None:
    rpcs = [method for method in app.policies().values() if method.name.startswith("Explain")]
    assert [rpc.path for rpc in rpcs if not rpc.read_only] == []
