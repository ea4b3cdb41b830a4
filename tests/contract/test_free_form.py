"""What is stored can be shown: every free-form field at its bounds, through every reader; and nothing beyond them."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from plinth.audit.v1.audit_pb2 import AuditEntry
from plinth.sites.v1.page_pb2 import WatchPagesRequest
from plinth.webhooks.v1.webhook_pb2 import WebhookDelivery

from server import app
from server.kernel.policy import Access, Binding, Kind, MethodPolicy
from tests.clients import Rest, Tenant, unique
from tests.contract import doors, wall
from tests.contract.free_forms import PAYLOADS, FreeForm, Payload, at_bounds, beyond, free_forms, shown_in, size_of
from tests.contract.wall import House
from tests.domains.platform import new_platform_admin
from tests.domains.webhooks.receiver import Receiver
from tests.stack import Stack, wait_for
from tests.streams import sse

FREE_FORMS = list(free_forms())
STORED = [one for one in FREE_FORMS if one.is_stored]
RESOURCES = {one.method.descriptor.output_type.full_name for one in STORED}
LOGS = {AuditEntry.DESCRIPTOR.full_name, WebhookDelivery.DESCRIPTOR.full_name}
READERS = [
    method
    for method in app.policies().values()
    # What is public answers in forms of its own, and knows its callers by a token.
    if method.read_only
    and not method.streaming
    and method.access is not Access.PUBLIC
    and shown_in(method) & (RESOURCES | LOGS)
]
PATIENCE = 40.0
# Lists of the whole platform hold what other tests make; what was written here comes first.
LONGEST_WALK = 12


def name_of(thing: Any) -> str:
    return f"{thing.method.name} {thing.path}" if isinstance(thing, FreeForm) else str(thing.name)


@dataclass(frozen=True)
class Place:
    """A tenant in which every free-form field was written at its bounds, and who may look at it."""

    house: House
    platform: str
    channel: grpc.Channel
    start: str
    """Where the log of events stood before."""
    webhook: dict[str, Any]
    receiver: Receiver
    events: tuple[str, ...]
    """What each write in the tenant emits. Of an update that both doors were told, the second changes nothing."""

    @property
    def tenant(self) -> Tenant:
        return self.house.tenant

    def token(self, method: MethodPolicy) -> str:
        return self.platform if method.access is Access.PLATFORM else self.tenant.access_token

    def request(self, method: MethodPolicy, at: str = "") -> Any:
        """One that can be fulfilled, with a field at this path; what is new has a name that nobody else has."""
        # The ETag changes with every write.
        request: Any = self.house.request(method, self.house.named(method) | {"etag": ""}, at=at)
        for name, field in (("page", "slug"), ("tenant", "subdomain"), ("feature_flag", "key")):
            if getattr(request.DESCRIPTOR.fields_by_name.get(name), "message_type", None):
                setattr(getattr(request, name), field, unique("new") if method.kind is Kind.CREATE else "")
        return request


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with doors.channel(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def place(stack: Stack, receiver: Receiver, channel: grpc.Channel) -> Place:
    """Everything is written through both doors, each content in turn."""
    house = wall.furnished(stack)
    body = {"url": receiver.url("/bounds"), "eventTypes": ["page.*", "tenant.*"]}
    webhook = house.tenant.rest.post(f"{house.tenant.path}/webhooks", body).json()
    platform = new_platform_admin(stack).access_token
    made = Place(house, platform, channel, sse.position(house.tenant), webhook, receiver, ())
    events: list[str] = []
    for number, one in enumerate(STORED):
        for payload in payloads(number):
            # A new tenant has a log of its own.
            events += [emitted_by(one)] * 2 if one.method.has_tenant else []
            content = at_bounds(one.bounds, payload)
            assert one.bounds.max_bytes - 30 <= size_of(content) <= one.bounds.max_bytes
            for outcome in written(made, one, content):
                assert outcome.problem is None, (name_of(one), outcome.problem)
    return replace(made, events=tuple(events))


def emitted_by(one: FreeForm) -> str:
    """The event of a write: in a batch of several kinds, that of the RPC which makes such a change alone."""
    if one.method.kind is not Kind.BATCH_WRITE:
        return one.method.emits
    service, verb = one.method.path.rpartition("/")[0], one.path.split(".")[1]
    siblings = [method for path, method in app.policies().items() if path.startswith(f"{service}/")]
    return next(sibling.emits for sibling in siblings if sibling.kind.value.lower() == verb)


def payloads(number: int) -> list[Payload]:
    """What is written into a field: the one that JSON makes largest, and one of the others in turn.

    All of them into each field would cost a further resource two seconds.
    """
    largest = PAYLOADS["control characters"]
    others = [payload for payload in PAYLOADS.values() if payload is not largest]
    return [largest, others[number % len(others)]]


def written(place: Place, one: FreeForm, content: dict[str, Any]) -> list[doors.Outcome]:
    """What both doors say to a request with this content."""
    token = place.token(one.method)
    first, second = (one.fill(place.request(one.method, one.path), content) for _ in range(2))
    return [
        doors.Grpc(place.channel, token).call(one.method, first),
        doors.over_rest(Rest(place.tenant.stack, token), one.method.bindings[0], second),
    ]


def test_free_form_fields_and_their_readers_are_found() -> None:
    assert {"CreatePage page.settings", "UpdateTenant tenant.settings"} <= set(map(name_of, FREE_FORMS))
    names = {method.name for method in READERS}
    assert {"GetPage", "ListPages", "BatchGetPages", "GetPageBySlug", "ListTenants", "GetAuditEntry"} <= names


@pytest.mark.parametrize("method", READERS, ids=name_of)
def test_every_reader_shows_what_is_at_its_bounds(place: Place, method: MethodPolicy) -> None:
    request = place.request(method)
    if "page_size" in method.descriptor.input_type.fields_by_name:
        request.page_size = 200
    over_grpc = pages_over_grpc(place, method, request)
    assert over_grpc
    if "next_page_token" in method.descriptor.output_type.fields_by_name:
        fields: Any = method.descriptor.output_type.fields
        (repeated,) = (str(field.name) for field in fields if field.message_type)
        assert any(getattr(page, repeated) for page in over_grpc)
    for binding in method.bindings:
        assert pages_over_rest(place, method, binding, request)


@pytest.mark.heavy
def test_every_content_at_its_bounds_is_shown_by_every_reader(place: Place) -> None:
    """Every content in every field, which grows with both."""
    for one in STORED:
        for payload in PAYLOADS.values():
            for outcome in written(place, one, at_bounds(one.bounds, payload)):
                assert outcome.problem is None, (name_of(one), outcome.problem)
    for method in READERS:
        test_every_reader_shows_what_is_at_its_bounds(place, method)


def pages_over_grpc(place: Place, method: MethodPolicy, request: Any) -> list[Any]:
    """One answer after the other, to a client with default limits."""

    def ask(asked: Any) -> Any:
        outcome = doors.Grpc(place.channel, place.token(method)).call(method, asked)
        assert outcome.problem is None, outcome.problem
        return GetMessageClass(method.descriptor.output_type).FromString(outcome.content)

    return walk(request, ask)


def pages_over_rest(place: Place, method: MethodPolicy, binding: Binding, request: Any) -> list[Any]:
    """One answer after the other at a binding."""

    def ask(asked: Any) -> Any:
        outcome = doors.over_rest(Rest(place.tenant.stack, place.token(method)), binding, asked)
        assert outcome.http_status == 200, (binding, outcome.problem)
        answer: Any = GetMessageClass(method.descriptor.output_type)()
        if isinstance(answer, HttpBody):
            # Whatever it is, it is not the JSON of the message.
            return HttpBody(data=outcome.content)
        return json_format.Parse(outcome.content, answer, max_recursion_depth=200)

    return walk(request, ask)


def walk(request: Any, ask: Callable[[Any], Any]) -> list[Any]:
    """The answers to a request and to its page tokens."""
    asked = type(request)()
    asked.CopyFrom(request)
    answers = [ask(asked)]
    while (token := getattr(answers[-1], "next_page_token", "")) and len(answers) < LONGEST_WALK:
        asked.page_token = token
        answers.append(ask(asked))
    return answers


def test_every_audit_entry_can_be_got(place: Place) -> None:
    entries = place.tenant.rest.get(f"{place.tenant.path}/audit", {"pageSize": 200}).json()["auditEntries"]
    assert len(entries) > min(len(place.events), 200) // 2
    for entry in entries:
        assert place.tenant.rest.get(f"{place.tenant.path}/audit/entries/{entry['id']}").json() == entry


@pytest.mark.parametrize("form", ["EXPORT_FORMAT_JSONL", "EXPORT_FORMAT_CSV"])
def test_exports_hold_what_is_at_its_bounds(place: Place, form: str) -> None:
    answer = place.tenant.rest.get(f"{place.tenant.path}/audit/export", {"format": form})
    assert answer.status_code == 200
    # Whole words: `page.created` is no `landing_page.created`.
    told = Counter(re.findall(r"[\w.]+", answer.text))
    assert [event for event, times in Counter(place.events).items() if told[event] < times // 2] == []


def test_streams_resume_with_what_is_at_its_bounds(place: Place) -> None:
    expected = [fact for fact in sse.logged(place.tenant) if _position(fact[0]) > _position(place.start)]
    assert len(expected) >= sum(event.startswith("page.") for event in place.events) // 2
    with sse.connect(
        place.tenant.stack, place.tenant.id, place.tenant.access_token, headers=sse.after(place.start)
    ) as reader:
        assert reader.next().event == "stream.open"
        assert [frame.fact for frame in reader.events(len(expected))] == expected
    stream = place.tenant.stubs.pages.WatchPages(
        WatchPagesRequest(tenant_id=place.tenant.id, last_event_id=place.start), timeout=PATIENCE
    )
    found = [next(stream) for _ in expected]
    stream.cancel()
    assert [(event.id, event.type, event.page.id) for event in found] == expected


def _position(event_id: str) -> tuple[int, ...]:
    return tuple(int(part, 16) for part in event_id.split("-"))


def test_webhooks_carry_it_and_their_log_shows_it(place: Place) -> None:
    path = f"{place.tenant.path}/webhooks/{place.webhook['id']}/deliveries"

    def listed(status: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = place.tenant.rest.get(
            path, {"filter": f"status = {status}", "pageSize": 200}
        ).json()["webhookDeliveries"]
        return found

    wait_for(lambda: listed("SUCCEEDED") and not listed("PENDING"), PATIENCE, "the end of all deliveries")
    delivered = listed("SUCCEEDED")
    assert len(delivered) >= sum(event.startswith(("page.", "tenant.")) for event in place.events) // 2
    assert not listed("FAILED")
    for delivery in delivered:
        response = place.tenant.rest.get(f"{path}/{delivery['id']}")
        assert response.status_code == 200, response.text
        assert response.json()["attemptLog"][0]["requestBody"]


def test_a_replay_shows_it_again(place: Place) -> None:
    one = next(one for one in FREE_FORMS if one.method.name == "CreatePage")
    request = one.fill(place.request(one.method), at_bounds(one.bounds, PAYLOADS["numbers"]))
    key = {"idempotency-key": unique("key")}
    rest = Rest(place.tenant.stack, place.tenant.access_token)
    first, second = (doors.over_rest(rest, one.method.bindings[0], request, key) for _ in range(2))
    assert (first.http_status, second.http_status) == (201, 201)
    assert first.content == second.content


# Beyond --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", FREE_FORMS, ids=name_of)
def test_nothing_beyond_the_bounds_is_stored(place: Place, one: FreeForm) -> None:
    # What others do meanwhile stands in the log as well.
    own = f'method = "{one.method.path[1:]}" AND outcome = OK AND actor_id = {place.tenant.owner.id}'
    log = Rest(place.tenant.stack, place.platform)

    def done() -> int:
        return int(log.get("audit", {"filter": own, "includeTotal": "true", "pageSize": 1}).json()["totalSize"])

    for rule, content in beyond(one.bounds).items():
        before = done()
        for outcome in written(place, one, content):
            assert outcome.problem is not None, rule
            assert outcome.http_status in (0, 422)
            assert (outcome.problem.reason, outcome.problem.rules) == ("RULE_VIOLATED", (rule,))
            (field,) = outcome.problem.violations
            # Over REST it is named as in the body.
            assert field.rpartition(".")[2] == one.path.rpartition(".")[2]
        assert done() == before


def test_what_cannot_be_read_as_a_message_is_refused_before(place: Place) -> None:
    """Deeper than a parser of protobuf or JSON goes: refused in words, and nobody's fault but the caller's."""
    for levels in (31, 60, 90, 200):
        body: Any = "x"
        for _ in range(levels):
            body = [body]
        request = {"slug": unique("deep"), "settings": {"a": body}}
        assert place.tenant.rest.post(f"{place.tenant.path}/pages", request).status_code in (400, 422), levels


def test_what_is_at_its_bounds_comes_back_as_it_was(place: Place) -> None:
    one = next(one for one in FREE_FORMS if one.method.name == "CreatePage")
    for payload in PAYLOADS.values():
        content = at_bounds(one.bounds, payload)
        made = place.tenant.rest.post(
            f"{place.tenant.path}/pages", {"slug": unique("same"), "settings": content}
        ).json()
        assert place.tenant.rest.get(f"{place.tenant.path}/pages/{made['id']}").json()["settings"] == content
