"""What RPCs leave: a mutation one entry and its event, one that fails no event, a refusal an entry; never a secret."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from plinth.operations.v1.operation_pb2 import Operation
from plinth.policy.v1 import policy_pb2

from server import app
from server.kernel.clock import utc_now
from server.kernel.messages.fields import value_of
from server.kernel.policy import BATCHES, Access, Kind, MethodPolicy, is_read_only
from server.kernel.record.audit import leaf_hash
from tests.clients import Rest, new_member, new_tenant, rows, unique
from tests.contract import checks, doors, wall
from tests.contract.contract import PAGES, USERS, Contract, in_field, in_message, planted, real
from tests.contract.mutations import METHODS as MUTATING
from tests.contract.mutations import MUTATIONS, Made, Sweep, can_fail, everything_done, idempotency_key
from tests.contract.test_messages import TEXT, add_field
from tests.contract.wall import House
from tests.domains.audit.planting import stored_by_request
from tests.domains.platform import new_platform_admin
from tests.stack import Stack, wait_for

METHODS = list(app.policies().values())
# What providers sign takes no credentials: the tests of each adapter refuse it.
GUARDED = [method for method in METHODS if method.access not in (Access.PUBLIC, Access.PROVIDER_SIGNATURE)]
REFUSALS = {"UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"}
# What a change in a batch of several kinds is.
KINDS = {"create": Kind.CREATE, "update": Kind.UPDATE, "delete": Kind.DELETE}
NIL = "00000000-0000-0000-0000-000000000000"
# Entries that tell of several refusals which were alike within a moment, by the request of the first one.
SHARED = "SELECT method, reason FROM audit_entries WHERE tenant_id = %s AND create_time >= %s AND count > 1"
# Shorter texts of what is free-form are names.
SHORTEST_SECRET = 40
# Fields that look personal and are not, each with the reason.
SHORT = 6
NOT_PERSONAL = dict.fromkeys(
    (
        f"plinth.tenancy.v1.GeneralSettings.{name}"
        for name in ("legal_name", "contact_email", "phone", "postal_address")
    ),
    "of an organisation",
) | {
    "plinth.tenancy.v1.TenantSettings.mail": "a category, of an organisation",
    "plinth.communication.v1.EmailMessage.email_template_version_id": "the id of a version",
    "plinth.communication.v1.EmailSuppression.email_message_id": "the id of a message",
    "plinth.communication.v1.EmailTemplate.display_name": "of a template",
    "plinth.dictionary.v1.Dictionary.display_name": "of a dictionary",
    "plinth.notifications.v1.NotificationTemplate.display_name": "of a template",
    "plinth.notifications.v1.NotificationPreferences.email_digest": "how often mail comes",
    "plinth.sites.v1.PageTemplate.display_name": "of a template",
    "plinth.sites.v1.SectionType.display_name": "of a type of sections",
    "plinth.communication.v1.EmailTemplateVersion.email_template_id": "the id of a template",
}

Row = dict[str, Any]


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def sweep(stack: Stack) -> Sweep:
    """Every mutation, done once after it failed once."""
    return everything_done(stack, wall.furnished(stack), new_platform_admin(stack).access_token)


@pytest.fixture(scope="module")
def entries(stack: Stack, sweep: Sweep) -> dict[str, list[Row]]:
    """The audit entries of the sweep by request id."""
    ids = [made.request_id for made in (*sweep.done, *sweep.failed)]
    wait_for(lambda: len(stored_by_request(stack, ids)) >= len(ids), what="an entry of each")
    return grouped(stored_by_request(stack, ids))


@pytest.fixture(scope="module")
def events(stack: Stack, sweep: Sweep) -> dict[str, list[Row]]:
    """The events of the sweep by request id."""
    ids = [made.request_id for made in (*sweep.done, *sweep.failed)]
    return grouped(events_by_request(stack, ids))


def events_by_request(stack: Stack, request_ids: list[str]) -> list[Row]:
    return rows(stack, "SELECT *, id::text FROM events WHERE request_id = ANY(%s)", request_ids)


def grouped(found: Iterable[Row]) -> dict[str, list[Row]]:
    by_request: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        by_request[row["request_id"]].append(row)
    return by_request


# Mutations -----------------------------------------------------------------------------------------------------------


def entry_faults(
    made: Iterable[Made], entries: Mapping[str, list[Row]], events: Mapping[str, list[Row]]
) -> Iterator[str]:
    """Calls that left anything but one entry that is true, and their declared event."""
    for one in made:
        name, written = one.method.name, events.get(one.request_id, [])
        if one.method.is_telemetry:
            if written or entries.get(one.request_id):
                yield f"{name} is telemetry, and left events or entries"
            continue
        if starts_operation(one.method):
            # A worker goes on with it at once, and tells of that under the same request.
            if "operation.queued" not in {event["type"] for event in written}:
                yield f"{name} started no operation"
            written = [event for event in written if not event["type"].startswith("operation.")]
        if sorted(event["type"] for event in written) != sorted(declared_events(one)):
            yield f"{name} left the events {[event['type'] for event in written]}"
        found = entries.get(one.request_id, [])
        if len(found) != 1:
            yield f"{name} left {len(found)} entries"
            continue
        entry = found[0]
        # A batch leaves several: its entry names the last one.
        last = max(written, key=lambda event: event["sequence"], default=None)
        told = (entry["method"], entry["action"], entry["outcome"], entry["event_id"])
        if told != (one.method.path[1:], one.method.emits, "OK", last["id"] if last else None):
            yield f"{name} left an entry that says {told}"
        if leaf_hash(entry) != bytes(entry["hash"]):
            yield f"{name} left an entry whose hash does not hold"


def starts_operation(method: MethodPolicy) -> bool:
    """Whether an RPC answers with long work that it started."""
    answer = method.descriptor.output_type.full_name
    return answer == Operation.DESCRIPTOR.full_name and not method.emits.startswith("operation.")


# What calls tell of other resources that they change.
FURTHER = {
    "AcceptDictionaryProposal": ("dictionary_entry.created", "dictionary_entry.published"),
    "SubmitStory": ("story.published",),
    "SubmitStoryChapter": ("story_chapter.published",),
    "ApproveModerationItem": ("story.published", "story.updated", "moderation.decided"),
    "RejectModerationItem": ("story.updated", "moderation.decided"),
}


def declared_events(made: Made) -> list[str]:
    """The types of the events that a call has to leave: its own, and of a batch one of each change."""
    method, request = made.method, made.request
    if method.kind is Kind.BATCH_WRITE:
        kinds = [KINDS[operation.WhichOneof("operation")] for operation in value_of(request, BATCHES[method.kind])]
        service = method.path.rpartition("/")[0]
        siblings = [each for path, each in MUTATING.items() if path.startswith(f"{service}/")]
        return [sibling.emits for kind in kinds for sibling in siblings if sibling.kind is kind]
    changes = BATCHES.get(method.kind, "ids" if method.kind is Kind.BATCH_DELETE else "")
    further = FURTHER.get(method.name, ())
    return [*further, *[method.emits] * (len(value_of(request, changes)) if changes else 1)]


def failure_faults(
    made: Iterable[Made], entries: Mapping[str, list[Row]], events: Mapping[str, list[Row]]
) -> Iterator[str]:
    """Calls that were rolled back and left an event, or an entry that says that they were done."""
    for one in made:
        name = one.method.name
        if events.get(one.request_id):
            yield f"{name} was rolled back, but its event is there"
        if [entry["outcome"] for entry in entries.get(one.request_id, [])] != ["INTERNAL"]:
            yield f"{name} was rolled back, but its entry does not say so"


def test_every_mutation_is_tried() -> None:
    """Each RPC that changes something has an entry in tests/domains/<domain>/instances.py, and no other one has."""
    missing = sorted(MUTATING.keys() - MUTATIONS.keys())
    assert [f"{path} is tried nowhere: {wall.remedy(MUTATING[path])}" for path in missing] == []
    assert sorted(MUTATIONS.keys() - MUTATING.keys()) == []


def test_every_mutation_leaves_one_entry_and_its_event(
    sweep: Sweep, entries: dict[str, list[Row]], events: dict[str, list[Row]]
) -> None:
    assert [made.method.path for made in sweep.done] == list(MUTATIONS)
    assert list(entry_faults(sweep.done, entries, events)) == []


def test_what_is_rolled_back_leaves_neither(
    sweep: Sweep, entries: dict[str, list[Row]], events: dict[str, list[Row]]
) -> None:
    assert [made.method.path for made in sweep.failed] == [path for path in MUTATIONS if can_fail(path)]
    assert list(failure_faults(sweep.failed, entries, events)) == []


def test_what_is_only_tried_leaves_neither(stack: Stack, sweep: Sweep) -> None:
    tried = [made for made in sweep.tried if made.method.can_be_tried]
    assert len(tried) > 40
    ids = [made.request_id for made in sweep.tried]
    assert stored_by_request(stack, ids) == []
    assert events_by_request(stack, ids) == []


def test_what_is_missing_or_too_much_is_found(
    sweep: Sweep, entries: dict[str, list[Row]], events: dict[str, list[Row]]
) -> None:
    made = next(made for made in sweep.done if made.method.name == "CreatePage")
    (entry,), (event,) = entries[made.request_id], events[made.request_id]

    def faults(entries: list[Row], events: list[Row]) -> list[str]:
        return list(entry_faults([made], {made.request_id: entries}, {made.request_id: events}))

    assert faults([entry], [event]) == []
    assert faults([], [event]) == ["CreatePage left 0 entries"]
    assert faults([entry, entry], [event]) == ["CreatePage left 2 entries"]
    assert faults([entry], [event, event]) == ["CreatePage left the events ['page.created', 'page.created']"]
    assert faults([entry | {"reason": "x"}], [event]) == ["CreatePage left an entry whose hash does not hold"]
    assert len(faults([entry], [])) == 2
    made = replace(made, method=replace(made.method, is_telemetry=True))
    assert faults([], []) == []
    assert faults([entry], []) == faults([], [event]) == ["CreatePage is telemetry, and left events or entries"]
    assert len(list(failure_faults([made], entries, events))) == 2


def test_a_role_that_is_held_already_leaves_an_entry_but_no_event(stack: Stack, house: House) -> None:
    """Nothing has happened, but somebody wanted it to."""
    method, request_id = MUTATING["/plinth.tenancy.v1.MembershipService/AssignRole"], unique("again")
    request = house.request(method, house.named(method) | {"role": "owner"})
    with doors.channel(stack) as channel:
        outcome = doors.Grpc(channel, house.tenant.access_token).call(method, request, x_request_id=request_id)
    assert outcome.problem is None
    (entry,) = stored_by_request(stack, [request_id])
    assert (entry["outcome"], entry["event_id"], entry["changes"]) == ("OK", None, "")
    assert events_by_request(stack, [request_id]) == []


def test_what_breaks_a_rule_of_the_database_or_comes_too_late_leaves_no_event(stack: Stack, house: House) -> None:
    """Through the doors: a slug that is taken, and an ETag that is stale."""
    path, taken, stale, again = f"{house.tenant.path}/pages", unique("taken"), unique("stale"), unique("again")
    body = {"slug": house.of("sites.v1.Page")["slug"], "title": "x"}
    assert house.tenant.rest.post(path, body, headers={"x-request-id": taken}).status_code == 409
    headers = {"x-request-id": stale, "if-match": '"0"'}
    page = f"{path}/{house.of('sites.v1.Page')['page_id']}"
    assert house.tenant.rest.patch(page, {"title": "y"}, headers=headers).status_code == 412
    keyed = {"idempotency-key": unique("key")}
    for request_id in (unique("first"), again):
        answer = house.tenant.rest.post(path, {"slug": again}, headers=keyed | {"x-request-id": request_id})
        assert answer.status_code == 201, answer.text
    wait_for(lambda: len(stored_by_request(stack, [taken, stale])) == 2, what="both entries")
    found = {entry["request_id"]: entry["outcome"] for entry in stored_by_request(stack, [taken, stale, again])}
    # What is replayed was done once, and has its entry and event from then.
    assert found == {taken: "ALREADY_EXISTS", stale: "ABORTED"}
    assert events_by_request(stack, [taken, stale, again]) == []


# Refusals ------------------------------------------------------------------------------------------------------------


def callers(house: House, idler: str, stranger: str, method: MethodPolicy) -> dict[str, str]:
    """Who is refused an RPC in the house: what they are called, and their token."""
    found = {"nobody": ""}
    if method.access is Access.PERMISSION:
        found["idler"] = idler
        if method.has_tenant:
            found["stranger"] = stranger
    if method.access is Access.PLATFORM:
        found["owner"] = house.tenant.access_token
    return found


def test_every_refusal_leaves_an_entry_and_no_event(stack: Stack, house: House) -> None:
    """To nobody, to a member without a role, to the owner of another tenant, and to who does not run the platform."""
    since, other = utc_now(), new_tenant(stack)
    idler = new_member(house.tenant)[1].access_token
    asked: dict[str, tuple[str, str, str]] = {}
    with doors.channel(stack) as channel:
        for method in GUARDED:
            for who, token in callers(house, idler, other.access_token, method).items():
                request_id = unique(who)
                request = house.request(method)
                problem = doors.Grpc(channel, token).call(method, request, x_request_id=request_id).problem
                assert problem is not None, (method.name, who)
                asked[request_id] = (who, method.path[1:], problem.reason)
    assert len({method for _, method, _ in asked.values()}) == len(GUARDED)

    def unheard() -> set[str]:
        """Refusals without an entry of their own. That of nobody may be counted in the entry of another test's."""
        left = asked.keys() - {row["request_id"] for row in stored_by_request(stack, asked)}
        shared = {(row["method"], row["reason"]) for row in rows(stack, SHARED, NIL, since)} if left else set()
        return {one for one in left if asked[one][0] != "nobody" or asked[one][1:] not in shared}

    wait_for(lambda: not unheard(), what="an entry of each refusal")
    found = stored_by_request(stack, asked)
    told = {row["request_id"]: (row["method"], row["reason"]) for row in found}
    assert told == {request_id: asked[request_id][1:] for request_id in told}
    assert len(found) == len(told)
    assert {row["outcome"] for row in found} <= REFUSALS
    assert all(row["security"] and row["hash"] == leaf_hash(row) for row in found)
    # Whoever comes from outside of a tenant leaves nothing in it.
    homes = {"nobody": NIL, "idler": house.tenant.id, "stranger": other.id, "owner": house.tenant.id}
    assert all(row["tenant_id"] == homes[asked[row["request_id"]][0]] for row in found)
    assert events_by_request(stack, list(asked)) == []


# Secrets -------------------------------------------------------------------------------------------------------------


def secrets_of(message: Message) -> Iterator[tuple[str, str]]:
    """What is marked as secret in a message and below it: the name of the field, and the value."""
    for descriptor, value in message.ListFields():
        parts = value if descriptor.is_repeated else [value]
        for part in parts:
            if descriptor.GetOptions().debug_redact and isinstance(part, Struct):
                yield from ((descriptor.name, text) for text in _texts_in(part))
            elif descriptor.GetOptions().debug_redact and not isinstance(part, Message):
                yield descriptor.name, part
            elif isinstance(part, Message):
                yield from secrets_of(part)


def _texts_in(part: Struct) -> Iterator[str]:
    """The texts of what is free-form, but for names."""
    for value in part.fields.values():
        if value.HasField("struct_value"):
            yield from _texts_in(value.struct_value)
        elif len(value.string_value) >= SHORTEST_SECRET:
            yield value.string_value


def secrets_in(sweep: Sweep) -> dict[str, str]:
    """Every secret that went through the doors in the sweep: the secret to what it is."""
    found: dict[str, str] = {}
    for made in sweep.done:
        found |= {secret: name for part in (made.request, made.answer) if part for name, secret in secrets_of(part)}
        found[idempotency_key(made.request_id)] = "idempotency key"
        if made.token:
            found.setdefault(made.token, "token")
    return found


def leaks(secrets: Mapping[str, str], texts: Mapping[str, bytes]) -> list[str]:
    """Where which secrets stand."""
    return [
        f"{what} in {where}"
        for secret, what in secrets.items()
        for where, text in texts.items()
        if _stands_in(secret.encode(), text)
    ]


def _stands_in(secret: bytes, text: bytes) -> bool:
    """Whether a text has a secret. The six digits of a code are looked for as a word: any time and id may have them."""
    if len(secret) > SHORT:
        return secret in text
    return re.search(rb"(?<![\w.])" + re.escape(secret) + rb"(?!\w)", text) is not None


def everything_written(stack: Stack, sweep: Sweep) -> dict[str, bytes]:
    """All columns of the audit log and the event log, and every log file."""
    made = [made.request_id for made in (*sweep.done, *sweep.failed)]
    where = "WHERE tenant_id = %s OR request_id = ANY(%s)"
    found = {
        table: "\n".join(
            row["text"] for row in rows(stack, f"SELECT t::text AS text FROM {table} t {where}", sweep.tenant.id, made)
        ).encode()
        for table in ("audit_entries", "events")
    }
    payloads = rows(stack, f"SELECT payload FROM events {where}", sweep.tenant.id, made)
    found["payloads"] = b"\n".join(bytes(row["payload"]) for row in payloads)
    found |= {path.name: path.read_bytes() for path in (stack.data_dir / "logs").iterdir() if path.is_file()}
    return found


def test_no_secret_is_in_an_entry_an_event_or_a_log(stack: Stack, sweep: Sweep, house: House) -> None:
    secrets = secrets_in(sweep)
    assert {*secrets.values()} >= {"password", "access_token", "refresh_token", "key", "secret", "idempotency key"}
    in_query, wrong = unique("in-the-query"), unique("wrong-password")
    secrets |= {in_query: "token in the query", wrong: "wrong password"}
    assert Rest(stack).get(f"{house.tenant.path}/pages/stream", {"access_token": in_query}).status_code == 401
    body = {"email": house.tenant.owner.email, "password": wrong}
    assert Rest(stack).post("auth/login", body, headers={"x-request-id": sweep.done[0].request_id}).status_code == 401
    texts = everything_written(stack, sweep)
    assert all(texts[name] for name in ("audit_entries", "events", "payloads"))
    assert sum(map(len, texts.values())) > 10_000
    assert leaks(secrets, texts) == []


def test_a_secret_that_leaks_is_found(sweep: Sweep) -> None:
    secret = next(secret for secret, what in secrets_in(sweep).items() if what == "password")
    assert leaks({secret: "password"}, {"a log": b"... " + secret.encode()}) == ["password in a log"]


# What is personal ----------------------------------------------------------------------------------------------------


def written(contract: Contract) -> list[Any]:
    """The messages that entries and events are made of: what mutations answer, resources, and what events carry."""
    payloads = {facts.payload.DESCRIPTOR.full_name for service in app.SERVICES for facts in service.events.values()}
    payloads |= {service.resource.message.DESCRIPTOR.full_name for service in app.SERVICES if service.resource}
    payloads |= {method.output_type.full_name for method in contract.methods if not is_read_only(method)}
    return [message for message in contract.messages if message.full_name in payloads]


def test_what_looks_personal_is_marked_so() -> None:
    assert list(checks.unmarked_personal(written(real()), NOT_PERSONAL)) == []
    assert len(written(real())) > 12


def test_a_personal_field_that_nobody_marked_is_found() -> None:
    added = planted(PAGES, in_message("Page", add_field("author_email", TEXT)))
    assert list(checks.unmarked_personal(written(added), NOT_PERSONAL)) == [
        "plinth.sites.v1.Page.author_email looks personal, but is not marked so"
    ]

    def unmark(options: Any) -> None:
        options.ClearExtension(policy_pb2.personal)

    unmarked = planted(USERS, in_field("User", "email", lambda field: unmark(field.options)))
    assert "plinth.identity.v1.User.email looks personal, but is not marked so" in list(
        checks.unmarked_personal(written(unmarked), NOT_PERSONAL)
    )
    allowed = NOT_PERSONAL | {"plinth.sites.v1.Page.title": "no reason"}
    assert list(checks.unmarked_personal(written(real()), allowed)) == [
        "plinth.sites.v1.Page.title is an exception, but does not look personal"
    ]
