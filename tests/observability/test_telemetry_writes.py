"""Telemetry on a real stack: it leaves its rows and nothing else, and takes nothing from the calls beside it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import TIMEOUT, Rest, Tenant, new_member, rows, rpc_problem, unique
from tests.faults.outages import socket_of
from tests.guard.crowded_worker import NAME
from tests.guard.locks import PAGE, held
from tests.guard.workers import Program, at, running
from tests.observability import crowded
from tests.observability.conftest import MOST
from tests.observability.points import LONGEST_NAME, METHOD, Point, RecordPointsRequest

pytestmark = pytest.mark.heavy

ENTRIES = "SELECT outcome, reason, count FROM audit_entries WHERE tenant_id = %s AND method = %s"
EVENTS = "SELECT type FROM events WHERE tenant_id = %s ORDER BY transaction_id, sequence"
POINTS = "SELECT name, value FROM points WHERE tenant_id = %s"
RECORDS = "SELECT id FROM idempotency_records"
BOUND = 3


@contextmanager
def recorder(target: str, token: str) -> Iterator[Any]:
    """What starts a call of RecordPoints. The gateway knows no points, so it goes to a worker."""
    with grpc.insecure_channel(target) as channel:
        stub = channel.unary_unary(METHOD, RecordPointsRequest.SerializeToString, lambda answer: answer)

        def start(name: str = "load", value: float = 1.0, key: str = "") -> Any:
            pairs = (("authorization", f"Bearer {token}"), *((("idempotency-key", key),) if key else ()))
            request = RecordPointsRequest(points=[Point(name=name, value=value)])
            return stub.future(request, metadata=pairs, timeout=TIMEOUT, wait_for_ready=True)

        yield start


@contextmanager
def recording_as(tenant: Tenant, token: str = "") -> Iterator[Any]:
    """The same at the api worker of the stack; as the owner of a tenant, unless another token is given."""
    with recorder(socket_of(tenant.stack, "api-0"), token or tenant.access_token) as start:
        yield start


def entries(tenant: Tenant) -> list[dict[str, Any]]:
    """The audit entries of RecordPoints."""
    return rows(tenant.stack, ENTRIES, tenant.id, METHOD[1:])


def test_what_is_recorded_leaves_its_rows_and_nothing_else(tenant: Tenant) -> None:
    before = (rows(tenant.stack, EVENTS, tenant.id), rows(tenant.stack, RECORDS))
    with recording_as(tenant) as start:
        for call in [start(value=float(number)) for number in range(20)]:
            call.result()
    assert sorted(row["value"] for row in rows(tenant.stack, POINTS, tenant.id)) == [*map(float, range(20))]
    assert (rows(tenant.stack, EVENTS, tenant.id), rows(tenant.stack, RECORDS)) == before
    assert entries(tenant) == []


def test_a_key_that_is_sent_is_kept(tenant: Tenant) -> None:
    key = unique("key")
    with recording_as(tenant) as start:
        assert start(key=key).result() == start(key=key).result()
    assert len(rows(tenant.stack, POINTS, tenant.id)) == 1


def test_what_is_refused_all_the_time_has_an_entry_a_minute(tenant: Tenant) -> None:
    viewer = new_member(tenant, "viewer")[1].access_token
    refused = 0
    with recording_as(tenant, viewer) as start:
        for wave in range(1, 5):
            for call in [start() for _ in range(10)]:
                assert call.code() is grpc.StatusCode.PERMISSION_DENIED
                refused += 1
            # A refusal that is no telemetry is written by now, and so is whatever was refused before it.
            tenant.stack.wait_for(partial(_is_told_of_pages, tenant, viewer, wave))
    (entry,) = entries(tenant)
    assert (entry["reason"], 0 < entry["count"] <= refused) == ("PERMISSION_MISSING", True)


def _is_told_of_pages(tenant: Tenant, token: str, times: int) -> bool:
    """Whether the audit log tells of this number of refused pages. Otherwise one more is refused, for the next look."""
    written = "SELECT coalesce(sum(count), 0) AS found FROM audit_entries WHERE tenant_id = %s AND method LIKE %s"
    is_told = bool(rows(tenant.stack, written, tenant.id, "%CreatePage")[0]["found"] >= times)
    if not is_told:
        answer = Rest(tenant.stack, token).post(f"{tenant.path}/pages", {"slug": "x"})
        assert answer.status_code == 403, answer.text
    return is_told


def test_what_is_wrong_is_refused_whole_and_named(tenant: Tenant) -> None:
    with recording_as(tenant) as start:
        why = rpc_problem(start(name="x" * (LONGEST_NAME + 1)).exception())
    assert (why.reason, set(why.violations)) == ("RULE_VIOLATED", {"points[0].name"})
    tenant.stack.wait_for(lambda: entries(tenant))
    assert [(entry["outcome"], entry["count"]) for entry in entries(tenant)] == [("INVALID_ARGUMENT", 1)]
    assert rows(tenant.stack, POINTS, tenant.id) == []


def test_a_tenant_that_has_used_up_its_telemetry_has_its_other_calls(tenant: Tenant) -> None:
    member = new_member(tenant, "member")[1].access_token
    with recording_as(tenant) as own, recording_as(tenant, member) as others:
        codes = Counter(call.code() for call in [start() for _ in range(MOST) for start in (own, others)])
        why = rpc_problem(others().exception())
    assert codes == {grpc.StatusCode.OK: MOST, grpc.StatusCode.RESOURCE_EXHAUSTED: MOST}
    assert (why.reason, why.metadata["rate_class"], why.metadata["scope"]) == ("RATE_LIMITED", "telemetry", "tenant")
    made = tenant.rest.post(f"{tenant.path}/pages", {"slug": "still"})
    assert (made.status_code, len(rows(tenant.stack, POINTS, tenant.id))) == (201, MOST)


def holds(crowd: Program, count: int) -> bool:
    """Whether this number of calls waits for the thread."""
    return int(crowd.ask("how many")) == count


def test_telemetry_is_refused_before_other_calls(tenant: Tenant) -> None:
    page = tenant.rest.post(f"{tenant.path}/pages", {"slug": "page"}).json()["id"]
    with running(crowded.__name__, tenant.stack, api_threads=1, queue_bound=BOUND) as crowd:
        assert crowd.hear() == "ready"
        beside = at(tenant, NAME)
        get = page_pb2.GetPageRequest(tenant_id=tenant.id, page_id=page)
        with recorder(socket_of(tenant.stack, NAME), tenant.access_token) as start:
            order = [start, partial(beside.stubs.pages.GetPage.future, get)] * BOUND
            with held(tenant.stack, PAGE, page) as lock, ThreadPoolExecutor(1) as pool:
                update = page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page={"title": "New"})
                first = pool.submit(beside.stubs.pages.UpdatePage, update)
                lock.wait_for(1)
                calls = []
                for number, begin in enumerate(order, 1):
                    calls.append(begin())
                    tenant.stack.wait_for(partial(holds, crowd, number))
                lock.release()
                assert first.result().title == "New"
            refused = [call.exception() is not None for call in calls]
    behind = range(len(order) - 1, -1, -1)
    assert refused == [place % 2 == 0 and left > BOUND for place, left in enumerate(behind)]
    assert {rpc_problem(call.exception()).reason for call in calls if call.exception()} == {"OVERLOADED"}
