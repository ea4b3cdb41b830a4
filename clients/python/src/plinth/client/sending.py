"""What is sent with a call, over grpc and over grpc.aio alike."""

import uuid
from typing import Any

from plinth.client.retrying import Resumption
from plinth.client.rpc import Metadata, Req, Res, Rpc

IDEMPOTENCY_KEY = "idempotency-key"
LAST_EVENT_ID = "last-event-id"
# Without pings, only the deadline of a call shows that a connection broke silently, and a live stream has no deadline.
# Without a limit, gRPC waits up to two minutes before it connects again to a server that was away.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def channel_options(user_agent: str) -> tuple[tuple[str, int | str], ...]:
    """The options of a channel, for a program of this name. gRPC puts its own name behind it."""
    return (*CHANNEL_OPTIONS, *((("grpc.primary_user_agent", user_agent),) if user_agent else ()))


def with_key(rpc: Rpc[Req, Res], metadata: Metadata, key: str) -> Metadata:
    """The metadata of every attempt of one call: with one idempotency key, if the call changes something."""
    return tuple(metadata) if rpc.reads else (*metadata, (IDEMPOTENCY_KEY, key or str(uuid.uuid4())))


def with_token(metadata: Metadata, token: str) -> Metadata:
    """The metadata of one attempt."""
    return (*metadata, ("authorization", f"Bearer {token}")) if token else tuple(metadata)


def first_position(request: Req) -> str:
    """After which event a stream begins; empty for from now on."""
    return str(getattr(request, "last_event_id", ""))


def position_in(initial_metadata: Any) -> str:
    """Where a stream that was just opened begins, as the server says it."""
    return next((str(value) for key, value in initial_metadata or () if key == LAST_EVENT_ID), "")


def position_of(event: Res) -> str:
    """The id of an event; empty for the messages of streams that cannot be resumed by one."""
    return str(getattr(event, "id", ""))


def resumed(request: Req, resumption: Resumption) -> Req:
    """A copy of the request that goes on where the stream stands, if it has a field for that."""
    copy: Any = type(request)()
    copy.CopyFrom(request)
    if resumption.last_event_id and hasattr(copy, "last_event_id"):
        copy.last_event_id = resumption.last_event_id
    return copy  # type: ignore[no-any-return]
