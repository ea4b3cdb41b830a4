"""How streams end, and that their readers can go on afterwards."""

import signal
import socket
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from plinth.sites.v1 import page_pb2

from server.kernel.guard.tokens import AccessTokens
from server.kernel.ids import new_id
from tests.clients import Tenant, new_tenant, rpc_problem
from tests.faults.outages import away, replaced, well
from tests.stack import Stack
from tests.streams import sse, writers
from tests.telemetry.scrapes import scrape

pytestmark = pytest.mark.heavy

EVENTS = 120
# Not smaller than a packet of the loopback interface, or every packet waits for a timer.
SMALL_WINDOW = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)]


@pytest.fixture(scope="module")
def owner(brisk: Stack) -> Tenant:
    """Somebody with a tenant on the module's own stack."""
    return new_tenant(brisk)


@pytest.fixture
def tenant(brisk: Stack, owner: Tenant) -> Tenant:
    """A tenant of this test alone, and a session of this test alone, once the stack has got over the test before."""
    made = new_tenant(brisk, owner.owner)
    brisk.wait_for(lambda: sse.opens(made))
    return made


def short_lived(tenant: Tenant) -> str:
    """An access token of the same session that expires in some seconds: it has to be good when the stream opens."""
    settings = tenant.stack.settings
    tokens = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=5)
    return tokens.issue(tokens.verify(tenant.access_token))


def reason(status: Any) -> str:
    """The reason in a google.rpc.Status as JSON."""
    return next(str(detail["reason"]) for detail in status["details"] if detail["@type"].endswith("ErrorInfo"))


def last_words(reader: sse.Reader) -> tuple[int, str]:
    """Code and reason of the only frame that is left."""
    (frame,) = reader.rest()
    assert (frame.id, frame.event) == ("", "stream.error"), frame
    return frame.data["code"], reason(frame.data)


def test_comments_keep_a_silent_stream_open(tenant: Tenant) -> None:
    with sse.listening(tenant) as reader:
        assert [reader.next().is_comment for _ in range(2)] == [True, True]


def test_an_expired_token_ends_the_stream(tenant: Tenant) -> None:
    with sse.listening(tenant, short_lived(tenant)) as reader:
        assert last_words(reader) == (16, "TOKEN_EXPIRED")


def test_logging_out_ends_the_streams_of_browsers_and_services(tenant: Tenant) -> None:
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id, last_event_id=sse.position(tenant))
    writers.create(tenant, "first")
    events = tenant.stubs.pages.WatchPages(request, timeout=sse.PATIENCE)
    next(events)
    with sse.listening(tenant) as reader:
        assert tenant.rest.post("auth/logout").status_code == 204
        assert last_words(reader) == (16, "SESSION_ENDED")
    with pytest.raises(grpc.RpcError) as raised:
        next(events)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert rpc_problem(raised.value).reason == "SESSION_ENDED"


def test_deleting_the_tenant_ends_its_streams(tenant: Tenant) -> None:
    with sse.listening(tenant) as reader:
        assert tenant.rest.delete(tenant.path).status_code == 204
        assert last_words(reader) == (5, "RESOURCE_NOT_FOUND")


def write_much(tenant: Tenant, count: int) -> None:
    """Tell of pages of 200 kB, more of them than the buffers between here and there take, and of a last small one."""
    big = struct_pb2.Struct()
    big.update({"text": "x" * 200_000})
    pages = [page_pb2.Page(id=new_id(), slug=f"page-{number}", settings=big) for number in range(count)]
    writers.append(tenant, [*pages, page_pb2.Page(id=new_id(), slug=writers.LAST)])


def cuts(stack: Stack) -> float:
    """How many readers were too slow so far."""
    return scrape(stack.metrics_url).total("plinth_stream_cut_total", reason="SUBSCRIBER_TOO_SLOW")


def slow(tenant: Tenant) -> AbstractContextManager[sse.Reader]:
    """A stream that nobody reads beyond what its socket takes by itself."""
    return sse.connect(tenant.stack, tenant.id, tenant.access_token, socket_options=SMALL_WINDOW)


def test_a_slow_reader_is_cut_and_resumes_where_it_was(tenant: Tenant) -> None:
    with slow(tenant) as reader:
        assert reader.next().event == "stream.open"
        so_far = cuts(tenant.stack)
        write_much(tenant, 50)
        tenant.stack.wait_for(lambda: cuts(tenant.stack) > so_far)
        *seen, last = reader.rest()
    assert last.event == "stream.error"
    assert (last.data["code"], reason(last.data)) == (10, "SUBSCRIBER_TOO_SLOW")
    log = sse.logged(tenant)
    facts = [frame.fact for frame in seen]
    assert 0 < len(facts) < len(log)
    assert facts == log[: len(facts)]
    follower = sse.Follower(tenant, seen[-1].id)
    follower.follow(writers.LAST)
    assert facts + follower.facts == log


def test_slow_readers_hold_nobody_up(brisk: Stack, owner: Tenant, tenant: Tenant) -> None:
    other = new_tenant(brisk, owner.owner)
    with ExitStack() as streams:
        # A reader that is dropped closes its connection.
        readers = [streams.enter_context(slow(tenant)) for _ in range(4)]
        assert [each.next().event for each in readers] == ["stream.open"] * 4
        reader = streams.enter_context(sse.listening(other))
        write_much(tenant, 80)
        writers.create(other, "still-served")
        assert [frame.fact for frame in reader.events(1)] == sse.logged(other)


def test_a_killed_realtime_process_costs_its_readers_nothing(tenant: Tenant) -> None:
    stack = tenant.stack
    follower = sse.Follower(tenant, sse.position(tenant))

    def write() -> None:
        for part in range(3):
            writers.write(tenant, EVENTS // 3, f"part-{part}")
            if part < 2:
                replaced(stack, "realtime-0", stack.kill("realtime-0"))
        writers.create(tenant, writers.LAST)

    with writers.beside(write):
        follower.follow(writers.LAST)
    assert follower.connections > 1
    assert follower.facts == sse.logged(tenant)


def test_a_realtime_process_that_goes_says_so(tenant: Tenant) -> None:
    stack = tenant.stack
    with sse.listening(tenant) as reader:
        old = stack.kill("realtime-0", signal.SIGTERM)
        assert last_words(reader) == (14, "DEPENDENCY_UNAVAILABLE")
    replaced(stack, "realtime-0", old)


def test_events_arrive_while_redis_is_away(tenant: Tenant) -> None:
    follower = sse.Follower(tenant, sse.position(tenant))
    with away(tenant.stack, "redis"), writers.beside(lambda: writers.write_all(tenant, 20)):
        follower.follow(writers.LAST)
    assert follower.facts == sse.logged(tenant)
    well(tenant.stack)
