"""Lists and batch reads of large resources: pages end early by bytes, and nothing is skipped, repeated or refused.

Rows are made in the database, as large as the contract lets them be: it is their sizes that count.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from plinth.audit.v1.audit_pb2 import ListAuditEntriesRequest
from plinth.sites.v1.page_pb2 import BatchGetPagesRequest, CreatePageRequest, ListPagesRequest, Page

from server import app
from server.gateway.filters import MAX_RESPONSE_BYTES
from server.kernel.messages.free_form import MAX_BYTES
from server.kernel.messages.sizes import ANSWER_BYTES, RESOURCE_BYTES, fitting
from server.kernel.resources import rows as kernel_rows
from tests.clients import Tenant, another_tenant, database, new_tenant, problem, refused
from tests.kernel.calls import Aborted, Context
from tests.stack import Stack

CLIENT_BYTES = 4 * 1024 * 1024
"""What a gRPC client takes when nobody sets anything."""
LARGEST = MAX_BYTES - len('{"a": ""}')
INSERT = """
INSERT INTO pages (tenant_id, id, slug, status, settings, create_time)
SELECT %s, gen_random_uuid(), 'page-' || place, 1, jsonb_build_object('a', repeat(%s, size)),
       now() - place * interval '1 second'
  FROM unnest(%s::int[]) WITH ORDINALITY AS sized(size, place)
RETURNING id::text, create_time
"""


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Tenant:
    return new_tenant(stack)


def tenant_with(owner: Tenant, sizes: list[int], unit: str = "x") -> tuple[Tenant, list[str]]:
    """A tenant of its own with pages of so many characters, and their ids, newest first."""
    tenant = another_tenant(owner)
    with database(tenant.stack) as connection:
        made = connection.execute(INSERT, (tenant.id, unit, sizes)).fetchall()
    return tenant, [row["id"] for row in sorted(made, key=lambda row: row["create_time"], reverse=True)]


# Each gives the ids that one answer holds, the token of the next one, and its bytes.
Answer = tuple[list[str], str, int]
Ask = Callable[[str], Answer]


def walk(ask: Ask) -> list[Answer]:
    """One answer after the other, until there is no token."""
    answers = [ask("")]
    while answers[-1][1]:
        assert len(answers) < 500, "it never ends"
        answers.append(ask(answers[-1][1]))
    return answers


def ids_of(answers: list[Answer]) -> list[str]:
    return [one for found, *_ in answers for one in found]


def of_message(answer: Any) -> Answer:
    return [page.id for page in answer.pages], answer.next_page_token, answer.ByteSize()


def over_rest(tenant: Tenant, path: str, **params: Any) -> Ask:
    def ask(token: str) -> Answer:
        response = tenant.rest.get(f"{tenant.path}/{path}", {**params, "pageToken": token})
        assert response.status_code == 200, response.text
        body = response.json()
        return [page["id"] for page in body["pages"]], body["nextPageToken"], len(response.content)

    return ask


def lists(tenant: Tenant, size: int) -> list[Ask]:
    """Through both doors."""
    stub = tenant.stubs.pages
    return [
        lambda token: of_message(
            stub.ListPages(ListPagesRequest(tenant_id=tenant.id, page_size=size, page_token=token))
        ),
        over_rest(tenant, "pages", pageSize=size),
    ]


def batches(tenant: Tenant, ids: list[str]) -> list[Ask]:
    """Through both doors."""
    stub = tenant.stubs.pages
    return [
        lambda token: of_message(
            stub.BatchGetPages(BatchGetPagesRequest(tenant_id=tenant.id, ids=ids, page_token=token))
        ),
        over_rest(tenant, "pages:batchGet", ids=ids),
    ]


# Shrinking would make tenants for minutes, and an example is a few numbers as it is.
@settings(max_examples=10, phases=[Phase.generate])
@given(count=st.sampled_from([0, 1, 60, 120, 150]), chance=st.randoms(), size=st.sampled_from([7, 60, 120, 200]))
def test_nothing_is_skipped_or_repeated_whatever_its_size(owner: Tenant, count: int, chance: Random, size: int) -> None:
    sizes = chance.choices([0, 3000, LARGEST, LARGEST, LARGEST], k=count)
    tenant, expected = tenant_with(owner, sizes)
    for ask in lists(tenant, size):
        answers = walk(ask)
        assert ids_of(answers) == expected
        assert all(found for found, token, _ in answers if token)
        assert all(len(found) <= size for found, *_ in answers)
    asked = expected[:100][::-1]
    for ask in batches(tenant, asked) if asked else []:
        assert ids_of(walk(ask)) == asked


def test_the_largest_pages_come_as_many_at_a_time_as_an_answer_holds(owner: Tenant) -> None:
    tenant, expected = tenant_with(owner, [LARGEST] * 100)
    for over_grpc, rest in (lists(tenant, 200), batches(tenant, expected)):
        answers = walk(over_grpc)
        assert ids_of(answers) == ids_of(walk(rest)) == expected
        assert len(answers) == 4
        assert all(ANSWER_BYTES - 2 * MAX_BYTES < size < ANSWER_BYTES + 200 for *_, size in answers[:-1])


def test_a_page_ends_early_for_its_bytes_alone(owner: Tenant) -> None:
    tenant, expected = tenant_with(owner, [0] * 200)
    for ask in (*lists(tenant, 200), *batches(tenant, expected[:100])):
        ((found, token, _),) = walk(ask)
        assert (found, token) == (expected[: len(found)], "")
        assert len(found) in (100, 200)


@pytest.mark.parametrize("unit", ["<", '"', "\N{BELL}"], ids=ascii)
def test_what_grows_when_it_becomes_json_is_shown_all_the_same(owner: Tenant, unit: str) -> None:
    tenant, expected = tenant_with(owner, [LARGEST // len(json.dumps(unit).encode())] * 60, unit)
    assert ids_of(walk(over_rest(tenant, "pages", pageSize=200))) == expected


def test_a_total_is_that_of_the_list_not_of_the_page(owner: Tenant) -> None:
    tenant, expected = tenant_with(owner, [LARGEST] * 40)
    body = tenant.rest.get(f"{tenant.path}/pages", {"pageSize": 200, "includeTotal": "true"}).json()
    assert (body["totalSize"], len(body["pages"]) < 40, body["nextPageToken"] != "") == (40, True, True)
    assert [page["id"] for page in body["pages"]] == expected[: len(body["pages"])]


def test_a_batch_token_answers_no_other_question(owner: Tenant) -> None:
    tenant, expected = tenant_with(owner, [LARGEST] * 40)
    path = f"{tenant.path}/pages:batchGet"
    token = tenant.rest.get(path, {"ids": expected}).json()["nextPageToken"]
    for asked, given_token in ((expected[::-1], token), (expected[1:], token), (expected, "nonsense")):
        answer = tenant.rest.get(path, {"ids": asked, "pageToken": given_token})
        assert (answer.status_code, problem(answer).reason) == (400, "PAGE_TOKEN_INVALID")


def test_what_is_absent_is_told_before_anything_is_given(owner: Tenant) -> None:
    tenant, expected = tenant_with(owner, [LARGEST] * 40)
    absent = "01890000-0000-7000-8000-000000000000"
    request = BatchGetPagesRequest(tenant_id=tenant.id, ids=[*expected, absent])
    assert refused(lambda: tenant.stubs.pages.BatchGetPages(request)).metadata["resource"] == absent


# Audit entries -------------------------------------------------------------------------------------------------------


def test_entries_with_much_before_and_after_are_listed_whole(owner: Tenant) -> None:
    """An entry tells at most 4,096 characters of JSON of a value, 22 KB in protobuf; each value stands twice."""
    tenant = another_tenant(owner)
    made = tenant.rest.post(f"{tenant.path}/pages", {"slug": "much", "description": "𝄞" * 2000}).json()
    for number in range(45):
        body = {"title": "é" * 300, "settings": {"a": [number % 10] * 2040}, "description": "𝄞é"[number % 2] * 2000}
        assert tenant.rest.patch(f"{tenant.path}/pages/{made['id']}", body).status_code == 200
    stub = tenant.stubs.audit
    found: list[str] = []
    token = ""
    sizes: list[int] = []
    while token or not sizes:
        answer = stub.ListAuditEntries(
            ListAuditEntriesRequest(tenant_id=tenant.id, page_size=200, page_token=token), timeout=20
        )
        sizes.append(answer.ByteSize())
        found += [entry.id for entry in answer.audit_entries]
        token = answer.next_page_token
    assert len(sizes) > 1
    assert max(sizes) < CLIENT_BYTES
    assert len(found) == len(set(found)) >= 46
    listed: list[str] = []
    while token or not listed:
        body = tenant.rest.get(f"{tenant.path}/audit", {"pageSize": 200, "pageToken": token}).json()
        listed += [entry["id"] for entry in body["auditEntries"]]
        token = body["nextPageToken"]
    assert listed == found


# One resource --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_resources(monkeypatch: pytest.MonkeyPatch) -> int:
    """No field of a page reaches the bound of all fields together, so here it is lower."""
    monkeypatch.setattr(kernel_rows, "RESOURCE_BYTES", 10_000)
    return 10_000


@pytest.fixture(scope="module")
def application(stack: Stack) -> Iterator[app.Application]:
    application = app.build(stack.settings, "sizes", streams=False)
    application.open()
    yield application
    application.close()


def test_a_resource_has_a_bound_of_its_own(application: app.Application, owner: Tenant, small_resources: int) -> None:
    handler: Any = application.routes["/plinth.sites.v1.PageService/CreatePage"].handler
    for size, is_taken in ((small_resources // 2, True), (small_resources, False)):
        page = Page(slug=f"bounded-{size}")
        json_format.ParseDict({"a": "x" * size}, page.settings)
        context = Context(authorization=f"Bearer {owner.access_token}")
        request = CreatePageRequest(tenant_id=owner.id, page=page).SerializeToString()
        if is_taken:
            assert handler.unary_unary(request, context).slug == page.slug
            continue
        with pytest.raises(Aborted):
            handler.unary_unary(request, context)
        assert context.code is grpc.StatusCode.INVALID_ARGUMENT
        assert context.details == f"page: is larger than {small_resources} bytes in all."


@given(st.lists(st.integers(0, ANSWER_BYTES * 2), max_size=12))
def test_what_fits_is_the_longest_beginning_that_has_room_and_at_least_one(sizes: list[int]) -> None:
    taken = fitting(Sized(size) for size in sizes)
    assert [one.size for one in taken] == sizes[: len(taken)]
    assert len(taken) >= min(1, len(sizes))
    if len(taken) > 1:
        assert sum(one.size for one in taken) <= ANSWER_BYTES
    if len(taken) < len(sizes):
        assert sum(sizes[: len(taken) + 1]) > ANSWER_BYTES


class Sized:
    """Something of a size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def ByteSize(self) -> int:  # noqa: N802 - as messages name it
        return self.size


def test_answers_have_room_in_what_clients_take_and_in_what_the_gateway_shows() -> None:
    assert RESOURCE_BYTES < ANSWER_BYTES <= CLIENT_BYTES // 2
    # A byte of protobuf becomes six of JSON at most; the rest is for what names of fields and empty values take.
    assert 6 * ANSWER_BYTES < MAX_RESPONSE_BYTES // 2
