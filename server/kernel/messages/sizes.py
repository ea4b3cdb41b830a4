"""How large answers and resources may be, so that nothing that can be written makes a read fail.

A gRPC client takes 4 MB by default, and Envoy's transcoder MAX_RESPONSE_BYTES of JSON (server/gateway/filters.py), in
which a byte of protobuf becomes six at most: an escaped character.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A message, or what counts as one."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Its bytes on the wire."""


M = TypeVar("M", bound=Sized)

ANSWER_BYTES = 2 * 1024 * 1024
"""Bytes of protobuf that a list or a batch read answers at most, before `present` adds what is computed."""
RESOURCE_BYTES = 1024 * 1024
"""Bytes of protobuf that a resource may have: less than an answer, and with its event less than a client takes."""


def fitting(messages: Iterable[M]) -> list[M]:
    """As many messages from the front as one answer holds; at least one, where there is one."""
    taken: list[M] = []
    room = ANSWER_BYTES
    for message in messages:
        room -= message.ByteSize()
        if taken and room < 0:
            break
        taken.append(message)
    return taken
