"""What calls raise: one exception for each gRPC code, with what the server said of it (AIP-193)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

STATUS_DETAILS = "grpc-status-details-bin"
REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of a request."""

    field: str
    """Path of the field, such as `page.slug`."""
    rule: str
    """Id of the rule, such as `string.max_len`."""
    message: str
    """What is wrong, in words."""


class PlinthError(Exception):
    """A call failed. Catch a subclass for one code, or this one for all of them.

    Neither `str` nor `repr` contains anything of the request or of the credentials but what the server says of them.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What went wrong, in words. Not to be parsed."""
        self.reason = ""
        """A reason of `plinth.errors.v1.Reason` without its prefix, such as `RESOURCE_NOT_FOUND`. Empty if the failure
        is none of the server's, such as a lost connection."""
        self.metadata: Mapping[str, str] = {}
        """Facts about the reason. Its comment in the contract names the keys."""
        self.violations: tuple[Violation, ...] = ()
        """Every broken rule of the request."""
        self.retry_after: float | None = None
        """Seconds after which the server wants the call again; None if it said nothing."""
        self.request_id = ""
        """Id of the request, which leads to the log of the server."""
        self.resource_type = ""
        """Type of the resource that the failure is about, such as `plinth.dev/Page`."""

    def __str__(self) -> str:
        broken = "; ".join(f"{violation.field}: {violation.message}" for violation in self.violations)
        facts = ", ".join(fact for fact in (self.reason, self.request_id and f"request {self.request_id}") if fact)
        return self.message + (f" {broken}" if broken else "") + (f" ({facts})" if facts else "")


class Cancelled(PlinthError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class Unknown(PlinthError):
    """A failure of which nothing is known."""


class InvalidArgument(PlinthError):
    """The request breaks rules: see `violations`."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(PlinthError):
    """The call did not end within its timeout. It may still have had its effect."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(PlinthError):
    """The resource is absent, deleted, or another tenant's."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(PlinthError):
    """Another resource has this value already."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(PlinthError):
    """The caller may not do that."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(PlinthError):
    """A rate limit or a quota is exhausted."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(PlinthError):
    """The state of the resource forbids the call."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(PlinthError):
    """A conflict with another write, such as a stale ETag."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(PlinthError):
    """A position that does not exist, such as that of an event after a restore of the database."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(PlinthError):
    """The server does not have this RPC."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(PlinthError):
    """A fault of the server: `request_id` leads to its log."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(PlinthError):
    """The server, or something that it depends on, does not answer."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(PlinthError):
    """Data are lost or corrupt."""

    code = grpc.StatusCode.DATA_LOSS


class Unauthenticated(PlinthError):
    """The credentials are missing, wrong or expired, and could not be renewed."""

    code = grpc.StatusCode.UNAUTHENTICATED


class SecondFactorRequired(Unauthenticated):
    """The password was right, and a code is needed too: `auth.complete_log_in` of a client without credentials."""

    challenge = ""
    """What `complete_log_in` takes beside the code."""


BY_CODE: Mapping[grpc.StatusCode, type[PlinthError]] = {kind.code: kind for kind in PlinthError.__subclasses__()}
BY_NUMBER: Mapping[int, type[PlinthError]] = {code.value[0]: kind for code, kind in BY_CODE.items()}


def error_of(failure: grpc.RpcError) -> PlinthError:
    """The exception for a failed call, of grpc or of grpc.aio."""
    # What both raise has these methods; their common class says nothing of them.
    call: Any = failure
    error = BY_CODE.get(call.code(), Unknown)(call.details() or call.code().name)
    trailers = {str(key): value for key, value in call.trailing_metadata() or ()}
    error.request_id = str(trailers.get(REQUEST_ID, ""))
    for detail in _details(trailers.get(STATUS_DETAILS)):
        _add(error, detail)
    return error


def _details(packed: object) -> list[Message]:
    """The details of a google.rpc.Status that this client knows."""
    if not isinstance(packed, bytes):
        return []
    try:
        status = status_pb2.Status.FromString(packed)
    except DecodeError:
        return []
    known = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.RequestInfo,
        error_details_pb2.ResourceInfo,
    )
    found: list[Message] = []
    for detail in status.details:
        for kind in known:
            message = kind()
            if detail.Unpack(message):
                found.append(message)
    return found


def _add(error: PlinthError, detail: Any) -> None:
    """Note what a detail says."""
    if isinstance(detail, error_details_pb2.ErrorInfo):
        error.reason, error.metadata = detail.reason, dict(detail.metadata)
    elif isinstance(detail, error_details_pb2.BadRequest):
        error.violations = tuple(
            Violation(violation.field, violation.reason, violation.description) for violation in detail.field_violations
        )
    elif isinstance(detail, error_details_pb2.RetryInfo):
        error.retry_after = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
    elif isinstance(detail, error_details_pb2.RequestInfo):
        error.request_id = detail.request_id
    elif isinstance(detail, error_details_pb2.ResourceInfo):
        error.resource_type = detail.resource_type
