"""A stream of the client goes on when the stack behind it is restarted, and when a realtime process is killed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from plinth.client import Plinth, Retries
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page, WatchPagesRequest

from tests.clients import Tenant, new_tenant
from tests.clients_python.test_streams import up_to
from tests.faults.outages import replaced
from tests.stack import Stack, free_port
from tests.streams import sse, writers

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
# Seconds for a stack that starts twice, on a loaded machine.
PATIENCE = 400.0
# Writes go on when the gateway is there again.
LASTING = Retries(attempts=20)


def test_a_stream_goes_on_over_restarts(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(api_workers=1, port=free_port())
    tenant = new_tenant(stack)
    request = WatchPagesRequest(tenant_id=tenant.id, last_event_id=sse.position(tenant))
    with (
        Plinth(stack.url, token=tenant.access_token, refresh_token=tenant.refresh_token, retries=LASTING) as client,
        closing(client.pages.watch_pages(request, timeout=PATIENCE)) as events,
        ThreadPoolExecutor(1) as pool,
    ):
        seen = pool.submit(up_to, events, writers.LAST)
        write(client, tenant, "before")
        replaced(stack, "realtime-0", stack.kill("realtime-0"))
        write(client, tenant, "between")
        stack.stop()
        stack.start()
        write(client, tenant, "after")
        client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=Page(slug=writers.LAST)))
        assert seen.result() == sse.logged(tenant)


def write(client: Plinth, tenant: Tenant, prefix: str) -> None:
    """Make some pages."""
    for number in range(5):
        page = Page(slug=f"{prefix}-{number}")
        client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=page))
