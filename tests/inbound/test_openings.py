"""Streams that begin with a call that changes something, over SSE and gRPC, at the public door."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import httpx
import pytest
from plinth.realtime.v1.realtime_pb2 import RealtimeEvent

from server.kernel.ids import new_id
from tests.clients import Tenant, new_tenant, problem, rows, rpc_problem
from tests.inbound import contract
from tests.inbound.conftest import STREAMS, HookStack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

STREAM = "/api/v1/runs:stream"
STARTED = "SELECT resource_id FROM events WHERE tenant_id = %s AND type = 'run.started'"
ENTRIES = "SELECT outcome, action FROM audit_entries WHERE tenant_id = %s AND method LIKE '%%RunService%%'"
Frame = tuple[str, str, Any]


@pytest.fixture
def tenant(hook_stack: HookStack) -> Tenant:
    return new_tenant(hook_stack)


class Frames:
    """The frames of a stream: event, id and data."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[Frame]:
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                continue
            if line:
                fields[name] = value
            elif "event" in fields:
                yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
                fields = {}

    def take(self, count: int) -> list[Frame]:
        found: list[Frame] = []
        for frame in self:
            found.append(frame)
            if len(found) == count:
                break
        return found


@contextmanager
def streaming(tenant: Tenant, method: str, path: str, prompt: str = "go", **headers: str) -> Iterator[Frames]:
    own = {"authorization": f"Bearer {tenant.access_token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    body = {"json": {"prompt": prompt}} if method == "POST" else {}
    with (
        httpx.Client(base_url=tenant.stack.url, timeout=30, trust_env=False) as client,
        client.stream(method, path, headers=own, **body) as answer,  # type: ignore[arg-type]
    ):
        yield Frames(answer)


def advance(tenant: Tenant, run_id: str, text: str, *, is_last: bool = False) -> None:
    answer = tenant.rest.post(f"/api/v1/runs/{run_id}:advance", {"text": text, "isLast": is_last})
    assert answer.status_code == 200, answer.text


def test_the_stream_opens_a_run_and_shows_it_to_its_end(hook_stack: HookStack, tenant: Tenant) -> None:
    with streaming(tenant, "POST", STREAM) as frames:
        assert frames.answer.status_code == 200
        assert frames.answer.headers["content-type"] == "text/event-stream"
        assert "x-ratelimit-limit" in frames.answer.headers
        (first,) = frames.take(1)
        run = first[2]["id"]
        assert (first[0], first[2]) == ("stream.open", {"id": run, "text": "go"})
        advance(tenant, new_id(), "of another run")
        advance(tenant, run, "one")
        advance(tenant, run, "two", is_last=True)
        told = list(frames)
    assert [(event, data["text"]) for event, _, data in told] == [
        ("run.started", "go"),
        ("run.advanced", "one"),
        ("run.finished", "two"),
    ]
    assert [row["resource_id"] for row in rows(hook_stack, STARTED, tenant.id)] == [run]
    assert {"outcome": "OK", "action": "run.started"} in rows(hook_stack, ENTRIES, tenant.id)


def test_who_loses_the_connection_resumes_and_opens_no_second_run(hook_stack: HookStack, tenant: Tenant) -> None:
    with streaming(tenant, "POST", STREAM) as frames:
        (opening, started) = frames.take(2)
    run = opening[2]["id"]
    advance(tenant, run, "one")
    for seen in (opening, started):
        with streaming(tenant, "GET", f"/api/v1/runs/{run}/stream", last_event_id=seen[1]) as again:
            expected = (
                ["stream.open", "run.started", "run.advanced"] if seen is opening else ["stream.open", "run.advanced"]
            )
            assert [event for event, _, _ in again.take(len(expected))] == expected
    assert len(rows(hook_stack, STARTED, tenant.id)) == 1


def test_the_same_key_leads_to_the_same_run_from_its_beginning(hook_stack: HookStack, tenant: Tenant) -> None:
    key = {"idempotency_key": "once"}
    with streaming(tenant, "POST", STREAM, **key) as frames:
        (opening, started) = frames.take(2)
    run = opening[2]["id"]
    advance(tenant, run, "one")
    with streaming(tenant, "POST", STREAM, **key) as again:
        assert again.answer.headers["idempotent-replay"] == "true"
        assert [(event, data["id"]) for event, _, data in again.take(3)] == [
            ("stream.open", run),
            ("run.started", run),
            ("run.advanced", run),
        ]
    with streaming(tenant, "POST", STREAM, last_event_id=started[1], **key) as resumed:
        assert [event for event, _, _ in resumed.take(2)] == ["stream.open", "run.advanced"]
    advance(tenant, run, "two", is_last=True)
    with streaming(tenant, "POST", STREAM, **key) as ended:
        assert [event for event, _, _ in ended][-1] == "run.finished"
    with streaming(tenant, "POST", STREAM, "another", **key) as other:
        other.answer.read()
        assert (other.answer.status_code, problem(other.answer).reason) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert len(rows(hook_stack, STARTED, tenant.id)) == 1


@pytest.mark.parametrize(
    ("prompt", "status", "reason"), [("", 422, "RULE_VIOLATED"), ("forbidden", 409, "STATE_FORBIDS")]
)
def test_errors_of_the_opening_are_those_of_a_unary_call(
    hook_stack: HookStack, tenant: Tenant, prompt: str, status: int, reason: str
) -> None:
    with streaming(tenant, "POST", STREAM, prompt) as frames:
        frames.answer.read()
        assert (frames.answer.status_code, problem(frames.answer).reason) == (status, reason)
    assert rows(hook_stack, STARTED, tenant.id) == []
    assert [row["outcome"] for row in rows(hook_stack, ENTRIES, tenant.id)].count("OK") == 0


def test_nobody_opens_one_without_the_permission(hook_stack: HookStack, tenant: Tenant) -> None:
    with streaming(tenant, "POST", STREAM, authorization="Bearer x") as frames:
        assert frames.answer.status_code == 401
    with httpx.Client(base_url=hook_stack.url, trust_env=False) as client:
        assert client.post(STREAM, json={"prompt": "x"}).status_code == 401


def test_no_run_is_opened_that_could_not_be_shown(hook_stack: HookStack, tenant: Tenant) -> None:
    with ExitStack() as held:
        opened = [held.enter_context(streaming(tenant, "POST", STREAM)) for _ in range(STREAMS)]
        assert [frames.take(1)[0][0] for frames in opened] == ["stream.open"] * STREAMS
        refused = held.enter_context(streaming(tenant, "POST", STREAM))
        assert refused.answer.status_code == 429
        refused.answer.read()
        assert problem(refused.answer).reason == "LIMIT_REACHED"
    assert len(rows(hook_stack, STARTED, tenant.id)) == STREAMS


def test_services_get_messages(hook_stack: HookStack, tenant: Tenant) -> None:
    metadata = (("authorization", f"Bearer {tenant.access_token}"),)
    request: Any = contract.message("StartRunRequest")

    def watch(channel: grpc.Channel, rpc: str, sent: Any) -> Any:
        path = f"/{contract.RUNS.full_name}/{rpc}"
        call = channel.unary_stream(path, type(sent).SerializeToString, RealtimeEvent.FromString)
        return call(sent, metadata=metadata, timeout=30)

    with grpc.insecure_channel(hook_stack.target) as channel:
        events = watch(channel, "WatchNewRun", request(prompt="go"))
        first = next(events)
        assert (first.type, first.message_type) == ("stream.open", f"{contract.PACKAGE}.Run")
        run = contract.message("Run").FromString(first.payload).id
        assert first.resource_id == run
        advance(tenant, run, "end", is_last=True)
        told = list(events)
        assert [event.type for event in told] == ["run.started", "run.finished"]
        again = contract.message("StreamRunRequest")(run_id=run, last_event_id=told[0].id)
        assert [event.type for event in watch(channel, "WatchRun", again)] == ["run.finished"]
        with pytest.raises(grpc.RpcError) as refused:
            next(watch(channel, "WatchNewRun", request(prompt="")))
        assert rpc_problem(refused.value).reason == "RULE_VIOLATED"
