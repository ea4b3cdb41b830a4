"""What is refused first when more arrives than can be served."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import grpc
import pytest
from plinth.operations.v1 import health_pb2
from plinth.sites.v1 import page_pb2

from tests.clients import Stubs, Tenant, rows, rpc_problem
from tests.guard import crowded_worker
from tests.guard.locks import PAGE, held
from tests.guard.workers import Program, at, running
from tests.stack import Stack

pytestmark = pytest.mark.heavy

BOUND = 3
# By what the policies say: the bound, and how many times over it is reached before a call is refused.
KINDS = {"sheddable": 1, "normal": 2, "critical": 4}
ROUNDS = 2 * KINDS["critical"]
# What the gateway makes of these is held by tests/edge.
AS_REST = (("x-envoy-original-path", "/api/v1/somewhere"),)


@pytest.fixture(scope="module")
def crowd(guarded: Stack) -> Iterator[Program]:
    """A worker with one thread, which tells how many calls wait for it."""
    with running(crowded_worker.__name__, guarded, api_threads=1, queue_bound=BOUND) as program:
        assert program.hear() == "ready"
        yield program


@pytest.fixture
def tenant(guarded_tenant: Tenant) -> Tenant:
    """A tenant whose stubs call that worker."""
    return at(guarded_tenant, crowded_worker.NAME)


@pytest.fixture
def page(guarded_tenant: Tenant) -> str:
    """The id of a page."""
    made = guarded_tenant.rest.post(f"{guarded_tenant.path}/pages", {"slug": "page"})
    return str(made.json()["id"])


def calls_of(stubs: Stubs, tenant: Tenant, page: str) -> dict[str, Callable[..., Any]]:
    """What starts a call of each criticality."""
    return {
        "sheddable": lambda **options: stubs.pages.ListPages.future(
            page_pb2.ListPagesRequest(tenant_id=tenant.id), **options
        ),
        "normal": lambda **options: stubs.pages.GetPage.future(
            page_pb2.GetPageRequest(tenant_id=tenant.id, page_id=page), **options
        ),
        "critical": lambda **options: stubs.health.GetHealth.future(health_pb2.GetHealthRequest(), **options),
    }


def holds(crowd: Program, count: int) -> bool:
    """Whether so many calls wait for the thread."""
    return int(crowd.ask("how many")) == count


def queued(tenant: Tenant, crowd: Program, starts: list[Callable[[], Any]]) -> list[Any]:
    """Start calls one after the other, each when the one before waits for the thread."""
    calls = []
    for number, start in enumerate(starts, 1):
        calls.append(start())
        tenant.stack.wait_for(partial(holds, crowd, number))
    return calls


@pytest.mark.parametrize("metadata", [(), AS_REST], ids=["grpc", "rest"])
def test_what_can_wait_is_refused_first(tenant: Tenant, crowd: Program, page: str, metadata: Any) -> None:
    starts = calls_of(tenant.stubs, tenant, page)
    order = list(KINDS) * ROUNDS
    with held(tenant.stack, PAGE, page) as lock, ThreadPoolExecutor(1) as pool:
        update = page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=page_pb2.Page(title="New"))
        first = pool.submit(tenant.stubs.pages.UpdatePage, update)
        lock.wait_for(1)
        calls = queued(tenant, crowd, [partial(starts[kind], metadata=metadata) for kind in order])
        lock.release()
        assert first.result().title == "New"
    refused: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for place, (kind, call) in enumerate(zip(order, calls, strict=True)):
        behind = len(order) - 1 - place
        assert (call.exception() is not None) == (behind > KINDS[kind] * BOUND), (place, kind)
        refused[kind] += [call] if call.exception() else []
    assert ROUNDS > len(refused["sheddable"]) > len(refused["normal"]) > len(refused["critical"]) > 0
    for call in chain.from_iterable(refused.values()):
        why = rpc_problem(call)
        assert (call.code(), why.reason, why.retry_after) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED", 1.0)
        beside = dict(call.trailing_metadata())
        assert (beside.get("x-http-status"), beside.get("retry-after")) == (("503", "1") if metadata else (None, None))


def test_a_call_whose_caller_has_left_the_queue_is_not_begun(tenant: Tenant, crowd: Program, page: str) -> None:
    def create(slug: str, **options: Any) -> Any:
        new = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug))
        return tenant.stubs.pages.CreatePage.future(new, **options)

    with held(tenant.stack, PAGE, page) as lock, ThreadPoolExecutor(1) as pool:
        update = page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=page_pb2.Page(title="New"))
        first = pool.submit(tenant.stubs.pages.UpdatePage, update)
        lock.wait_for(1)
        (cancelled,) = queued(tenant, crowd, [lambda: create("cancelled")])
        # On a slow machine its deadline may have passed before it is in the queue.
        late = create("late", timeout=0.5)
        tenant.stack.wait_for(lambda: late.done() or holds(crowd, 2))
        before = int(crowd.ask("how many"))
        patient = create("patient")
        tenant.stack.wait_for(lambda: int(crowd.ask("how many")) > before)
        cancelled.cancel()
        assert late.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
        lock.release()
        first.result()
        assert patient.result().slug == "patient"
    found = rows(tenant.stack, "SELECT slug FROM pages WHERE tenant_id = %s", tenant.id)
    assert sorted(row["slug"] for row in found) == ["page", "patient"]
