"""What an exception amounts to, and what the wire carries for it."""

from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest
import redis
from google.rpc import error_details_pb2
from plinth.errors.v1.reason_pb2 import Reason

from server.data.connections import DatabaseUnavailable
from server.data.transactions import ScopeEnded
from server.kernel import problems
from server.kernel.problems import Problem, Violation
from tests.clients import Problem as Known

KINDS: list[Callable[[], Problem]] = [
    problems.Malformed,
    problems.RuleViolated,
    problems.Unauthenticated,
    problems.Denied,
    problems.NotFound,
    problems.Taken,
    problems.EtagMismatch,
    problems.StateForbids,
    problems.Conflict,
    lambda: problems.Unavailable("database"),
    problems.RateLimited,
    problems.Overloaded,
    problems.DeadlineExceeded,
    problems.Cancelled,
    problems.Internal,
]
# contract.md, "Errors".
TABLE = {
    "MALFORMED": ("INVALID_ARGUMENT", 400),
    "RULE_VIOLATED": ("INVALID_ARGUMENT", 422),
    "CREDENTIALS_INVALID": ("UNAUTHENTICATED", 401),
    "PERMISSION_MISSING": ("PERMISSION_DENIED", 403),
    "RESOURCE_NOT_FOUND": ("NOT_FOUND", 404),
    "RESOURCE_TAKEN": ("ALREADY_EXISTS", 409),
    "ETAG_MISMATCH": ("ABORTED", 412),
    "STATE_FORBIDS": ("FAILED_PRECONDITION", 409),
    "CONFLICT": ("ABORTED", 409),
    "DEPENDENCY_UNAVAILABLE": ("UNAVAILABLE", 503),
    "RATE_LIMITED": ("RESOURCE_EXHAUSTED", 429),
    "OVERLOADED": ("UNAVAILABLE", 503),
    "DEADLINE_EXCEEDED": ("DEADLINE_EXCEEDED", 504),
    "CANCELLED": ("CANCELLED", 499),
    "INTERNAL": ("INTERNAL", 500),
}


def test_every_kind_has_the_code_and_status_of_the_contract() -> None:
    made = [make() for make in KINDS]
    assert {problem.reason_name: (problem.code.name, problem.http_status) for problem in made} == TABLE
    assert all(problem.message and problem.message.endswith(".") for problem in made)


def test_no_kind_was_forgotten() -> None:
    kinds = {kind for kind in Problem.__subclasses__() if kind.__module__ == problems.__name__}
    assert kinds == {type(make()) for make in KINDS}


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (problems.Denied("no"), "PERMISSION_MISSING", 403),
        (DatabaseUnavailable(), "DEPENDENCY_UNAVAILABLE", 503),
        (psycopg.errors.UniqueViolation(), "RESOURCE_TAKEN", 409),
        (psycopg.errors.ForeignKeyViolation(), "REFERENCE_INVALID", 409),
        (psycopg.errors.QueryCanceled(), "DEADLINE_EXCEEDED", 504),
        (psycopg.errors.SerializationFailure(), "CONFLICT", 409),
        (psycopg.errors.DeadlockDetected(), "CONFLICT", 409),
        (psycopg.errors.LockNotAvailable(), "CONFLICT", 409),
        (psycopg.errors.AdminShutdown(), "DEPENDENCY_UNAVAILABLE", 503),
        (psycopg.errors.TooManyConnections(), "DEPENDENCY_UNAVAILABLE", 503),
        (psycopg.OperationalError("gone"), "DEPENDENCY_UNAVAILABLE", 503),
        (redis.exceptions.ConnectionError("gone"), "DEPENDENCY_UNAVAILABLE", 503),
        (redis.exceptions.TimeoutError("slow"), "DEPENDENCY_UNAVAILABLE", 503),
        (ScopeEnded("session"), "SESSION_ENDED", 401),
        (ScopeEnded("tenant"), "RESOURCE_NOT_FOUND", 404),
        (psycopg.errors.UndefinedColumn("secret_column"), "INTERNAL", 500),
        (psycopg.errors.InsufficientPrivilege(), "INTERNAL", 500),
        (ValueError("the secret"), "INTERNAL", 500),
        (KeyError("the secret"), "INTERNAL", 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_an_exception_amounts_to(error: BaseException, reason: str, status: int) -> None:
    problem = problems.of(error)
    assert (problem.reason_name, problem.http_status) == (reason, status)
    assert "secret" not in str(problem.status("r"))


def test_a_problem_stays_itself() -> None:
    problem = problems.Taken("mine")
    assert problems.of(problem) is problem


def test_an_outage_tells_when_to_try_again_and_of_what() -> None:
    known = Known.of(problems.Unavailable("database", retry_after=2.5).status("r"))
    assert known.retry_after == 2.5
    assert known.metadata == {"dependency": "database"}


def test_a_status_carries_everything_that_is_known() -> None:
    problem = problems.RuleViolated(
        "title: too long.",
        reason=Reason.REASON_RULE_VIOLATED,
        metadata={"resource_type": "plinth.dev/Page", "resource": "1"},
        violations=[Violation("page.title", "too long", "string.max_len"), Violation("page.slug", "bad")],
        retry_after=0.25,
    )
    status = problem.status("request-1")
    kinds = [packed.TypeName() for packed in status.details]
    assert kinds[0] == "google.rpc.ErrorInfo"
    assert set(kinds) == {
        f"google.rpc.{name}" for name in ("ErrorInfo", "BadRequest", "RetryInfo", "ResourceInfo", "RequestInfo")
    }
    known = Known.of(status)
    assert (known.code, known.message) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "title: too long.")
    assert (known.reason, known.domain, known.request_id) == ("RULE_VIOLATED", "plinth", "request-1")
    assert known.violations == {"page.title": ["too long"], "page.slug": ["bad"]}
    assert known.rules == ("string.max_len", "")
    assert known.retry_after == 0.25
    assert known.resource_type == "plinth.dev/Page"


def test_a_plain_status_carries_reason_and_request_alone() -> None:
    status = problems.Internal().status("r")
    info: Any = error_details_pb2.ErrorInfo()
    assert len(status.details) == 2
    assert status.details[0].Unpack(info)
    assert info.domain == "plinth"


@pytest.mark.parametrize(
    ("parents", "name", "nearest"),
    [((), "titel", "title"), (("page",), "titel", "page.title"), ((), "zzz", ""), (("page",), "zzz", "")],
)
def test_an_unknown_field_comes_with_the_nearest_name(parents: tuple[str, ...], name: str, nearest: str) -> None:
    problem = problems.unknown_field(parents, name, ["title", "slug"])
    assert problem.metadata["field"] == ".".join((*parents, name))
    assert problem.metadata.get("nearest", "") == nearest
    assert (f"`{nearest}`?" in problem.message) is bool(nearest)


def test_absent_and_taken_name_the_resource_in_words() -> None:
    assert problems.not_found("plinth.dev/Page", "1").message == "There is no such page."
    assert problems.taken("plinth.dev/Page", "slug").message == "Another page has this slug already."
    assert problems.taken("plinth.dev/Page", "slug").metadata == {"resource_type": "plinth.dev/Page", "field": "slug"}
