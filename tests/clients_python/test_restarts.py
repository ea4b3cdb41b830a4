"""A stream of the client goes on when the stack behind it is restarted, and when a realtime process is killed."""

from collections.abc import Callable
from contextlib import closing

import pytest
from plinth.client import Plinth
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page, WatchPagesRequest

from tests.clients import new_tenant
from tests.clients_python.test_streams import up_to
from tests.faults.outages import replaced
from tests.stack import Stack, free_port
from tests.streams import sse, writers

pytestmark = pytest.mark.heavy
# Seconds for two restarts.
PATIENCE = 150.0


def test_a_stream_goes_on_over_restarts(own_stack: Callable[..., Stack]) -> None:
    stack = own_stack(api_workers=1, port=free_port())
    tenant = new_tenant(stack)
    start = sse.position(tenant)

    def write() -> None:
        with Plinth(stack.url, token=tenant.access_token, refresh_token=tenant.refresh_token) as client:
            for part in range(3):
                for number in range(5):
                    page = Page(slug=f"page-{part}-{number}")
                    client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=page))
                if part == 0:
                    replaced(stack, "realtime-0", stack.kill("realtime-0"))
                if part == 1:
                    stack.stop()
                    stack.start()
            client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=Page(slug=writers.LAST)))

    request = WatchPagesRequest(tenant_id=tenant.id, last_event_id=start)
    with (
        Plinth(stack.url, token=tenant.access_token) as reader,
        closing(reader.pages.watch_pages(request, timeout=PATIENCE)) as events,
        writers.beside(write),
    ):
        assert up_to(events, writers.LAST) == sse.logged(tenant)
