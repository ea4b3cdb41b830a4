"""A client of Plinth: `Plinth` for threads, `AsyncPlinth` for asyncio.

It adds to the generated stubs what every program needs: one constructor, tokens that renew themselves, retries that
are safe, lists without page tokens, streams that resume, operations that can be waited for, and typed errors.
"""

from plinth.client.aio.client import AsyncPlinth
from plinth.client.client import Plinth
from plinth.client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlinthError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    Violation,
)
from plinth.client.operations import OperationCancelled, OperationFailed
from plinth.client.retrying import Retries
from plinth.client.sessions import Tokens

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncPlinth",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OperationCancelled",
    "OperationFailed",
    "OutOfRange",
    "PermissionDenied",
    "Plinth",
    "PlinthError",
    "ResourceExhausted",
    "Retries",
    "Tokens",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Violation",
]
