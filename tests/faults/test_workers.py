"""Workers that die or go while calls are running, and callers that do."""

import secrets
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from plinth.operations.v1 import health_pb2 as operations_pb2
from plinth.operations.v1 import health_pb2_grpc as operations_pb2_grpc
from plinth.sites.v1 import page_pb2

from tests.clients import TIMEOUT, Tenant, rows, unique
from tests.faults.load import Load
from tests.faults.outages import probe, replaced, socket_of
from tests.stack import Stack

pytestmark = pytest.mark.heavy

SERVING = health_pb2.HealthCheckResponse.SERVING
BEFORE_THE_NEXT = 60
# Of each kind of caller.
LEAVERS = 60
WAYS, WHILE = 4, 2
FURNISHED = """
SELECT t.id::text,
       (SELECT count(*) FROM brandings b WHERE b.tenant_id = t.id) AS brandings,
       (SELECT count(*) FROM domains d WHERE d.tenant_id = t.id) AS domains,
       (SELECT count(*) FROM memberships m WHERE m.tenant_id = t.id) AS memberships,
       (SELECT count(*) FROM events e WHERE e.tenant_id = t.id AND e.type = 'tenant.created') AS events
  FROM tenants t WHERE t.subdomain LIKE %s
"""
COMPARED = """
SELECT (SELECT array_agg(id::text ORDER BY id::text) FROM pages WHERE tenant_id = %s) AS pages,
       (SELECT array_agg(resource_id ORDER BY resource_id) FROM events
         WHERE tenant_id = %s AND type = 'page.created') AS events
"""
ORPHANS = """
SELECT count(*) AS count FROM domains d WHERE d.hostname LIKE %s AND NOT EXISTS
       (SELECT FROM tenants t WHERE t.id = d.tenant_id)
"""


def serves(stack: Stack, name: str) -> None:
    """Call a worker itself, past the gateway."""
    assert probe(socket_of(stack, name), "plinth.process") == SERVING
    with grpc.insecure_channel(socket_of(stack, name)) as channel:
        stub: Any = operations_pb2_grpc.HealthServiceStub(channel)
        health = stub.GetHealth(operations_pb2.GetHealthRequest(), timeout=TIMEOUT)
        assert health.status == operations_pb2.Health.STATUS_SERVING


def end(stack: Stack, name: str, number: int) -> None:
    """End a worker and wait until its successor serves."""
    replaced(stack, name, stack.kill(name, number))
    serves(stack, name)


def test_what_was_acknowledged_survives_workers_that_are_killed(hurt: Stack, tenant: Tenant) -> None:
    with Load(tenant) as load:
        for _ in range(2):
            load.more(BEFORE_THE_NEXT)
            end(hurt, "api-0", signal.SIGKILL)
        load.more(BEFORE_THE_NEXT)
    load.check_refusals()
    load.check_writes()


def test_a_worker_that_is_told_to_end_fails_no_call(hurt: Stack, tenant: Tenant) -> None:
    with Load(tenant) as load:
        for _ in range(2):
            load.more(BEFORE_THE_NEXT)
            end(hurt, "api-1", signal.SIGTERM)
        load.more(BEFORE_THE_NEXT)
    assert not load.refused
    load.check_writes()


def leave(tenant: Tenant, path: str, body: bytes, way: int) -> None:
    """Send a request and go: within the body, right after it, while it is worked on, or when the answer begins."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: plinth\r\nauthorization: Bearer {tenant.access_token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    sent = len(head) + (secrets.randbelow(len(body)) if way == 0 else len(body))
    with socket.create_connection(("127.0.0.1", tenant.stack.port)) as connection:
        connection.sendall((head + body)[:sent])
        # A reset, as when a process dies, instead of a polite end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if way >= WHILE:
            connection.settimeout(TIMEOUT if way > WHILE else (1 + secrets.randbelow(10)) / 1000)
            with suppress(TimeoutError):
                connection.recv(1)


def cancel(tenant: Tenant, slug: str) -> None:
    """Call by gRPC and cancel it soon after."""
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug))
    call = tenant.stubs.pages.CreatePage.future(request)
    try:
        call.result(timeout=secrets.randbelow(8) / 1000)
    except grpc.FutureTimeoutError:
        call.cancel()


def quiet(tenant: Tenant) -> None:
    """Wait until nothing of those who left is running any more."""
    busy = (
        "SELECT count(*) AS count FROM pg_stat_activity"
        " WHERE starts_with(usename, 'plinth_runtime') AND xact_start IS NOT NULL"
    )
    tenant.stack.wait_for(lambda: not rows(tenant.stack, busy)[0]["count"])


def test_a_caller_that_leaves_leaves_nothing_half_done(tenant: Tenant) -> None:
    prefix = unique("left")
    pages = f"{tenant.path}/pages"
    with ThreadPoolExecutor(8) as pool:
        gone: list[Future[None]] = []
        for number in range(LEAVERS):
            page, other = f'{{"slug":"{prefix}-{number}"}}', f'{{"subdomain":"{prefix}-{number}","name":"x"}}'
            gone.append(pool.submit(leave, tenant, pages, page.encode(), number % WAYS))
            gone.append(pool.submit(leave, tenant, "/api/v1/tenants", other.encode(), number % WAYS))
            gone.append(pool.submit(cancel, tenant, f"{prefix}-rpc-{number}"))
    for one in gone:
        one.result()
    # Comes after all of them, so that there is at least this one.
    assert tenant.rest.post(pages, {"slug": "stayed"}).status_code == 201
    quiet(tenant)
    (found,) = rows(tenant.stack, COMPARED, tenant.id, tenant.id)
    assert found["pages"] == found["events"]
    tenants = rows(tenant.stack, FURNISHED, f"{prefix}-%")
    assert len(tenants) >= LEAVERS / WAYS, "those whose answer began are there"
    for row in tenants:
        assert set(row.values()) == {row["id"], 1}, row
    assert rows(tenant.stack, ORPHANS, f"{prefix}-%")[0]["count"] == 0
