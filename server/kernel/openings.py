"""Openings: the calls with which streams begin that change something (`Opening` of policy.proto)."""

from dataclasses import dataclass

from plinth.policy.v1 import policy_pb2

ANSWERS = ("google.api.HttpBody", "plinth.realtime.v1.RealtimeEvent")
"""What such a stream answers."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The opening of one stream."""

    path: str
    """The RPC: `/plinth.ai.v1.RunService/StartRun`."""
    ends_with: tuple[str, ...]
    """The types of event after which the stream ends."""


def opening_of(option: policy_pb2.Policy) -> Opening | None:
    """The opening that a policy declares, or None."""
    if not option.HasField("opening"):
        return None
    return Opening(f"/{option.opening.rpc}", tuple(option.opening.ends_with))
