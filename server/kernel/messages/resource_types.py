"""The type that a resource's message declares (google.api.resource)."""

from typing import Any

from google.api import resource_pb2


def resource_type_of(message: Any) -> str:
    """`plinth.dev/Page`; empty for what is no resource."""
    named = message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource].type
    return str(named)
