"""Connect as a further way to call every unary RPC: what holds over gRPC holds there."""

import base64
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from plinth.sites.v1 import page_pb2

from server import app
from server.kernel.policy import Access, MethodPolicy
from tests.clients import Rest, Tenant, new_tenant
from tests.contract import doors
from tests.stack import Stack

PAGES = "/plinth.sites.v1.PageService"
PROTO, JSON = "application/proto", "application/json"
RAW = "google.api.HttpBody"
UNARY = {
    path: method
    for path, method in app.policies().items()
    if not method.streaming
    and method.raw is None
    and method.upload is None
    and RAW not in {method.descriptor.input_type.full_name, method.descriptor.output_type.full_name}
}


def call(caller: Rest, path: str, request: Message, kind: str = JSON, **headers: str) -> httpx.Response:
    """A unary call."""
    body = request.SerializeToString() if kind == PROTO else json_format.MessageToJson(request).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return caller.request("POST", path, content=body, headers={"content-type": kind, **given})


def refused(answer: httpx.Response) -> tuple[str, str, dict[str, str]]:
    """Code, reason and metadata of an error."""
    details = {each["type"]: base64.b64decode(each["value"] + "==") for each in answer.json()["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    return answer.json()["code"], info.reason, dict(info.metadata)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.mark.parametrize("kind", [PROTO, JSON])
def test_every_unary_rpc_answers_and_asks_strangers_for_credentials(stack: Stack, kind: str) -> None:
    def answer_of(path: str, method: MethodPolicy) -> Any:
        answer = call(Rest(stack), path, doors.empty_request(method), kind)
        return "answers" if answer.status_code == 200 else refused(answer)[:2]

    answers = {path: answer_of(path, method) for path, method in UNARY.items()}
    # What providers sign takes no credentials.
    is_open = (Access.PUBLIC, Access.PROVIDER_SIGNATURE)
    guarded = {path for path, method in UNARY.items() if method.access not in is_open}
    assert len(guarded) > 80
    assert {path for path, answer in answers.items() if answer == ("unauthenticated", "CREDENTIALS_MISSING")} == guarded
    assert ("unimplemented", "ROUTE_NOT_FOUND") not in answers.values()


def test_an_unknown_key_is_named_with_the_nearest_one(tenant: Tenant) -> None:
    body = {"tenantId": tenant.id, "page": {"slug": "a", "titel": "A"}}
    answer = tenant.rest.request("POST", f"{PAGES}/CreatePage", json=body)
    code, reason, metadata = refused(answer)
    assert (code, reason) == ("invalid_argument", "UNKNOWN_FIELD")
    assert metadata == {"field": "page.titel", "nearest": "page.title"}


@pytest.mark.parametrize("kind", [PROTO, JSON])
def test_an_update_changes_what_its_mask_names(tenant: Tenant, kind: str) -> None:
    """The keys of the body are no mask, as they are over REST."""
    slug = "masked-" + kind.rpartition("/")[2]
    page = page_pb2.Page(slug=slug, title="Zürich", description="old")
    created = call(tenant.rest, f"{PAGES}/CreatePage", page_pb2.CreatePageRequest(tenant_id=tenant.id, page=page), kind)
    assert created.status_code == 200, created.text
    parse = page_pb2.Page.FromString if kind == PROTO else lambda raw: json_format.Parse(raw, page_pb2.Page())
    update = page_pb2.UpdatePageRequest(
        tenant_id=tenant.id, page_id=parse(created.content).id, page=page_pb2.Page(title="Basel", description="new")
    )
    update.update_mask.paths.append("title")
    updated = parse(call(tenant.rest, f"{PAGES}/UpdatePage", update, kind).content)
    assert (updated.title, updated.description) == ("Basel", "old")
    # Without a mask, every field that is set.
    update.ClearField("update_mask")
    updated = parse(call(tenant.rest, f"{PAGES}/UpdatePage", update, kind).content)
    assert (updated.title, updated.description) == ("Basel", "new")


@pytest.mark.parametrize("kind", [PROTO, JSON])
def test_a_copy_that_is_current_is_sent_again(tenant: Tenant, kind: str) -> None:
    """Headers of conditional requests are REST's: 304 would be no answer to Connect."""
    listing = page_pb2.ListPagesRequest(tenant_id=tenant.id)
    etag = tenant.rest.get(f"{tenant.path}/pages").headers["etag"]
    answer = call(tenant.rest, f"{PAGES}/ListPages", listing, kind, if_none_match=etag)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert "etag" not in answer.headers
