"""Problems: what a handler raises, and what is sent for it (AIP-193).

A problem knows its gRPC code, its HTTP status and its reason (see proto/plinth/errors/v1/reason.proto). Only the errors
step turns a problem into a status; nothing else calls `context.abort`.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc
import psycopg
import redis
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from plinth.errors.v1.reason_pb2 import Reason

from server.data.connections import DatabaseUnavailable
from server.data.quotas import CONSTRAINT as QUOTA
from server.data.transactions import ScopeEnded

# Reason is exported too, because code that raises a problem names its reason.
__all__ = [
    "Cancelled",
    "Collision",
    "Conflict",
    "Dead",
    "DeadlineExceeded",
    "Denied",
    "EtagMismatch",
    "Internal",
    "Malformed",
    "NotFound",
    "Overloaded",
    "Problem",
    "RateLimited",
    "Reason",
    "RuleViolated",
    "StateForbids",
    "Taken",
    "Unauthenticated",
    "Unavailable",
    "Violation",
    "not_found",
    "of",
    "taken",
    "unknown_field",
]

DOMAIN = "plinth"
RETRY_AFTER_OUTAGE = 1.0
VIOLATION_BYTES = 4096
"""Most bytes of the violations in one status. It is sent as metadata, in base64, of which gRPC clients take 8 KiB."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one field breaks: the field's path as in the request, what is wrong, and the rule's id."""

    field: str
    description: str
    rule: str = ""


class Problem(Exception):
    """The call cannot be answered."""

    code = grpc.StatusCode.UNKNOWN
    http_status = 500
    reason: Reason = Reason.REASON_INTERNAL

    def __init__(
        self,
        message: str = "",
        *,
        reason: Reason | None = None,
        http_status: int | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        self.message = message or " ".join((self.__doc__ or "").split())
        super().__init__(self.message)
        if reason is not None:
            self.reason = reason
        if http_status is not None:
            self.http_status = http_status
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    @property
    def reason_name(self) -> str:
        """The reason as it is sent, without its prefix."""
        return Reason.Name(self.reason).removeprefix("REASON_")

    def status(self, request_id: str) -> status_pb2.Status:
        """The google.rpc.Status of this problem, with its details."""
        details = [
            error_details_pb2.ErrorInfo(reason=self.reason_name, domain=DOMAIN, metadata=self.metadata),
            error_details_pb2.RequestInfo(request_id=request_id),
        ]
        if self.violations:
            details.insert(1, _bad_request(self.violations))
        if self.retry_after is not None:
            details.insert(1, error_details_pb2.RetryInfo(retry_delay=_duration(self.retry_after)))
        if self.metadata.get("resource_type"):
            details.insert(1, _resource_info(self.metadata, self.message))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=map(_pack, details))


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def _duration(seconds: float) -> duration_pb2.Duration:
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _bad_request(violations: Iterable[Violation]) -> error_details_pb2.BadRequest:
    """As many violations as fit, in their order; the first one in any case."""
    found = error_details_pb2.BadRequest()
    for each in violations:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=each.field, description=each.description, reason=each.rule
        )
        if found.field_violations and found.ByteSize() + violation.ByteSize() > VIOLATION_BYTES:
            break
        found.field_violations.append(violation)
    return found


def _resource_info(metadata: Mapping[str, str], message: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=metadata["resource_type"], resource_name=metadata.get("resource", ""), description=message
    )


class Malformed(Problem):
    """The request is not well-formed."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400
    reason = Reason.REASON_MALFORMED


class RuleViolated(Problem):
    """One or more rules are violated."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 422
    reason = Reason.REASON_RULE_VIOLATED


def broken_rules(violations: list[Violation]) -> RuleViolated:
    """The problem of violated rules."""
    first = violations[0]
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    return RuleViolated(f"{first.field}: {first.description}{more}.", violations=violations)


class Unauthenticated(Problem):
    """Valid credentials are needed."""

    code = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401
    reason = Reason.REASON_CREDENTIALS_INVALID
    is_guess = True
    """Whether these credentials could be a guess."""


class Dead(Unauthenticated):
    """These credentials were ours once, and are not valid."""

    is_guess = False


class Denied(Problem):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    http_status = 403
    reason = Reason.REASON_PERMISSION_MISSING


class NotFound(Problem):
    """There is no such resource."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404
    reason = Reason.REASON_RESOURCE_NOT_FOUND


class Taken(Problem):
    """Another resource has this value already."""

    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409
    reason = Reason.REASON_RESOURCE_TAKEN


class Collision(Taken):
    """Another resource has taken the value that was chosen for this one. The call is tried again with another value."""


class EtagMismatch(Problem):
    """The resource has changed since it was read."""

    code = grpc.StatusCode.ABORTED
    http_status = 412
    reason = Reason.REASON_ETAG_MISMATCH


class StateForbids(Problem):
    """The state of the resource forbids this."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 409
    reason = Reason.REASON_STATE_FORBIDS


class Conflict(Problem):
    """Two writes met; try again."""

    code = grpc.StatusCode.ABORTED
    http_status = 409
    reason = Reason.REASON_CONFLICT


class Unavailable(Problem):
    """Something this call depends on is away; try again."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    reason = Reason.REASON_DEPENDENCY_UNAVAILABLE

    def __init__(self, dependency: str, *, retry_after: float = RETRY_AFTER_OUTAGE) -> None:
        super().__init__(
            f"The {dependency} is away; try again.", metadata={"dependency": dependency}, retry_after=retry_after
        )


class RateLimited(Problem):
    """Too many calls; try again later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429
    reason = Reason.REASON_RATE_LIMITED


class Overloaded(Problem):
    """More arrives than can be served; try again soon."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    reason = Reason.REASON_OVERLOADED


class DeadlineExceeded(Problem):
    """The call did not end within its deadline."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    reason = Reason.REASON_DEADLINE_EXCEEDED


class Cancelled(Problem):
    """The caller went away."""

    code = grpc.StatusCode.CANCELLED
    http_status = 499
    reason = Reason.REASON_CANCELLED


class Internal(Problem):
    """Something went wrong on our side. The request id leads to its cause."""

    code = grpc.StatusCode.INTERNAL
    http_status = 500
    reason = Reason.REASON_INTERNAL


def not_found(resource_type: str, resource_id: str = "") -> NotFound:
    """The problem of a resource that is absent, deleted, or another tenant's. The answer is the same for all three."""
    return NotFound(
        f"There is no such {resource_type.rpartition('/')[2].lower()}.",
        metadata={"resource_type": resource_type} | ({"resource": resource_id} if resource_id else {}),
    )


def taken(resource_type: str, field: str) -> Taken:
    """The problem of a value that another resource already has."""
    return Taken(
        f"Another {resource_type.rpartition('/')[2].lower()} has this {field} already.",
        metadata={"resource_type": resource_type, "field": field},
    )


def limit_reached(message: str, limit: int, resource_type: str = "") -> StateForbids:
    """The problem of a resource of which there are as many as there may be."""
    return StateForbids(
        message,
        reason=Reason.REASON_LIMIT_REACHED,
        metadata=({"resource_type": resource_type} if resource_type else {}) | {"limit": str(limit)},
    )


def unknown_field(parents: Sequence[str], name: str, known: Iterable[str]) -> Malformed:
    """The problem of a key that the message does not have, with the most similar field."""
    path = ".".join((*parents, name))
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    nearest = ".".join((*parents, *near)) if near else ""
    hint = f" Did you mean `{nearest}`?" if nearest else ""
    return Malformed(
        f"There is no field `{path}`.{hint}",
        reason=Reason.REASON_UNKNOWN_FIELD,
        metadata={"field": path} | ({"nearest": nearest} if nearest else {}),
        violations=[Violation(path, f"unknown field.{hint}", "unknown_field")],
    )


def of(error: BaseException) -> Problem:
    """The problem for an exception. An unexpected exception becomes Internal, which does not reveal the cause."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ScopeEnded):
        return _scope_ended(error)
    if isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name == QUOTA:
        return _quota_reached(error.diag)
    for kind, make in _KNOWN:
        if isinstance(error, kind):
            return make()
    return Internal()


def _quota_reached(told: psycopg.errors.Diagnostic) -> Problem:
    most, name = int(told.message_detail or 0), told.message_hint or ""
    return limit_reached(f"The plan allows {most} {name.replace('_', ' ')}.", most)


def _scope_ended(error: ScopeEnded) -> Problem:
    if error.what == "tenant":
        return not_found("plinth.dev/Tenant")
    return Unauthenticated("The session has ended: log in again.", reason=Reason.REASON_SESSION_ENDED)


def _reference_invalid() -> Problem:
    return StateForbids(
        "This refers to something that is absent, or something still refers to it.",
        reason=Reason.REASON_REFERENCE_INVALID,
    )


# The first match counts, so subclasses precede their bases.
_KNOWN: tuple[tuple[type[BaseException], Callable[[], Problem]], ...] = (
    (DatabaseUnavailable, lambda: Unavailable("database")),
    (psycopg.errors.UniqueViolation, lambda: Taken("Another resource has one of these values already.")),
    (psycopg.errors.ForeignKeyViolation, _reference_invalid),
    (psycopg.errors.QueryCanceled, DeadlineExceeded),
    (psycopg.errors.DataError, lambda: RuleViolated("A value cannot be stored.")),
    (UnicodeError, lambda: RuleViolated("A text is not valid Unicode, or has a NUL.")),
    (psycopg.errors.SerializationFailure, Conflict),
    (psycopg.errors.DeadlockDetected, Conflict),
    (psycopg.errors.LockNotAvailable, Conflict),
    # A primary that has become read-only. Another server may be promoted.
    (psycopg.errors.ReadOnlySqlTransaction, lambda: Unavailable("database")),
    (psycopg.OperationalError, lambda: Unavailable("database")),
    (redis.exceptions.RedisError, lambda: Unavailable("redis")),
)
