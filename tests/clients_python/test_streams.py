"""Streams over all their connections: every event once, and none is missed."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest
from plinth.client import AsyncPlinth, OutOfRange, Plinth, PlinthError, Retries, Unauthenticated, Unavailable
from plinth.identity.v1.auth_pb2 import LogOutRequest
from plinth.realtime.v1.realtime_pb2 import WatchEventsRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page, PageEvent, WatchPagesRequest

from server.kernel.guard.tokens import AccessTokens
from tests.clients import Tenant, log_in, switch_tenant
from tests.clients_python.double import Double, refusal
from tests.streams import sse, writers

Code = grpc.StatusCode
BROKEN = refusal(Code.UNAVAILABLE)
AT_ONCE = Retries(first_pause=0.001, longest_pause=0.01)


def short_lived(tenant: Tenant, token: str) -> str:
    """An access token of the same session that expires in some seconds."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=2)
    return tokens.issue(tokens.verify(token))


def up_to(events: Iterator[PageEvent], slug: str) -> list[tuple[str, str, str]]:
    """What a stream tells up to the event of a page."""
    found = []
    for event in events:
        found.append((event.id, event.type, event.page.id))
        if event.page.slug == slug:
            break
    return found


def test_events_come_as_they_happen(client: Plinth, tenant: Tenant) -> None:
    start = sse.position(tenant)
    with closing(client.pages.watch_pages(WatchPagesRequest(tenant_id=tenant.id, last_event_id=start))) as events:
        writers.write_all(tenant, 5)
        assert up_to(events, writers.LAST) == sse.logged(tenant)
    everything = client.realtime.watch_events(WatchEventsRequest(types="page.*", last_event_id=start))
    with closing(everything) as events_of_all:
        assert Page.FromString(next(events_of_all).payload).slug.startswith("p-")


def test_a_stream_outlives_its_token(tenant: Tenant) -> None:
    """The server ends it when the token expires; nothing is read before, so the stream has no event to go on from."""
    session = switch_tenant(tenant.stack, log_in(tenant.stack, tenant.owner), tenant.id)
    # A session of its own: other tests use that of the owner.
    token = short_lived(tenant, session.access_token)
    with Plinth(tenant.stack.url, token=token, refresh_token=session.refresh_token) as client:
        with (
            closing(client.pages.watch_pages(WatchPagesRequest(tenant_id=tenant.id))) as events,
            writers.beside(lambda: _write_after_renewal(client, tenant)),
        ):
            assert up_to(events, writers.LAST) == sse.logged(tenant)
        assert client.tokens
        assert client.tokens.access_token != token


def _write_after_renewal(client: Plinth, tenant: Tenant) -> None:
    tenant.stack.wait_for(lambda: client.tokens and client.tokens.lifetime > 60)
    writers.write_all(tenant, 3)


def test_the_server_tells_where_a_stream_begins(tenant: Tenant) -> None:
    """Who loses the connection before the first event goes on from there."""
    stream = tenant.stubs.pages.WatchPages(WatchPagesRequest(tenant_id=tenant.id), timeout=sse.PATIENCE)
    begins_at = dict(stream.initial_metadata())["last-event-id"]
    stream.cancel()
    writers.write_all(tenant, 3)
    again = tenant.stubs.pages.WatchPages(
        WatchPagesRequest(tenant_id=tenant.id, last_event_id=begins_at), timeout=sse.PATIENCE
    )
    assert up_to(again, writers.LAST) == sse.logged(tenant)
    again.cancel()


def test_a_stream_of_an_ended_session_ends(tenant: Tenant) -> None:
    session = switch_tenant(tenant.stack, log_in(tenant.stack, tenant.owner), tenant.id)
    with Plinth(tenant.stack.url, token=session.access_token, refresh_token=session.refresh_token) as client:
        client.auth.log_out(LogOutRequest())
        with pytest.raises(Unauthenticated):
            next(client.pages.watch_pages(WatchPagesRequest(tenant_id=tenant.id)))


def test_a_position_that_the_log_lacks_is_an_error(client: Plinth, tenant: Tenant) -> None:
    beyond = WatchPagesRequest(tenant_id=tenant.id, last_event_id=f"{10**12}-1")
    with pytest.raises(PlinthError) as caught:
        next(client.pages.watch_pages(beyond))
    assert isinstance(caught.value, OutOfRange), caught.value


def events(*numbers: int) -> list[PageEvent]:
    return [PageEvent(id=f"event-{number}", type="page.created") for number in numbers]


def test_a_stream_that_breaks_goes_on_after_its_last_event(double: Double, impatient: Plinth) -> None:
    cut = refusal(Code.ABORTED, "SUBSCRIBER_TOO_SLOW")
    by_proxy = refusal(Code.INTERNAL)
    double.script = [BROKEN, *events(1, 2), BROKEN, cut, by_proxy, *events(3), BROKEN, *events(4)]
    seen = [event.id for event in impatient.pages.watch_pages(WatchPagesRequest())]
    assert seen == ["event-1", "event-2", "event-3", "event-4"]
    assert double.watched == ["", "start", "event-2", "event-2", "event-2", "event-3"]


def test_a_stream_begins_where_it_is_asked_to(double: Double, impatient: Plinth) -> None:
    request = WatchPagesRequest(last_event_id="given")
    double.script = [BROKEN, *events(1)]
    assert [event.id for event in impatient.pages.watch_pages(request)] == ["event-1"]
    assert (double.watched, request.last_event_id) == (["given", "given"], "given")


def test_a_stream_goes_on_with_a_fresh_token(double: Double, impatient: Plinth) -> None:
    double.script = [*events(1), refusal(Code.UNAUTHENTICATED, "TOKEN_EXPIRED"), *events(2)]
    assert [event.id for event in impatient.pages.watch_pages(WatchPagesRequest())] == ["event-1", "event-2"]
    assert double.refreshes == ["refresh-1"]
    assert [call["authorization"] for call in double.calls] == ["Bearer first", "Bearer access-1"]


def test_a_stream_that_cannot_go_on_ends_with_the_reason(double: Double, impatient: Plinth) -> None:
    double.script = [*events(1), refusal(Code.OUT_OF_RANGE, "EVENT_UNKNOWN")]
    stream = impatient.pages.watch_pages(WatchPagesRequest())
    assert next(stream).id == "event-1"
    with pytest.raises(OutOfRange):
        next(stream)


def test_a_broken_stream_is_given_up_in_the_end(double: Double) -> None:
    # With a position once, then never open again.
    patience = Retries(first_pause=0.001, longest_pause=0.001, resume_within=0.05)
    with Plinth(double.url, retries=patience) as client:
        stream = client.pages.watch_pages(WatchPagesRequest())
        double.script = [*events(1), BROKEN]
        double.most_streams = 1
        assert next(stream).id == "event-1"
        with pytest.raises(Unavailable):
            next(stream)


def test_for_asyncio_too(double: Double) -> None:
    double.script = [*events(1), BROKEN, refusal(Code.UNAUTHENTICATED, "TOKEN_EXPIRED"), *events(2)]

    async def work() -> list[str]:
        async with AsyncPlinth(double.url, token="first", refresh_token="refresh-1", retries=AT_ONCE) as client:
            return [event.id async for event in client.pages.watch_pages(WatchPagesRequest())]

    assert asyncio.run(work()) == ["event-1", "event-2"]
    assert double.watched == ["", "event-1", "event-1"]


def test_an_async_stream_can_be_closed(tenant: Tenant) -> None:
    async def work() -> str:
        async with AsyncPlinth(tenant.stack.url, token=tenant.access_token) as client:
            start = sse.position(tenant)
            stream = client.pages.watch_pages(WatchPagesRequest(tenant_id=tenant.id, last_event_id=start))
            await client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=Page(slug="first")))
            async for event in stream:
                await stream.aclose()
                return event.page.slug
        return ""

    assert asyncio.run(work()) == "first"
