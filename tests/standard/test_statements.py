"""A List is one SQL statement whatever its size, and so is a BatchGet.

Asked of the composed RPC in this process: the statements of the stack's workers cannot be told apart from outside.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from google.protobuf.message_factory import GetMessageClass

from server import app, guard
from server.data.connections import PipelineConnection
from server.data.statements import Statement
from server.kernel.caching.generations import Generations
from server.kernel.chain import Route
from server.kernel.policy import Kind
from tests.clients import Tenant
from tests.kernel.calls import Context
from tests.stack import Stack
from tests.standard.doors import GrpcDoor, snake
from tests.standard.resources import Described

needs = pytest.mark.needs


@pytest.fixture(scope="module")
def application(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[app.Application]:
    """The api role on the stack's database, without its server."""
    # Of its own: in those of the stack a write of another test may share a slot with what is kept here.
    own = partial(Generations, tmp_path_factory.mktemp("own") / "generations", None)
    with patch.object(guard, "Generations", lambda *_: own()):
        application = app.build(stack.settings, "test", streams=False)
    application.guard.generations.open()
    application.databases.start()
    yield application
    application.databases.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every statement sent from here on."""
    statements: list[bytes] = []
    send = PipelineConnection.send

    def remembering(self: PipelineConnection, statement: Statement, parameters: dict[str, Any]) -> None:
        statements.append(statement.sql)
        send(self, statement, parameters)

    monkeypatch.setattr(PipelineConnection, "send", remembering)
    return statements


def route_of(application: app.Application, kind: Described, request: Any) -> Route:
    """The route of the RPC that takes a request."""
    service = kind.service.descriptor.full_name
    return application.routes[f"/{service}/{type(request).__name__.removesuffix('Request')}"]


def ask(application: app.Application, kind: Described, tenant: Tenant, request: Any) -> Any:
    """The answer of the RPC."""
    route = route_of(application, kind, request)
    handler: Any = route.handler
    answer = handler.unary_unary(request.SerializeToString(), Context(authorization=f"Bearer {tenant.access_token}"))
    # What was computed for the cache is serialised already.
    return GetMessageClass(route.method.descriptor.output_type).FromString(handler.response_serializer(answer))


def get_known(application: app.Application, tenant: Tenant, kind: Described) -> None:
    """The first call of a session loads what it may do and the rates of its tenant; the next ones do not."""
    ask(application, kind, tenant, kind.request(Kind.LIST, tenant_id=tenant.id, page_size=7))


@needs("soft_deletes", "!parent_in_path")
@pytest.mark.parametrize("options", [{}, {"include_total": True}, {"show_deleted": True, "filter": "id:*"}], ids=str)
def test_a_list_takes_one_statement_whatever_its_size(
    application: app.Application, tenant: Tenant, kind: Described, sent: list[bytes], options: dict[str, Any]
) -> None:
    door = GrpcDoor(tenant, kind)
    for _ in range(12):
        door.create()
    get_known(application, tenant, kind)
    counts = []
    for size in (1, 12):
        sent.clear()
        request = kind.request(Kind.LIST, tenant_id=tenant.id, page_size=size, **options)
        assert len(getattr(ask(application, kind, tenant, request), snake(kind.plural))) == size
        counts.append([sql for sql in sent if f"FROM {kind.table}".encode() in sql.replace(b"\n", b"")])
        # The other one binds the transaction to its tenant.
        assert len(sent) == 2
    assert counts[0] == counts[1]
    assert len(counts[0]) == 1


@needs("batch_get")
def test_a_batch_get_takes_one_statement_whatever_its_size(
    application: app.Application, tenant: Tenant, kind: Described, sent: list[bytes]
) -> None:
    door = GrpcDoor(tenant, kind)
    ids = [door.create()["id"] for _ in range(12)]
    get_known(application, tenant, kind)
    for size in (1, 12):
        sent.clear()
        request = kind.request(Kind.BATCH_GET, tenant_id=tenant.id, ids=ids[:size])
        assert len(getattr(ask(application, kind, tenant, request), snake(kind.plural))) == size
        assert len(sent) == 2


@needs("batch_get")
def test_what_is_cached_takes_no_statement(
    application: app.Application, tenant: Tenant, kind: Described, sent: list[bytes]
) -> None:
    page_id = GrpcDoor(tenant, kind).create()["id"]
    named = {f"{kind.singular}_id": page_id}
    for request in (
        kind.request(Kind.LIST, tenant_id=tenant.id),
        kind.request(Kind.GET, tenant_id=tenant.id, **named),
        kind.request(Kind.BATCH_GET, tenant_id=tenant.id, ids=[page_id]),
    ):
        first = ask(application, kind, tenant, request)
        sent.clear()
        assert ask(application, kind, tenant, request) == first
        assert (not sent) is bool(route_of(application, kind, request).method.cache_seconds)
