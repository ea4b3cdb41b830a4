"""Workers that die at every step of a keyed write: the call is sent again, and has had one effect."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from plinth.sites.v1 import page_pb2

from tests.clients import Tenant, reason, refused, rows
from tests.guard import dying_worker
from tests.guard.dying_worker import POINTS
from tests.guard.workers import Program, at, running
from tests.stack import Stack

pytestmark = pytest.mark.heavy

RUNNING = (409, "IDEMPOTENT_CALL_RUNNING")
# So many that two messages with the same entries hardly ever have them in the same order.
SETTINGS: dict[str, Any] = {f"setting-{number}": number for number in range(30)}
WORKERS = ("api-0", "api-1")
COMMITTED = {"commit-sent", "committed"}
COUNTS = """
SELECT (SELECT count(*) FROM pages WHERE tenant_id = %s) AS pages,
       (SELECT count(*) FROM events WHERE tenant_id = %s AND type = 'page.created') AS events
"""


@dataclass
class Mortals:
    """The workers that are going to die."""

    program: Program

    def __post_init__(self) -> None:
        self._heard = {self.program.hear() for _ in POINTS}
        assert self._heard == {f"ready {point}" for point in POINTS}

    def await_death(self, point: str) -> None:
        """Wait until this one is dead."""
        while f"died {point}" not in self._heard:
            self._heard.add(self.program.hear())


@pytest.fixture(scope="module")
def mortals(guarded: Stack) -> Iterator[Mortals]:
    with running(dying_worker.__name__, guarded, *POINTS) as program:
        yield Mortals(program)


def list_slugs(tenant: Tenant, worker: str) -> list[str]:
    """The slugs of a tenant's pages as a worker lists them, from its cache if it can."""
    listed = at(tenant, worker).stubs.pages.ListPages(page_pb2.ListPagesRequest(tenant_id=tenant.id))
    return [page.slug for page in listed.pages]


def send_again(tenant: Tenant, slug: str, key: str) -> httpx.Response:
    """The same call through the gateway, until PostgreSQL has noticed that the first one is dead."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        body = {"slug": slug, "settings": SETTINGS}
        answers.append(tenant.rest.post(f"{tenant.path}/pages", body, headers={"idempotency-key": key}))
        return answers[-1].status_code != 409 or reason(answers[-1]) != RUNNING

    tenant.stack.wait_for(answered)
    return answers[-1]


@pytest.mark.parametrize("point", POINTS)
def test_a_write_whose_worker_dies_has_one_effect(guarded_tenant: Tenant, mortals: Mortals, point: str) -> None:
    tenant = guarded_tenant
    assert [list_slugs(tenant, worker) for worker in WORKERS] == [[], []]
    page = page_pb2.Page(slug=point)
    page.settings.update(SETTINGS)
    request = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page)
    call = partial(at(tenant, point).stubs.pages.CreatePage, request, metadata=[("idempotency-key", point)])
    assert refused(call).code == grpc.StatusCode.UNAVAILABLE.value[0]
    mortals.await_death(point)
    if point == "committed":
        # It told nobody that something has changed, and yet nobody gets what was cached before.
        assert [list_slugs(tenant, worker) for worker in WORKERS] == [[point], [point]]
    first = send_again(tenant, point, point)
    assert (first.status_code, first.json()["slug"]) == (201, point)
    assert first.headers.get("idempotent-replay") == ("true" if point in COMMITTED else None)
    assert [list_slugs(tenant, worker) for worker in WORKERS] == [[point], [point]]
    again = send_again(tenant, point, point)
    assert again.headers["idempotent-replay"] == "true"
    assert (again.status_code, again.content) == (201, first.content)
    assert {name: again.headers[name] for name in ("location", "etag")} == {
        name: first.headers[name] for name in ("location", "etag")
    }
    assert rows(tenant.stack, COUNTS, tenant.id, tenant.id) == [{"pages": 1, "events": 1}]
