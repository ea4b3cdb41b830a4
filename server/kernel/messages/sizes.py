"""Size limits of answers and resources, so that no stored data makes a read fail.

A gRPC client accepts 4 MB by default. Envoy's transcoder accepts MAX_RESPONSE_BYTES of JSON
(server/gateway/filters.py), in which a byte of protobuf takes six at most: an escaped character.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A message, or a stand-in for one."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Its size in bytes, serialised."""


M = TypeVar("M", bound=Sized)

ANSWER_BYTES = 2 * 1024 * 1024
"""Bytes of protobuf in an answer of a list or batch read, before `present` adds computed values."""
RESOURCE_BYTES = 1024 * 1024
"""Bytes of protobuf in a resource: less than an answer, and together with its event less than a client accepts."""


def fitting(messages: Iterable[M]) -> list[M]:
    """The messages from the front that fit into one answer; at least one, if there is one."""
    taken: list[M] = []
    room = ANSWER_BYTES
    for message in messages:
        room -= message.ByteSize()
        if taken and room < 0:
            break
        taken.append(message)
    return taken
