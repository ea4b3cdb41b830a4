"""Calls of the client against the real stack: answers, pages of lists, idempotency keys, errors."""

import asyncio
import uuid

import pytest
from plinth.client import (
    AlreadyExists,
    AsyncPlinth,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Plinth,
    PlinthError,
    Unauthenticated,
    Unavailable,
    Violation,
)
from plinth.identity.v1.api_key_pb2 import ApiKey, CreateApiKeyRequest
from plinth.identity.v1.auth_pb2 import GetCurrentUserRequest, ListJsonWebKeysRequest
from plinth.sites.v1.page_pb2 import CreatePageRequest, GetPageRequest, ListPagesRequest, Page

from tests.clients import Tenant, new_tenant
from tests.stack import Stack, free_port


def create(tenant: Tenant, slug: str) -> CreatePageRequest:
    return CreatePageRequest(tenant_id=tenant.id, page=Page(slug=slug, title=slug.title()))


def test_a_page_is_created_and_read(client: Plinth, tenant: Tenant) -> None:
    page = client.pages.create_page(create(tenant, "hello"))
    assert client.pages.get_page(GetPageRequest(tenant_id=tenant.id, page_id=page.id)) == page


def test_a_list_is_read_over_all_its_pages(client: Plinth, tenant: Tenant) -> None:
    slugs = [client.pages.create_page(create(tenant, f"page-{number}")).slug for number in range(7)]
    request = ListPagesRequest(tenant_id=tenant.id, page_size=3, order_by="create_time")
    assert [page.slug for page in client.pages.list_pages.iterate(request)] == slugs
    assert request.page_token == ""
    assert len(client.pages.list_pages(request).pages) == 3


def test_the_same_for_asyncio(tenant: Tenant) -> None:
    async def work() -> None:
        async with AsyncPlinth(tenant.stack.url, token=tenant.access_token) as client:
            made = await asyncio.gather(
                *(client.pages.create_page(create(tenant, f"page-{number}")) for number in range(7))
            )
            request = ListPagesRequest(tenant_id=tenant.id, page_size=3)
            found = [page async for page in client.pages.list_pages.iterate(request)]
            assert sorted(page.id for page in found) == sorted(page.id for page in made)
            with pytest.raises(AlreadyExists) as taken:
                await client.pages.create_page(create(tenant, "page-1"))
            assert taken.value.reason == "RESOURCE_TAKEN"

    asyncio.run(work())


def test_a_key_of_ones_own_makes_a_repeated_call_one(client: Plinth, tenant: Tenant) -> None:
    key = str(uuid.uuid4())
    first = client.pages.create_page(create(tenant, "once"), idempotency_key=key)
    assert client.pages.create_page(create(tenant, "once"), idempotency_key=key) == first
    with pytest.raises(InvalidArgument) as reused:
        client.pages.create_page(create(tenant, "other"), idempotency_key=key)
    assert reused.value.reason == "IDEMPOTENCY_KEY_REUSED"


def test_an_error_names_every_broken_rule(client: Plinth, tenant: Tenant) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.pages.create_page(CreatePageRequest(tenant_id=tenant.id, page=Page(slug="No slug", title="x" * 301)))
    error = caught.value
    assert error.reason == "RULE_VIOLATED"
    assert {violation.field: violation.rule for violation in error.violations} == {
        "page.slug": "string.slug",
        "page.title": "string.max_len",
    }
    assert all(isinstance(violation, Violation) and violation.message in str(error) for violation in error.violations)
    assert error.request_id
    assert error.request_id in str(error)


def test_errors_have_the_class_of_their_code(client: Plinth, tenant: Tenant, stack: Stack) -> None:
    absent = GetPageRequest(tenant_id=tenant.id, page_id=str(uuid.uuid4()))
    with pytest.raises(NotFound) as missing:
        client.pages.get_page(absent)
    assert (missing.value.reason, missing.value.metadata["resource_type"]) == ("RESOURCE_NOT_FOUND", "plinth.dev/Page")
    with Plinth(stack.url) as nobody, pytest.raises(Unauthenticated) as unknown:
        nobody.pages.get_page(absent)
    assert unknown.value.reason == "CREDENTIALS_MISSING"
    assert all(isinstance(error, PlinthError) for error in (missing.value, unknown.value))


def test_without_credentials_public_rpcs_can_be_called(stack: Stack) -> None:
    with Plinth(stack.url) as nobody:
        assert nobody.auth.list_json_web_keys(ListJsonWebKeysRequest()).keys


def test_an_api_key_is_a_credential(client: Plinth, tenant: Tenant) -> None:
    wanted = ApiKey(name="reader", permissions=["sites.pages.read"])
    made = client.api_keys.create_api_key(CreateApiKeyRequest(tenant_id=tenant.id, api_key=wanted))
    with Plinth(tenant.stack.url, api_key=made.key) as reader:
        assert not list(reader.pages.list_pages.iterate(ListPagesRequest(tenant_id=tenant.id)))
        with pytest.raises(PermissionDenied) as denied:
            reader.pages.create_page(create(tenant, "hello"))
        assert denied.value.metadata == {"permission": "sites.pages.create"}
        assert made.key not in f"{denied.value!r} {denied.value} {reader!r} {reader.tokens!r}"


def test_a_client_goes_to_another_tenant(client: Plinth, tenant: Tenant, owner: Tenant) -> None:
    other = new_tenant(tenant.stack, owner.owner)
    client.switch_tenant(other.id)
    assert client.auth.get_current_user(GetCurrentUserRequest()).tenant_id == other.id
    assert client.pages.create_page(create(other, "here")).slug == "here"


def test_a_call_without_a_server_ends_in_time() -> None:
    with Plinth(f"http://127.0.0.1:{free_port()}", timeout=0.5) as client, pytest.raises(PlinthError) as caught:
        client.auth.list_json_web_keys(ListJsonWebKeysRequest())
    assert isinstance(caught.value, Unavailable | DeadlineExceeded)
    with pytest.raises(ValueError, match="above 0 seconds"):
        client.auth.list_json_web_keys(ListJsonWebKeysRequest(), timeout=0)
