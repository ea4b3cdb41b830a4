"""Callers that wait no longer: PostgreSQL stops working for them, and nothing was written."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from typing import Any

import grpc
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import Problem, Tenant, refused, rows
from tests.guard.locks import PAGE, Lock, held
from tests.guard.workers import at
from tests.stack import wait_for

pytestmark = pytest.mark.heavy

# The first is what it is about; a machine under load may need more to get as far as PostgreSQL.
DEADLINES = (0.3, 1.0, 3.0, 9.0)
PAGES = "LOCK TABLE pages IN ACCESS EXCLUSIVE MODE"
STATE = "SELECT state, query_start FROM pg_stat_activity WHERE pid = %s"
WRITTEN = """
SELECT (SELECT title FROM pages WHERE id = %s) AS title,
       (SELECT count(*) FROM events WHERE tenant_id = %s AND type = 'page.updated') AS events
"""
Waiter = dict[str, Any]
Leave = Callable[[], None]


@pytest.fixture
def tenant(guarded_tenant: Tenant) -> Tenant:
    return guarded_tenant


@pytest.fixture
def page(tenant: Tenant) -> str:
    """The id of a page."""
    made = tenant.rest.post(f"{tenant.path}/pages", {"slug": "page", "title": "Old"})
    return str(made.json()["id"])


def update(tenant: Tenant, page: str, title: str = "New") -> page_pb2.UpdatePageRequest:
    """What gives the page another title."""
    new = page_pb2.Page(title=title)
    return page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=new, update_mask={"paths": ["title"]})


def given_up(tenant: Tenant, lock: Lock, waiter: Waiter) -> None:
    """Wait until PostgreSQL has given the statement up while the lock is still held; the connection stays."""
    tenant.stack.wait_for(lambda: not lock.waiting())
    tenant.stack.wait_for(lambda: rows(tenant.stack, STATE, waiter["pid"])[0]["state"] == "idle")


def serves_again(tenant: Tenant, page: str, waiter: Waiter) -> None:
    """Nothing was written, and the connection serves the next call: what was given back last is taken first."""
    assert rows(tenant.stack, WRITTEN, page, tenant.id) == [{"title": "Old", "events": 0}]
    (before,) = rows(tenant.stack, STATE, waiter["pid"])
    pages = at(tenant, waiter["name"].removeprefix("plinth ")).stubs.pages
    assert pages.UpdatePage(update(tenant, page, "Newest")).title == "Newest"
    (after,) = rows(tenant.stack, STATE, waiter["pid"])
    assert after["query_start"] > before["query_start"]


def who_waits(lock: Lock, call: "Future[Problem]") -> list[Waiter]:
    """Who waits for the lock; nobody when the call has ended without anybody having been seen there."""
    seen: list[Waiter] = []

    def is_clear() -> bool:
        seen.extend(lock.waiting())
        return bool(seen) or call.done()

    wait_for(is_clear)
    return seen


def expired(lock: Lock, call: Callable[[float], object]) -> tuple[Problem, Waiter]:
    """How a call ends whose deadline passes while its statement waits for the lock, and who waited there."""
    with ThreadPoolExecutor(1) as pool:
        for deadline in DEADLINES:
            refusal = pool.submit(refused, partial(call, deadline))
            waiters = who_waits(lock, refusal)
            if waiters:
                return refusal.result(), waiters[0]
    raise AssertionError("no call got as far as PostgreSQL")


def test_a_deadline_ends_the_write_that_waits(tenant: Tenant, page: str) -> None:
    with held(tenant.stack, PAGE, page) as lock:
        pages, request = tenant.stubs.pages, update(tenant, page)
        refusal, waiter = expired(lock, lambda deadline: pages.UpdatePage(request, timeout=deadline))
        assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        given_up(tenant, lock, waiter)
    serves_again(tenant, page, waiter)


def test_a_deadline_ends_the_read_that_waits(tenant: Tenant) -> None:
    with held(tenant.stack, PAGES) as lock:
        pages, request = tenant.stubs.pages, page_pb2.ListPagesRequest(tenant_id=tenant.id)
        refusal, waiter = expired(lock, lambda deadline: pages.ListPages(request, timeout=deadline))
        assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        given_up(tenant, lock, waiter)
    # Whoever asks next does not wait for who gave up.
    assert not pages.ListPages(request).pages


@contextmanager
def by_grpc(tenant: Tenant, page: str) -> Iterator[Leave]:
    """Call, and cancel the call."""
    call = tenant.stubs.pages.UpdatePage.future(update(tenant, page))
    yield call.cancel
    assert call.code() == grpc.StatusCode.CANCELLED


@contextmanager
def by_rest(tenant: Tenant, page: str) -> Iterator[Leave]:
    """Call, and hang up."""
    connection = HTTPConnection("127.0.0.1", tenant.stack.port)
    headers = {"authorization": f"Bearer {tenant.access_token}", "content-type": "application/json"}
    connection.request("PATCH", f"{tenant.path}/pages/{page}", json.dumps({"title": "New"}), headers)
    yield connection.close


@pytest.mark.parametrize("way", [by_grpc, by_rest])
def test_a_call_that_is_given_up_stops_working(tenant: Tenant, page: str, way: Any) -> None:
    with held(tenant.stack, PAGE, page) as lock, way(tenant, page) as leave:
        (waiter,) = lock.wait_for(1)
        leave()
        given_up(tenant, lock, waiter)
    serves_again(tenant, page, waiter)
