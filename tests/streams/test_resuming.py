"""A reader that reconnects while many write loses nothing and gets nothing twice."""

import secrets
from collections.abc import Iterator

from plinth.sites.v1 import page_pb2

from tests.clients import Tenant
from tests.streams import sse, writers

EVENTS = 200


def at_random() -> bool:
    """Once in ten times."""
    return secrets.randbelow(10) == 0


def watched(tenant: Tenant, last_event_id: str) -> Iterator[page_pb2.PageEvent]:
    """The events as a service sees them that reconnects at random, up to that of the last page."""
    slug = ""
    while slug != writers.LAST:
        request = page_pb2.WatchPagesRequest(tenant_id=tenant.id, last_event_id=last_event_id)
        events = tenant.stubs.pages.WatchPages(request, timeout=sse.PATIENCE)
        for event in events:
            yield event
            last_event_id, slug = event.id, event.page.slug
            if slug == writers.LAST or at_random():
                break
        events.cancel()


def test_a_browser_that_reconnects_at_random_gets_everything_once(tenant: Tenant) -> None:
    follower = sse.Follower(tenant, sse.position(tenant))
    with writers.beside(lambda: writers.write_all(tenant, EVENTS)):
        follower.follow(writers.LAST, at_random)
    assert follower.connections > 1
    assert follower.facts == sse.logged(tenant)
    assert len(follower.facts) == EVENTS + 1


def test_a_service_that_reconnects_at_random_gets_everything_once(tenant: Tenant) -> None:
    start = sse.position(tenant)
    with writers.beside(lambda: writers.write_all(tenant, EVENTS)):
        facts = [(event.id, event.type, event.page.id) for event in watched(tenant, start)]
    assert facts == sse.logged(tenant)
    assert len(facts) == EVENTS + 1
