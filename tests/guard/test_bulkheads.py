"""Slow calls that hang keep no fast one from being answered."""

from statistics import median
from time import perf_counter
from typing import Any

import pytest
from plinth.identity.v1 import auth_pb2
from plinth.sites.v1 import page_pb2

from tests.clients import Tenant, another_tenant
from tests.guard.locks import Lock, held
from tests.guard.workers import at

pytestmark = pytest.mark.heavy

HANGING = 64
# In each of three rounds: before, while, and after they hang.
FAST = 40
# No machine is so busy that fast calls among themselves differ by this much, and hanging takes no processor time.
FACTOR = 10
# What others begin to do on this machine in the middle of one, they do not begin in each.
TRIES = 3
USER = "SELECT FROM users WHERE id = %s FOR UPDATE"


def log_in(tenant: Tenant) -> Any:
    """Begin to log the owner in. It ends when their row can be written."""
    request = auth_pb2.LogInRequest(email=tenant.owner.email, password=tenant.owner.password)
    return tenant.stubs.auth.LogIn.future(request, timeout=60)


def fast_calls(tenant: Tenant, count: int, name: str) -> list[float]:
    """How long so many writes and reads take, one after the other; half of them go to each worker."""
    seconds = []
    for number in range(count):
        pages = at(tenant, f"api-{number % 2}").stubs.pages
        start = perf_counter()
        new = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=f"{name}-{number}"))
        page = pages.CreatePage(new)
        assert pages.GetPage(page_pb2.GetPageRequest(tenant_id=tenant.id, page_id=page.id)) == page
        seconds.append(perf_counter() - start)
    return seconds


def hang(tenant: Tenant, lock: Lock) -> list[Any]:
    """Calls that fill the threads of slow calls of every worker, and the queue behind them."""
    settings = tenant.stack.settings
    threads = settings.slow_threads * settings.api_workers
    assert threads < HANGING
    calls = [log_in(tenant) for _ in range(HANGING)]
    lock.wait_for(threads)
    return calls


def measure(tenant: Tenant, count: int) -> tuple[float, float]:
    """The median of fast calls in quiet, and while slow ones hang. Checks that no fast call waits for a slow one."""
    quiet = fast_calls(tenant, count, "before")
    with held(tenant.stack, USER, tenant.owner.id) as lock:
        calls = hang(tenant, lock)
        hanging = fast_calls(tenant, count, "while")
        assert not any(call.done() for call in calls)
        lock.release()
        assert len({call.result().refresh_token for call in calls}) == HANGING
    quiet += fast_calls(tenant, count, "after")
    return median(quiet), median(hanging)


def test_fast_calls_go_on_while_slow_ones_hang(guarded_tenant: Tenant) -> None:
    measured = []
    for _ in range(TRIES):
        quiet, hanging = measure(another_tenant(guarded_tenant), FAST)
        measured.append(f"{hanging * 1000:.1f} ms instead of {quiet * 1000:.1f} ms")
        if hanging < FACTOR * quiet:
            return
    raise AssertionError(measured)
