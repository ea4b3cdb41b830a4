"""telemetry: one line of JSON per call, without anything secret."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import Page, PageEvent

from server.kernel.call import Call, Principal
from server.kernel.problems import Denied
from server.kernel.record.logs import JsonLines, call_log
from server.kernel.steps.telemetry import LONGEST_PATH, Telemetry
from tests.kernel.calls import GET, WATCH, Context, call

TOKEN = "eyJhbGciOi.secret.token"
PRINCIPAL = Principal("user-1", "session-1", "tenant-1", ("owner",), is_platform=False, expires_at=0)
KEY = Principal("", "", "tenant-1", (), is_platform=False, expires_at=0, api_key_id="key-1")


class Noted:
    """The usage of API keys: what was noted of calls."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, bool]] = []

    def note(self, principal: Principal, method: str, *, succeeded: bool) -> None:
        self.notes.append((principal.api_key_id, method, succeeded))


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every level, and nothing of what other tests left to be written."""
    caplog.set_level(logging.INFO)
    call_log.flush()
    yield
    call_log.flush()


Errors = pytest.CaptureFixture[str]


def lines(capfd: Errors) -> list[dict[str, Any]]:
    """What was written of calls, as a log collector reads it."""
    call_log.flush()
    # What libraries say there begins otherwise.
    return [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]


def failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was logged of failures, as a log collector reads it."""
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "plinth.failures"]


def run(
    error: Exception | None = None, principal: Principal = PRINCIPAL, usage: Noted | None = None, **metadata: str
) -> None:
    """A unary call that answers or raises."""

    def handle(_: Call, __: Any) -> Message:
        if error:
            raise error
        return Page()

    one = call(GET, Context(**metadata))
    one.principal, one.tenant_id = principal, "tenant-1"
    Telemetry(usage or Noted()).unary(GET, handle)(one, None)


def test_a_call_is_one_line_with_its_facts(capfd: Errors) -> None:
    run(x_request_id="r-1", x_envoy_external_address="192.0.2.7")
    (line,) = lines(capfd)
    assert line["ms"] >= 0
    assert {name: line[name] for name in ("request_id", "method", "code", "status", "tenant", "user", "ip")} == {
        "request_id": "r-1",
        "method": GET.path,
        "code": "OK",
        "status": 200,
        "tenant": "tenant-1",
        "user": "user-1",
        "ip": "192.0.2.7",
    }
    assert (line["level"], line["logger"]) == ("INFO", "plinth.calls")


def test_neither_query_nor_token_is_logged(capfd: Errors, caplog: pytest.LogCaptureFixture) -> None:
    run(x_envoy_original_path=f"/api/v1/x?access_token={TOKEN}", authorization=f"Bearer {TOKEN}")
    with pytest.raises(Denied):
        run(Denied(), x_envoy_original_path=f"/api/v1/x?access_token={TOKEN}")
    found = lines(capfd)
    assert [line["path"] for line in found] == ["/api/v1/x"] * 2
    assert TOKEN not in caplog.text + str(found)
    assert "?" not in str(found)


def test_a_long_path_is_cut(capfd: Errors) -> None:
    """Lines wait in memory while nobody reads them, and a path may be as long as all headers together."""
    run(x_envoy_original_path=f"/{'a' * 40_000}?x")
    assert [line["path"] for line in lines(capfd)] == [f"/{'a' * (LONGEST_PATH - 1)}"]


@pytest.mark.parametrize("path", ['/a"b\\c', "/a\nb", "/a\u2028b", "/\x1b[31m", "/%00"])
def test_a_path_with_signs_stays_one_line_of_json(capfd: Errors, path: str) -> None:
    run(x_envoy_original_path=path)
    assert [line["path"] for line in lines(capfd)] == [path]


def test_a_refusal_tells_its_reason_and_is_no_failure(capfd: Errors, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Denied):
        run(Denied())
    (line,) = lines(capfd)
    assert (line["code"], line["status"], line["reason"]) == ("PERMISSION_DENIED", 403, "PERMISSION_MISSING")
    assert failures(caplog) == []


def test_what_nobody_foresaw_is_logged_whole_with_the_request_id(
    capfd: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError):
        run(RuntimeError("cause"), x_request_id="r-2")
    (failure,) = failures(caplog)
    assert "r-2" in failure["message"]
    assert "RuntimeError: cause" in failure["exception"]
    assert [line["status"] for line in lines(capfd)] == [500]


def stream(error: Exception | None = None, principal: Principal | None = None, usage: Noted | None = None) -> None:
    async def handle(_: Call, __: Any) -> AsyncIterator[Message]:
        yield PageEvent()
        if error:
            raise error

    async def read() -> None:
        one = call(WATCH)
        one.principal = principal
        async for _ in Telemetry(usage or Noted()).stream(WATCH, handle)(one, None):
            pass

    asyncio.run(read())


def test_a_stream_is_one_line_when_it_ends(capfd: Errors) -> None:
    stream()
    assert [line["method"] for line in lines(capfd)] == [WATCH.path]


def test_a_stream_that_fails_is_one_line_as_well(capfd: Errors) -> None:
    with pytest.raises(Denied):
        stream(Denied())
    assert [line["code"] for line in lines(capfd)] == ["PERMISSION_DENIED"]


def test_a_call_of_an_api_key_names_the_key_and_counts(capfd: Errors) -> None:
    usage = Noted()
    run(principal=KEY, usage=usage)
    with pytest.raises(Denied):
        run(Denied(), KEY, usage)
    assert [(line["api_key"], "user" in line) for line in lines(capfd)] == [("key-1", False)] * 2
    assert usage.notes == [("key-1", GET.path, True), ("key-1", GET.path, False)]


def test_a_stream_of_an_api_key_counts_once_and_users_count_nowhere() -> None:
    usage = Noted()
    stream(principal=KEY, usage=usage)
    assert usage.notes == [("key-1", WATCH.path, True)]
    stream(principal=PRINCIPAL, usage=usage)
    run(usage=usage)
    assert len(usage.notes) == 1


@pytest.mark.parametrize("given", ['a"b', "a\\b", '","status":200,"x":"'])
def test_a_caller_s_request_id_cannot_write_into_the_line(capfd: Errors, given: str) -> None:
    run(x_request_id=given)
    (line,) = lines(capfd)
    assert line["status"] == 200
    assert "x" not in line


@pytest.mark.parametrize("given", ["", "a b", "a\nb", "x" * 129, "a\x00"])
def test_a_request_id_that_is_not_sane_is_replaced(given: str) -> None:
    assert call(GET, Context(x_request_id=given)).request_id != given


def test_any_log_line_is_json() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, 'say "%s"\n', ("hi",), None)
    assert json.loads(JsonLines().format(record))["message"] == 'say "hi"\n'
