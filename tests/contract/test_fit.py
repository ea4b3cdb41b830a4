"""Messages fit their tables, and services their .protos, or the server does not start."""

from collections.abc import Callable

import pytest
from google.api import resource_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from plinth.audit.v1.audit_pb2 import AuditEntry
from plinth.sites.v1.page_pb2 import BatchGetPagesResponse, Page
from sqlalchemy import BigInteger, Column, Date, MetaData, Table, Text

from server.data.clauses import AnyType
from server.domains.sites.pages import PageService
from server.domains.sites.tables import pages
from server.kernel.call import Call
from server.kernel.policy import Kind, PolicyError, read_policies
from server.kernel.queries.pages import PageTokens
from server.kernel.resources.convert import ConversionPlan, PlanFault
from server.kernel.resources.service import AnyService, Service, ServiceFault
from server.kernel.resources.standard import ServiceHandlers
from tests.contract.contract import PAGES, message_of, method_of, planted, real


def without(*names: str) -> Table:
    """The table of pages without these columns."""
    return Table("pages", MetaData(), *(Column(each.name, each.type) for each in pages.c if each.name not in names))


def with_column(name: str, kind: AnyType) -> Table:
    """The table of pages with a column of another type."""
    kinds = {each.name: each.type for each in pages.c} | {name: kind}
    return Table("pages", MetaData(), *(Column(each, kinds[each]) for each in kinds))


def beside(message: type[Message], *names: str) -> Table:
    """A table with a column of text for each of these fields, and none but those."""
    assert {*names} <= {*message.DESCRIPTOR.fields_by_name}
    return Table("odd", MetaData(), *(Column(name, Text) for name in names))


PLANS: dict[str, tuple[Callable[[], ConversionPlan], str]] = {
    "a field without a column": (
        lambda: ConversionPlan(Page, without("title")),
        "plinth.sites.v1.Page.title has no column in `pages`: add one, or name the field in Resource(computed=...)",
    ),
    "a computed field that is stored": (
        lambda: ConversionPlan(Page, pages, computed=("title",)),
        "plinth.sites.v1.Page.title is declared as computed, but `pages` has a column of that name: one has to go",
    ),
    "a computed field that the message lacks": (
        lambda: ConversionPlan(Page, pages, computed=("titel",)),
        "`titel` is declared as computed for `pages`, whose message has no such field",
    ),
    "a hidden column that the table lacks": (
        lambda: ConversionPlan(Page, pages, hidden=("secret",)),
        "`secret` is declared as hidden for `pages`, which has no such column",
    ),
    "messages of their own": (
        lambda: ConversionPlan(BatchGetPagesResponse, beside(BatchGetPagesResponse, "pages", "next_page_token")),
        "plinth.sites.v1.BatchGetPagesResponse.pages does not fit into `odd.pages` of Text(): use JSONB",
    ),
    "a column of another type": (
        lambda: ConversionPlan(Page, with_column("title", BigInteger())),
        "plinth.sites.v1.Page.title does not fit into `pages.title` of BigInteger(): use Text or String or UUID",
    ),
    "a column that no field is read from": (
        lambda: ConversionPlan(Page, with_column("publish_time", Date())),
        "plinth.sites.v1.Page.publish_time does not fit into `pages.publish_time` of Date(): use DateTime",
    ),
    "an ETag without a version": (
        lambda: ConversionPlan(Page, without("version")),
        "plinth.sites.v1.Page.etag has no column in `pages`: add one, or name the field in Resource(computed=...)",
    ),
}


@pytest.mark.parametrize("what", PLANS)
def test_what_would_be_accepted_and_lost_is_refused(what: str) -> None:
    make, fault = PLANS[what]
    with pytest.raises(PlanFault) as refused:
        make()
    assert fault in str(refused.value).splitlines()


def test_every_fault_of_a_message_is_named() -> None:
    with pytest.raises(PlanFault) as refused:
        ConversionPlan(AuditEntry, beside(AuditEntry, "id"))
    assert len(str(refused.value).splitlines()) == len(AuditEntry.DESCRIPTOR.fields) - 1


def handlers(service: type[AnyService]) -> ServiceHandlers:
    return ServiceHandlers([service()], PageTokens(b"0" * 32))


class Misspelt(PageService):
    """Overrides what the kernel does not call."""

    def creat_page(self, call: Call, request: object) -> None:
        """Nobody calls it."""


def test_a_method_that_is_neither_a_hook_nor_an_rpc_is_refused() -> None:
    with pytest.raises(ServiceFault, match=r"^Misspelt.creat_page is neither a hook nor an RPC of plinth.sites.v1.Pa"):
        handlers(Misspelt)


def test_an_rpc_that_is_named_like_a_hook_is_refused() -> None:
    contract = planted(PAGES, lambda file: setattr(method_of(file, "PublishPage"), "name", "Present"))
    (descriptor,) = [each for each in contract.services if each.name == "PageService"]
    service = type("Hooked", (Service,), {"descriptor": descriptor})
    fault = "plinth.sites.v1.PageService.Present would be served by the hook `present`: name the RPC otherwise"
    with pytest.raises(ServiceFault) as refused:
        handlers(service)
    assert str(refused.value) == fault


def as_stories(file: FileDescriptorProto) -> None:
    """The resource is a story, whose plural takes more than an s."""
    resource = message_of(file, "Page").options.Extensions[resource_pb2.resource]
    resource.plural = "stories"


def test_a_plural_is_what_the_resource_says() -> None:
    def rename(file: FileDescriptorProto) -> None:
        as_stories(file)
        method_of(file, "ListPages").name = "ListStories"

    contract = planted(PAGES, rename)
    policies = read_policies(contract.services)
    (method,) = [policy for path, policy in policies.items() if path.endswith(".PageService/ListStories")]
    assert method.kind is Kind.LIST
    assert method.per_caller


def test_a_cached_answer_with_a_page_token_is_for_its_caller_alone() -> None:
    """Whatever the RPC is called: a token holds for the caller who was given it."""
    contract = planted(PAGES, lambda file: setattr(method_of(file, "ListPages"), "name", "FindPages"))
    (method,) = [policy for path, policy in read_policies(contract.services).items() if path.endswith("/FindPages")]
    assert method.kind is Kind.CUSTOM
    assert method.cache_seconds
    assert method.per_caller


def test_a_resource_without_a_plural_is_refused() -> None:
    def forget(file: FileDescriptorProto) -> None:
        message_of(file, "Page").options.Extensions[resource_pb2.resource].ClearField("plural")

    with pytest.raises(PolicyError) as refused:
        read_policies(planted(PAGES, forget).services)
    expected = "plinth.dev/Page says no plural in its google.api.resource, so that no list of it is known"
    assert any(expected in fault for fault in refused.value.faults)


def test_the_real_contract_has_no_such_fault() -> None:
    assert read_policies(real().services)
