"""Those who write what the streams tell."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from plinth.sites.v1 import page_pb2

from server.kernel.ids import new_id
from tests.clients import Tenant, database

THREADS = 8
APPEND = """
INSERT INTO events (tenant_id, id, type, resource_id, message_type, payload, request_id)
VALUES (%s, %s, 'page.created', %s, 'plinth.sites.v1.Page', %s, '')
"""
LAST = "last"


def create(tenant: Tenant, slug: str, **facts: Any) -> page_pb2.Page:
    """A new page, by gRPC."""
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug, **facts))
    page: page_pb2.Page = tenant.stubs.pages.CreatePage(request)
    return page


def write(tenant: Tenant, count: int, prefix: str = "p") -> None:
    """Make so many pages, from some threads at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        assert len(list(pool.map(lambda number: create(tenant, f"{prefix}-{number}"), range(count)))) == count


def write_all(tenant: Tenant, count: int) -> None:
    """Make so many pages from some threads at once, then the last one, whose event is the last of the log."""
    write(tenant, count)
    create(tenant, LAST)


def append(tenant: Tenant, pages: Iterable[page_pb2.Page]) -> None:
    """Write the events of new pages right into the log, at once: making them takes longer than silence may last."""
    rows = [(tenant.id, new_id(), page.id, page.SerializeToString()) for page in pages]
    with database(tenant.stack) as connection:
        connection.cursor().executemany(APPEND, rows)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Let something happen beside the block. What goes wrong in it is raised at the end of the block."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        wait([future])
        future.result()
