"""The type that a resource's message declares (google.api.resource)."""

from google.api import resource_pb2
from google.protobuf.message import Message

from server.kernel.messages.fields import descriptor_of, option_of


def resource_type_of(message: Message | type[Message]) -> str:
    """`plinth.dev/Page`; empty for a message that is no resource."""
    return str(option_of(descriptor_of(message), resource_pb2.resource).type)
