"""What a stream tells: the events of a tenant's pages, as they were committed, to whom they concern."""

from typing import Any

import pytest
from google.protobuf import json_format
from plinth.sites.v1 import page_pb2

from server.kernel.guard.tokens import AccessTokens
from tests.clients import Problem, Tenant, new_tenant, problem
from tests.stack import Stack
from tests.streams import sse, writers


def as_rest(page: page_pb2.Page) -> Any:
    """A page as REST shows it."""
    return json_format.MessageToDict(page, always_print_fields_with_no_presence=True)


def live_a_life(tenant: Tenant) -> tuple[list[str], list[Any]]:
    """What happens to a page from its making to its end: the types of the events, and the answers of REST."""
    pages = f"{tenant.path}/pages"
    created = tenant.rest.post(pages, {"title": "A life", "settings": {"a": [1, {"b": None}], "text": "x\ny"}}).json()
    page = f"{pages}/{created['id']}"
    answers = [
        created,
        tenant.rest.patch(page, {"title": 'Grün\u2028 \u0085 \r\n "x" 😀'}).json(),
        tenant.rest.post(f"{page}/publish").json(),
    ]
    assert tenant.rest.delete(page).status_code == 204
    return ["page.created", "page.updated", "page.published", "page.deleted"], answers


def test_a_stream_opens_with_where_it_starts_and_when_to_return(tenant: Tenant) -> None:
    with sse.connect(tenant.stack, tenant.id, tenant.access_token) as reader:
        assert reader.response.status_code == 200
        assert reader.response.headers["content-type"] == "text/event-stream"
        assert reader.response.headers["cache-control"] == "no-cache"
        assert [name for name, _ in reader.next().fields] == ["retry", "id", "event", "data"]


def test_the_opening_names_a_place_that_loses_nothing(tenant: Tenant) -> None:
    with sse.connect(tenant.stack, tenant.id, tenant.access_token) as reader:
        opening = reader.next()
    assert (opening.event, opening.data, opening.field("retry")) == ("stream.open", {}, "1000")
    writers.create(tenant, "meanwhile")
    with sse.listening(tenant, headers=sse.after(opening.id)) as reader:
        assert [frame.fact for frame in reader.events(1)] == sse.logged(tenant)


def test_events_arrive_in_the_order_of_commits_with_the_page_as_rest_shows_it(tenant: Tenant) -> None:
    with sse.listening(tenant) as reader:
        types, answers = live_a_life(tenant)
        frames = reader.events(4)
    assert [[name for name, _ in frame.fields] for frame in frames] == [["id", "event", "data"]] * 4
    assert [frame.event for frame in frames] == types
    assert [frame.data for frame in frames[:3]] == answers
    assert frames[3].data["id"] == answers[0]["id"]
    assert [frame.fact for frame in frames] == sse.logged(tenant)


def test_services_get_the_same_events_as_browsers(tenant: Tenant) -> None:
    start = sse.position(tenant)
    live_a_life(tenant)
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id, last_event_id=start)
    events = tenant.stubs.pages.WatchPages(request, timeout=sse.PATIENCE)
    typed = [next(events) for _ in range(4)]
    events.cancel()
    with sse.listening(tenant, headers=sse.after(start)) as reader:
        frames = reader.events(4)
    assert [(event.id, event.type, as_rest(event.page)) for event in typed] == [
        (frame.id, frame.event, frame.data) for frame in frames
    ]
    assert all(event.HasField("create_time") for event in typed)


def test_a_service_resumes_after_the_event_that_it_names(tenant: Tenant) -> None:
    start = sse.position(tenant)
    writers.write(tenant, 5)
    log = sse.logged(tenant)
    for place, after in enumerate([start, *(event_id for event_id, _, _ in log[:-1])]):
        request = page_pb2.WatchPagesRequest(tenant_id=tenant.id, last_event_id=after)
        events = tenant.stubs.pages.WatchPages(request, timeout=sse.PATIENCE)
        assert [(event.id, event.type, event.page.id) for _, event in zip(log[place:], events, strict=False)] == log[
            place:
        ]
        events.cancel()


def test_a_browser_resumes_by_header_and_by_parameter_and_the_header_wins(tenant: Tenant) -> None:
    start = sse.position(tenant)
    writers.write(tenant, 6)
    log = sse.logged(tenant)
    first, second = log[1][0], log[3][0]
    ways: list[tuple[dict[str, str], dict[str, str], int]] = [
        (sse.after(start), {}, 0),
        (sse.after(first), {}, 2),
        ({}, {"last_event_id": second}, 4),
        (sse.after(first), {"last_event_id": second}, 2),
    ]
    for headers, params, place in ways:
        with sse.connect(tenant.stack, tenant.id, tenant.access_token, params=params, headers=headers) as reader:
            assert reader.next().event == "stream.open"
            assert [frame.fact for frame in reader.events(6 - place)] == log[place:]


def test_nothing_of_another_tenant_arrives(stack: Stack, owner: Tenant, tenant: Tenant) -> None:
    other = new_tenant(stack, owner.owner)
    with sse.listening(tenant) as reader, sse.listening(other) as others:
        writers.write(other, 10)
        writers.create(tenant, "mine")
        assert [frame.fact for frame in reader.events(1)] == sse.logged(tenant)
        assert [frame.fact for frame in others.events(10)] == sse.logged(other)
    start = sse.logged(other)[0][0]
    # What was missed is read another way than what arrives.
    with sse.listening(tenant, headers=sse.after(start)) as reader:
        assert [frame.fact for frame in reader.events(1)] == sse.logged(tenant)


def test_events_are_neither_compressed_nor_held_back_for_that(tenant: Tenant) -> None:
    with sse.listening(tenant, headers={"accept-encoding": "gzip, deflate, br"}) as reader:
        assert not reader.response.headers.keys() & {"content-encoding", "content-length"}
        for number in range(3):
            created = writers.create(tenant, f"page-{number}", description="x" * 2000)
            assert reader.events(1)[0].data["id"] == created.id


def refusal(tenant: Tenant, token: str | None, tenant_id: str = "", **params: str) -> tuple[int, Problem]:
    """How a stream is refused before it starts."""
    with sse.connect(tenant.stack, tenant_id or tenant.id, token, params=params) as reader:
        assert reader.response.status_code >= 400, "the stream has started"
        reader.response.read()
        assert reader.response.headers["x-request-id"] == problem(reader.response).request_id
        return reader.response.status_code, problem(reader.response)


def test_a_browser_may_bring_its_token_as_a_parameter(tenant: Tenant) -> None:
    params = {"access_token": tenant.access_token}
    with sse.connect(tenant.stack, tenant.id, None, params=params) as reader:
        assert reader.response.status_code == 200
        assert reader.next().event == "stream.open"
        created = writers.create(tenant, "by-parameter")
        assert reader.events(1)[0].data["id"] == created.id


def test_without_a_token_the_answer_is_an_ordinary_401(tenant: Tenant) -> None:
    status, why = refusal(tenant, None)
    assert (status, why.code, why.reason) == (401, 16, "CREDENTIALS_MISSING")


@pytest.mark.parametrize("way", ["header", "parameter"])
def test_with_a_false_token_the_answer_is_an_ordinary_401(tenant: Tenant, way: str) -> None:
    false = f"{tenant.access_token[:-8]}AAAAAAAA"
    status, why = refusal(tenant, false) if way == "header" else refusal(tenant, None, access_token=false)
    assert (status, why.code, why.reason) == (401, 16, "CREDENTIALS_INVALID")


def test_with_an_expired_token_the_answer_is_an_ordinary_401(tenant: Tenant) -> None:
    settings = tenant.stack.settings
    caller = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=900).verify(tenant.access_token)
    expired = AccessTokens(settings.secrets, issuer=settings.token_issuer, lifetime=-60).issue(caller)
    status, why = refusal(tenant, None, access_token=expired)
    assert (status, why.code, why.reason) == (401, 16, "TOKEN_EXPIRED")


def test_the_tenant_of_another_is_not_there(stack: Stack, tenant: Tenant) -> None:
    stranger = new_tenant(stack)
    status, why = refusal(stranger, stranger.access_token, tenant.id)
    assert (status, why.code, why.reason) == (404, 5, "RESOURCE_NOT_FOUND")


def test_after_logging_out_no_stream_starts(stack: Stack) -> None:
    gone = new_tenant(stack)
    assert gone.rest.post("auth/logout").status_code == 204
    status, why = refusal(gone, gone.access_token)
    assert (status, why.code, why.reason) == (401, 16, "SESSION_ENDED")


@pytest.mark.parametrize("wrong", ["x", "12", "1-", "-1", "g-1", "1-2-3", "f" * 40 + "-1", "1-%00", " - "])
def test_an_event_id_that_is_none_is_an_ordinary_400(tenant: Tenant, wrong: str) -> None:
    status, why = refusal(tenant, tenant.access_token, last_event_id=wrong)
    assert (status, why.code, why.reason) == (400, 3, "MALFORMED")


def test_a_header_that_names_no_event_is_an_ordinary_400(tenant: Tenant) -> None:
    with sse.connect(tenant.stack, tenant.id, tenant.access_token, headers=sse.after("no-event")) as reader:
        assert reader.response.status_code == 400
        reader.response.read()
        assert problem(reader.response).reason == "MALFORMED"
