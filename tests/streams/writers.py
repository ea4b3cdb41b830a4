"""Those who write what the streams tell."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from plinth.sites.v1 import page_pb2

from tests.clients import Tenant

THREADS = 8
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


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Let something happen beside the block. What goes wrong in it is raised at the end of the block."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        wait([future])
        future.result()
