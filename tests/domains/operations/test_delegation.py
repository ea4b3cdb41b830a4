"""A job calls on behalf of who has started its operation, with what that caller may do now."""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from plinth.files.v1.asset_content_pb2 import UploadAssetRequest
from plinth.files.v1.asset_pb2 import Asset
from plinth.operations.v1.operation_pb2 import Operation
from plinth.sites.v1.page_pb2 import CreatePageRequest, DeletePageRequest, GetPageRequest, Page
from plinth.tenancy.v1.tenant_pb2 import DeleteTenantRequest

from server.domains.sites.pages import PageService
from server.job_calls import JobCalls
from server.kernel.delegation import Delegate, File, Unconnected
from server.kernel.operations import Work
from server.kernel.problems import Denied, NotFound, RuleViolated, Unauthenticated
from tests.clients import new_member, new_tenant, rows
from tests.domains.files.samples import PDF, image
from tests.domains.operations.scene import Scene
from tests.stack import Stack

CREATE, GET = "/plinth.sites.v1.PageService/CreatePage", "/plinth.sites.v1.PageService/GetPage"
UPLOAD = "/plinth.files.v1.AssetContentService/UploadAsset"


@pytest.fixture(scope="module")
def calls(stack: Stack) -> Iterator[JobCalls]:
    """The calls of a worker's jobs."""
    made = JobCalls(stack.settings, "test", 2)
    yield made
    made.close()


class Started:
    """An operation of somebody."""

    def __init__(self, operation: Operation) -> None:
        self.id, self.tenant_id = operation.id, operation.tenant_id
        self.owner_id, self.request_id = operation.owner_id, operation.request_id


def on_behalf(calls: JobCalls, scene: Scene, owner_id: str | None = None) -> Delegate:
    return calls.of(Started(scene.start(owner_id)))


def new_page(scene: Scene, slug: str = "home") -> CreatePageRequest:
    return CreatePageRequest(tenant_id=scene.tenant.id, page=Page(slug=slug, title="A page"))


def test_a_call_leaves_what_the_same_call_of_its_owner_leaves(calls: JobCalls, scene: Scene) -> None:
    operation = scene.start()
    page = calls.of(Started(operation)).call(CREATE, new_page(scene), Page, "1")
    assert scene.tenant.rest.get(f"{scene.tenant.path}/pages/{page.id}").json()["title"] == "A page"
    entry = scene.tenant.rest.get(f"{scene.tenant.path}/audit", {"filter": f'resource_id = "{page.id}"'}).json()
    [entry] = entry["auditEntries"]
    assert (entry["actorId"], entry["userAgent"], entry["requestId"]) == (
        scene.tenant.owner.id,
        f"operation {operation.id}",
        "a-request",
    )
    query = "SELECT type, actor_id::text AS actor FROM events WHERE resource_id = %s"
    assert rows(scene.stack, query, page.id) == [{"type": "page.created", "actor": scene.tenant.owner.id}]


def test_another_attempt_calls_again_and_nothing_happens_twice(calls: JobCalls, scene: Scene) -> None:
    started = Started(scene.start())
    first = calls.of(started).call(CREATE, new_page(scene), Page, "1")
    assert calls.of(started).call(CREATE, new_page(scene), Page, "1") == first
    file = File("a.pdf", "application/pdf", [PDF[:7], PDF[7:]])
    request = UploadAssetRequest(tenant_id=scene.tenant.id, filename="a.pdf")
    uploaded = calls.of(started).upload(UPLOAD, request, file, Asset, "2")
    assert calls.of(started).upload(UPLOAD, request, file, Asset, "2") == uploaded
    other = File("a.pdf", "application/pdf", [PDF + PDF])
    with pytest.raises(RuleViolated, match="another request"):
        calls.of(started).upload(UPLOAD, request, other, Asset, "2")
    assert len(scene.tenant.rest.get(f"{scene.tenant.path}/pages").json()["pages"]) == 1
    assert len(scene.tenant.rest.get(f"{scene.tenant.path}/assets").json()["assets"]) == 1


def test_each_has_the_permissions_that_they_have_now(calls: JobCalls, scene: Scene) -> None:
    viewer, _ = new_member(scene.tenant, "viewer")
    page = on_behalf(calls, scene).call(CREATE, new_page(scene), Page, "1")
    limited = on_behalf(calls, scene, viewer.id)
    get = GetPageRequest(tenant_id=scene.tenant.id, page_id=page.id)
    # Right after a call of the owner, in the same process.
    assert limited.call(GET, get, Page).id == page.id
    with pytest.raises(Denied):
        limited.call(CREATE, new_page(scene, "b"), Page, "1")
    with pytest.raises(Denied):
        limited.upload(UPLOAD, UploadAssetRequest(tenant_id=scene.tenant.id), File("a", "", never_read()), Asset, "2")
    assert scene.tenant.rest.delete(f"{scene.tenant.path}/users/{viewer.id}").status_code in {200, 204}
    with pytest.raises(NotFound):
        limited.call(GET, get, Page)


def never_read() -> Iterator[bytes]:
    raise AssertionError("nothing is read of an upload that is not allowed")
    yield b""


def test_rules_hold_and_other_tenants_are_out_of_reach(calls: JobCalls, scene: Scene) -> None:
    own = on_behalf(calls, scene)
    with pytest.raises(RuleViolated, match="slug"):
        own.call(CREATE, CreatePageRequest(tenant_id=scene.tenant.id, page=Page(slug="No slug")), Page, "1")
    other = new_tenant(scene.stack)
    with pytest.raises(NotFound):
        own.call(CREATE, CreatePageRequest(tenant_id=other.id, page=Page(title="A")), Page, "2")
    file = File("a.png", "image/png", [image()[:200]])
    with pytest.raises(RuleViolated, match="cannot be read"):
        own.upload(UPLOAD, UploadAssetRequest(tenant_id=scene.tenant.id), file, Asset, "3")


def test_nobody_proves_again_who_they_are(calls: JobCalls, scene: Scene) -> None:
    with pytest.raises(Denied, match="Prove again"):
        on_behalf(calls, scene).call(
            "/plinth.tenancy.v1.TenantService/DeleteTenant", DeleteTenantRequest(tenant_id=scene.tenant.id), Empty, "1"
        )


def test_an_api_key_acts_until_it_is_revoked(calls: JobCalls, scene: Scene) -> None:
    body = {"name": "importer", "permissions": ["sites.pages.create", "sites.pages.read"]}
    answer = scene.tenant.rest.post(f"{scene.tenant.path}/api-keys", body)
    assert answer.status_code == 201, answer.text
    key_id = answer.json()["id"]
    own = on_behalf(calls, scene, key_id)
    page = own.call(CREATE, new_page(scene), Page, "1")
    with pytest.raises(Denied):
        own.call(
            "/plinth.sites.v1.PageService/DeletePage",
            DeletePageRequest(tenant_id=scene.tenant.id, page_id=page.id),
            Empty,
            "2",
        )
    assert scene.tenant.rest.delete(f"{scene.tenant.path}/api-keys/{key_id}").status_code in {200, 204}
    with pytest.raises(Unauthenticated):
        own.call(CREATE, new_page(scene, "b"), Page, "3")


def test_who_is_gone_calls_no_more(calls: JobCalls, scene: Scene) -> None:
    somebody, _ = new_member(scene.tenant, "editor")
    own = on_behalf(calls, scene, somebody.id)
    own.call(CREATE, new_page(scene), Page, "1")
    rows(scene.stack, "UPDATE users SET delete_time = now() WHERE id = %s RETURNING id", somebody.id)
    with pytest.raises(Unauthenticated):
        own.call(CREATE, new_page(scene, "b"), Page, "2")


def test_the_work_of_the_platform_calls_nothing(calls: JobCalls, scene: Scene) -> None:
    def work(work: Work) -> None:
        with pytest.raises(LookupError, match="nobody"):
            calls.of(work)

    scene.attempt(scene.start(""), work)


def test_a_call_says_what_it_takes_and_answers(calls: JobCalls, scene: Scene) -> None:
    own = on_behalf(calls, scene)
    with pytest.raises(TypeError, match="takes no file"):
        own.upload(CREATE, new_page(scene), File("a.pdf", "", [PDF]), Page, "1")
    with pytest.raises(TypeError, match=r"the answer is plinth\.sites\.v1\.Page, not"):
        own.call(CREATE, new_page(scene), Asset, "2")


def test_what_belongs_to_nobody_has_no_owner() -> None:
    nobody: Any = None
    with pytest.raises(LookupError, match="belongs to nobody"):
        PageService().rows.owner_of_new(nobody)


def test_no_connection_waits_for_it() -> None:
    context = Unconnected([("a", "b")])
    assert (context.time_remaining(), context.is_active()) == (None, True)
    assert list(context.invocation_metadata()) == [("a", "b")]
