"""Callers that wait no longer: PostgreSQL stops working for them, and nothing was written."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import Tenant, refused, rows
from tests.guard.locks import PAGE, Lock, held
from tests.guard.workers import at

BRIEF = 0.3
STATE = "SELECT state, query_start FROM pg_stat_activity WHERE pid = %s"
WRITTEN = """
SELECT (SELECT title FROM pages WHERE id = %s) AS title,
       (SELECT count(*) FROM events WHERE tenant_id = %s AND type = 'page.updated') AS events
"""


@pytest.fixture
def page(tenant: Tenant) -> str:
    """The id of a page."""
    made = tenant.rest.post(f"{tenant.path}/pages", {"slug": "page", "title": "Old"})
    return str(made.json()["id"])


def update(tenant: Tenant, page: str, title: str = "New") -> page_pb2.UpdatePageRequest:
    """What gives the page another title."""
    new = page_pb2.Page(title=title)
    return page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=new, update_mask={"paths": ["title"]})


def check_forgotten(tenant: Tenant, page: str, lock: Lock, waiter: dict[str, Any]) -> None:
    """PostgreSQL gives the statement up while the lock is still held, and its connection serves the next call."""
    tenant.stack.wait_for(lambda: not lock.waiting())
    pid, worker = waiter["pid"], waiter["name"].removeprefix("plinth ")
    tenant.stack.wait_for(lambda: rows(tenant.stack, STATE, pid)[0]["state"] == "idle")
    lock.release()
    (before,) = rows(tenant.stack, STATE, pid)
    assert rows(tenant.stack, WRITTEN, page, tenant.id) == [{"title": "Old", "events": 0}]
    pages = at(tenant, worker).stubs.pages
    # The connection that was given back last is taken first; others may use the worker meanwhile.
    tenant.stack.wait_for(
        lambda: (
            pages.UpdatePage(update(tenant, page, "Newest"))
            and rows(tenant.stack, STATE, pid)[0]["query_start"] > before["query_start"]
        )
    )


def test_a_deadline_ends_the_statement_that_waits(tenant: Tenant, page: str) -> None:
    with held(tenant.stack, PAGE, page) as lock, ThreadPoolExecutor(1) as pool:
        call = pool.submit(refused, lambda: tenant.stubs.pages.UpdatePage(update(tenant, page), timeout=BRIEF))
        (waiter,) = lock.wait_for(1)
        assert call.result().code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        check_forgotten(tenant, page, lock, waiter)
