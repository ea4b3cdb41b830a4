"""Cached answers: never an old one after a write, never another's, and none to whoever may no longer ask."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.identity.v1 import auth_pb2
from plinth.sites.v1 import page_pb2
from plinth.tenancy.v1 import role_pb2, tenant_pb2

from server.app import policies
from server.kernel.caching.generations import WINDOW
from tests.clients import (
    Account,
    Session,
    Tenant,
    another_tenant,
    database,
    new_member,
    new_tenant,
    refused,
)
from tests.domains.sites.instances import planted_template
from tests.faults.outages import replaced
from tests.guard import dying_worker
from tests.guard.hosts import Hosts, two_hosts
from tests.guard.roles import take
from tests.guard.workers import at, running
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.heavy

PAIRS = 300
# Little enough that many reads meet a commit, and much enough that they do not take the machine.
BETWEEN = 0.001
# What is promised of two hosts, and a little for reading two clocks that are one.
LATEST = WINDOW + 0.01
WAYS = [("api-0", "api-1"), ("api-1", "api-0")]


def create(tenant: Tenant, slug: str = "page", **facts: Any) -> str:
    """The id of a new page."""
    new = page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page_pb2.Page(slug=slug, **facts))
    return str(tenant.stubs.pages.CreatePage(new).id)


def entitle(tenant: Tenant, page: str, title: str) -> None:
    """Give a page a title."""
    new = page_pb2.Page(title=title)
    tenant.stubs.pages.UpdatePage(
        page_pb2.UpdatePageRequest(tenant_id=tenant.id, page_id=page, page=new, update_mask={"paths": ["title"]})
    )


def title(tenant: Tenant, page: str) -> str:
    """The title of a page, as whoever asks reads it."""
    return str(tenant.stubs.pages.GetPage(page_pb2.GetPageRequest(tenant_id=tenant.id, page_id=page)).title)


def listed(tenant: Tenant, **options: Any) -> list[str]:
    """The titles of a tenant's pages, as whoever asks lists them."""
    found = tenant.stubs.pages.ListPages(page_pb2.ListPagesRequest(tenant_id=tenant.id, **options))
    return [page.title for page in found.pages]


def change_unseen(stack: Stack, page: str, new: str) -> None:
    """What no RPC does: caches hear nothing of it, so that it tells which answers are cached."""
    with database(stack) as connection:
        connection.execute("UPDATE pages SET title = %s WHERE id = %s", (new, page))


def keeps(reading: Tenant, page: str, stack: Stack) -> bool:
    """Whether what is read of a page is cached. Nobody else writes it meanwhile; the stack is whose database it is."""
    known = title(reading, page)
    change_unseen(stack, page, "unseen")
    is_kept = title(reading, page) == known
    change_unseen(stack, page, known)
    return is_kept


def as_session(tenant: Tenant, session: Session) -> Tenant:
    """The tenant as somebody else sees it."""
    return replace(tenant, session=session)


# After a write -------------------------------------------------------------------------------------------------------


@contextmanager
def hammered(*reads: Callable[[], object]) -> Iterator[None]:
    """Read all the time beside the block, so that answers are computed while others are written."""
    stopped = threading.Event()

    def hammer(read: Callable[[], object]) -> None:
        while not stopped.wait(BETWEEN):
            read()

    with ThreadPoolExecutor(len(reads)) as pool:
        running = [pool.submit(hammer, read) for read in reads]
        try:
            yield
        finally:
            stopped.set()
        for one in running:
            one.result()


def count_stale(tenant: Tenant, pairs: int, writer: str, reader: str) -> int:
    """How many of so many reads at one worker are older than the write at another that was answered before."""
    page, writing, reading = create(tenant, f"{writer}-{reader}"), at(tenant, writer), at(tenant, reader)
    stale = 0
    with hammered(lambda: title(reading, page)):
        for number in range(pairs):
            entitle(writing, page, str(number))
            stale += title(reading, page) != str(number)
    # A write of another test may share a slot of the generations with it, for once.
    wait_for(lambda: keeps(reading, page, tenant.stack), what="an answer that is kept")
    return stale


def count_all_stale(tenant: Tenant, pairs: int) -> int:
    """The same of so many in all, half of them each way, side by side."""
    tenants = [another_tenant(tenant) for _ in WAYS]
    with ThreadPoolExecutor(len(WAYS)) as pool:
        counts = [
            pool.submit(count_stale, own, pairs // len(WAYS), *way) for own, way in zip(tenants, WAYS, strict=True)
        ]
        return sum(count.result() for count in counts)


def test_no_read_that_begins_after_a_write_is_older_than_it(first_tenant: Tenant) -> None:
    assert count_all_stale(first_tenant, PAIRS) == 0


def mutations(tenant: Tenant, page: str) -> dict[str, Callable[[Any], Any]]:
    """Every RPC that changes what reads of pages answer, in an order in which all succeed."""
    key: dict[str, Any] = {"tenant_id": tenant.id, "page_id": page}
    new = page_pb2.Page(slug="new")
    template = planted_template(tenant)
    later = Timestamp()
    later.FromDatetime(datetime(2999, 1, 1, tzinfo=UTC))

    def restored(pages: Any) -> Any:
        path = f"{tenant.path}/pages/{page}/versions"
        oldest = tenant.rest.get(path, {"orderBy": "number"}).json()["pageVersions"][0]
        return pages.RestorePageVersion(page_pb2.RestorePageVersionRequest(**key, page_version_id=oldest["id"]))

    return {
        "CreatePage": lambda pages: pages.CreatePage(page_pb2.CreatePageRequest(tenant_id=tenant.id, page=new)),
        "UpdatePage": lambda pages: pages.UpdatePage(page_pb2.UpdatePageRequest(**key, page=page_pb2.Page(title="2"))),
        "PublishPage": lambda pages: pages.PublishPage(page_pb2.PublishPageRequest(**key)),
        "UnpublishPage": lambda pages: pages.UnpublishPage(page_pb2.UnpublishPageRequest(**key)),
        "SchedulePage": lambda pages: pages.SchedulePage(page_pb2.SchedulePageRequest(**key, publish_time=later)),
        "RestorePageVersion": restored,
        "ApplyPageTemplate": lambda pages: pages.ApplyPageTemplate(
            page_pb2.ApplyPageTemplateRequest(page_template_id=template, page_id=page)
        ),
        "ResetPageToTemplate": lambda pages: pages.ResetPageToTemplate(page_pb2.ResetPageToTemplateRequest(**key)),
        "DuplicatePage": lambda pages: pages.DuplicatePage(page_pb2.DuplicatePageRequest(**key)),
        "DeletePage": lambda pages: pages.DeletePage(page_pb2.DeletePageRequest(**key)),
        "UndeletePage": lambda pages: pages.UndeletePage(page_pb2.UndeletePageRequest(**key)),
    }


def test_every_write_of_a_page_is_seen_at_the_other_worker(tenant: Tenant) -> None:
    every = mutations(tenant, create(tenant, title="1"))
    service = page_pb2.DESCRIPTOR.services_by_name["PageService"]
    assert every.keys() == {method.name for method in service.methods if policies()[path_of(method)].invalidates}
    request = page_pb2.ListPagesRequest(tenant_id=tenant.id, include_total=True)
    reading, writing = at(tenant, "api-1").stubs.pages, at(tenant, "api-0").stubs.pages
    before = reading.ListPages(request)
    for name, change in every.items():
        assert reading.ListPages(request) == before
        change(writing)
        after = reading.ListPages(request)
        assert after != before, name
        before = after


def path_of(method: Any) -> str:
    """Its name on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"


# Who may no longer ask -----------------------------------------------------------------------------------------------


def log_out(tenant: Tenant, writer: str, account: Account, session: Session) -> Tenant:
    """The member logs out."""
    del account
    at(as_session(tenant, session), writer).stubs.auth.LogOut(auth_pb2.LogOutRequest())
    return tenant


def take_role(tenant: Tenant, writer: str, account: Account, session: Session) -> Tenant:
    """The owner takes the member's role."""
    del session
    take(at(tenant, writer), account, "viewer")
    return tenant


def delete_tenant(tenant: Tenant, writer: str, account: Account, session: Session) -> Tenant:
    """The owner deletes the tenant."""
    del account, session
    at(tenant, writer).stubs.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(tenant_id=tenant.id))
    return tenant


@pytest.mark.parametrize(("writer", "reader"), WAYS)
@pytest.mark.parametrize(
    ("end", "why"),
    [(log_out, "SESSION_ENDED"), (take_role, "PERMISSION_MISSING"), (delete_tenant, "RESOURCE_NOT_FOUND")],
)
def test_who_may_no_longer_ask_gets_no_cached_answer(
    tenant: Tenant, end: Callable[..., object], why: str, writer: str, reader: str
) -> None:
    page = create(tenant, title="secret")
    account, session = new_member(tenant, "viewer")
    reading = at(as_session(tenant, session), reader)
    assert [title(reading, page), listed(reading)] == ["secret", ["secret"]]
    change_unseen(tenant.stack, page, "unseen")
    assert [title(reading, page), listed(reading)] == ["secret", ["secret"]]
    end(tenant, writer, account, session)
    if end is not delete_tenant:
        # What is cached anew by somebody who may ask is not for everybody either.
        assert title(at(tenant, reader), page)
    assert refused(lambda: title(reading, page)).reason == why
    assert refused(lambda: listed(reading)).reason == why


def test_a_changed_role_and_a_revoked_key_hold_for_cached_answers(tenant: Tenant) -> None:
    page = create(tenant, title="secret")
    role = tenant.rest.post("rbac/roles", {"name": "reader", "permissions": ["sites.pages.read"]}).json()
    key = tenant.rest.post(f"{tenant.path}/api-keys", {"name": "key", "permissions": ["sites.pages.read"]}).json()
    _, session = new_member(tenant, "reader")
    readers = [replace(session, access_token=token) for token in (session.access_token, key["key"])]
    readings = [at(as_session(tenant, reader), "api-1") for reader in readers]
    assert [title(reading, page) for reading in readings] == ["secret"] * 2
    update = role_pb2.UpdateRoleRequest(role_id=role["id"], role=role_pb2.Role(permissions=["tenancy.branding.read"]))
    at(tenant, "api-0").stubs.roles.UpdateRole(update)
    assert tenant.rest.delete(f"{tenant.path}/api-keys/{key['id']}").status_code == 204
    assert [refused(partial(title, reading, page)).reason for reading in readings] == [
        "PERMISSION_MISSING",
        "API_KEY_ENDED",
    ]


# Whose answer it is --------------------------------------------------------------------------------------------------


def test_a_page_is_cached_for_all_who_may_read_it_and_a_list_for_its_caller_alone(tenant: Tenant) -> None:
    page = create(tenant, title="old")
    mine = at(tenant, "api-0")
    theirs = at(as_session(tenant, new_member(tenant, "viewer")[1]), "api-0")
    assert [title(mine, page), listed(mine)] == ["old", ["old"]]
    change_unseen(tenant.stack, page, "new")
    assert [title(mine, page), listed(mine)] == ["old", ["old"]]
    assert [title(theirs, page), listed(theirs)] == ["old", ["new"]]


def test_a_search_is_never_cached(tenant: Tenant) -> None:
    page = create(tenant, title="old")
    mine = at(tenant, "api-0")
    assert [listed(mine), listed(mine, filter='slug = "page"')] == [["old"], ["old"]]
    change_unseen(tenant.stack, page, "new")
    assert [listed(mine), listed(mine, filter='slug = "page"')] == [["old"], ["new"]]


def test_who_lacks_the_permission_never_gets_what_is_cached(tenant: Tenant) -> None:
    page = create(tenant, title="secret")
    body = {"name": "key", "permissions": ["tenancy.branding.read"]}
    key = tenant.rest.post(f"{tenant.path}/api-keys", body).json()["key"]
    stranger = at(as_session(tenant, replace(tenant.session, access_token=key)), "api-0")
    mine = at(tenant, "api-0")
    assert [title(mine, page), listed(mine)] == ["secret", ["secret"]]
    assert refused(lambda: title(stranger, page)).reason == "PERMISSION_MISSING"
    assert refused(lambda: listed(stranger)).reason == "PERMISSION_MISSING"


def test_a_cached_answer_never_leaves_its_tenant(tenant: Tenant) -> None:
    page = create(tenant, title="secret")
    other = another_tenant(tenant)
    mine, theirs = at(tenant, "api-0"), at(other, "api-0")
    assert [title(mine, page), listed(mine)] == ["secret", ["secret"]]
    assert listed(theirs) == []
    # With its tenant's id, and with their own.
    for tenant_id in (tenant.id, tenant.id.upper(), other.id):
        request = page_pb2.GetPageRequest(tenant_id=tenant_id, page_id=page)
        assert refused(partial(theirs.stubs.pages.GetPage, request)).code == 5
        by_id = page_pb2.BatchGetPagesRequest(tenant_id=tenant_id, ids=[page])
        assert refused(partial(theirs.stubs.pages.BatchGetPages, by_id)).code == 5


# ETags ---------------------------------------------------------------------------------------------------------------

# Reads of different shapes; tests/contract/test_cached_reads.py asks every one that is cached.
CACHED = {
    "GetTenant": "",
    "GetBranding": "/branding",
    "ListPages": "/pages",
    "GetPage": "/pages/{page}",
    "BatchGetPages": "/pages:batchGet?ids={page}",
    "GetPageBySlug": "/pages/slug/page",
}


@pytest.mark.parametrize("path", CACHED.values(), ids=CACHED)
def test_a_cached_answer_has_a_weak_etag_that_changes_with_it(tenant: Tenant, path: str) -> None:
    page = create(tenant)
    where = f"{tenant.path}{path.format(page=page)}"
    answers = [tenant.rest.get(where) for _ in range(4)]
    (etag,) = {answer.headers["etag"] for answer in answers}
    assert etag.startswith('W/"')
    assert {answer.content for answer in answers} == {answers[0].content}
    known = tenant.rest.get(where, headers={"if-none-match": f'"other", {etag}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    writes = {"": {"name": "New"}, "/branding": {"bodyFont": "New"}, f"/pages/{page}": {"title": "New"}}
    for changed, body in writes.items():
        assert tenant.rest.patch(f"{tenant.path}{changed}", body).status_code == 200
    for _ in range(4):
        new = tenant.rest.get(where, headers={"if-none-match": etag})
        assert (new.status_code, new.headers["etag"] != etag, "New" in new.text) == (200, True, True)


# Two hosts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def hosts_owner(hosts: Hosts) -> Tenant:
    """Somebody with a tenant on both."""
    return new_tenant(hosts.first)


@pytest.fixture
def both(hosts: Hosts, hosts_owner: Tenant) -> tuple[Tenant, Tenant]:
    """A tenant of this test as the first host sees it, and as the second one does."""
    tenant = another_tenant(hosts_owner)
    return tenant, replace(tenant, stack=hosts.second)


def reads_until(tenant: Tenant, page: str, wanted: str, written: float) -> list[tuple[float, str]]:
    """Reads until some that began long enough after a write are right: when each began after it, and what it got."""
    reads: list[tuple[float, str]] = []
    while sum(got == wanted for began, got in reads if began >= LATEST) < 3:
        began = monotonic() - written
        reads.append((began, title(tenant, page)))
        assert began < LATEST or reads[-1][1] == wanted, f"{began * 1000:.0f} ms after it was written"
    return reads


@pytest.mark.parametrize("turned", [False, True], ids=["there", "back"])
def test_another_host_sees_a_write_at_once_but_for_the_window(
    hosts: Hosts, both: tuple[Tenant, Tenant], *, turned: bool
) -> None:
    here, there = reversed(both) if turned else both
    page = create(here)
    for number in range(10):
        title(there, page)
        entitle(here, page, str(number))
        reads_until(there, page, str(number), monotonic())
    hosts.second.wait_for(lambda: keeps(there, page, hosts.first))


def test_what_a_worker_that_died_has_written_is_seen_on_the_other_host(
    hosts: Hosts, both: tuple[Tenant, Tenant]
) -> None:
    """The call is sent again, and its answer promises what every answer does."""
    here, there = both
    page = create(here, title="old")
    hosts.second.wait_for(lambda: keeps(there, page, hosts.first))
    new = page_pb2.Page(title="new")
    request = page_pb2.UpdatePageRequest(tenant_id=here.id, page_id=page, page=new, update_mask={"paths": ["title"]})
    key = [("idempotency-key", "key")]
    with running(dying_worker.__name__, hosts.first, "committed") as program:
        assert program.hear() == "ready committed"
        with pytest.raises(grpc.RpcError):
            at(here, "committed").stubs.pages.UpdatePage(request, metadata=key)
        assert program.hear() == "died committed"
    assert here.stubs.pages.UpdatePage(request, metadata=key).title == "new"
    reads_until(there, page, "new", monotonic())


def test_while_redis_is_away_nothing_cached_is_served(hosts: Hosts, both: tuple[Tenant, Tenant]) -> None:
    here, there = both
    page = create(here, title="old")
    hosts.first.wait_for(lambda: keeps(here, page, hosts.first) and keeps(there, page, hosts.first))
    with hosts.redis.away():
        for number in range(3):
            entitle(here, page, str(number))
            reads_until(there, page, str(number), monotonic())
            assert title(here, page) == str(number)


def test_after_redis_was_away_nothing_from_before_is_served(hosts: Hosts, both: tuple[Tenant, Tenant]) -> None:
    """Not even when the worker that wrote meanwhile has died, and with it what it had to tell the others."""
    here, there = both
    page, other = create(here, title="old"), create(there, "other")
    hosts.second.wait_for(lambda: keeps(there, page, hosts.first))
    with hosts.redis.away():
        entitle(here, page, "new")
        reads_until(there, page, "new", monotonic())
        old = hosts.first.kill("api-0")
    while not keeps(there, other, hosts.first):
        assert title(there, page) == "new"
    assert title(there, page) == "new"
    replaced(hosts.first, "api-0", old)
