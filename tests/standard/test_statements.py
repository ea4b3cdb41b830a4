"""A List is one SQL statement whatever its size, and so is a BatchGet.

Asked of the composed RPC in this process: the statements of the stack's workers cannot be told apart from outside.
"""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from server import app
from server.data.connections import PipelineConnection
from server.data.statements import Statement
from tests.clients import Tenant
from tests.stack import Stack
from tests.standard.doors import GrpcDoor
from tests.standard.resources import Described


class Context:
    """What a handler needs of gRPC."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Nobody reads it."""

    def abort(self, code: grpc.StatusCode, message: str) -> None:
        raise AssertionError(f"{code}: {message}")


@pytest.fixture(scope="module")
def application(stack: Stack) -> Iterator[app.Application]:
    """The api role on the stack's database, without its server."""
    application = app.build(stack.settings, "test", streams=False)
    application.databases[0].connections.open()
    yield application
    application.databases[0].connections.close()


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


def ask(application: app.Application, kind: Described, tenant: Tenant, request: Any) -> Any:
    """The answer of the RPC."""
    service = kind.module.DESCRIPTOR.services_by_name[f"{kind.name}Service"].full_name
    route = application.routes[f"/{service}/{type(request).__name__.removesuffix('Request')}"]
    handler: Any = route.handler
    return handler.unary_unary(request, Context(tenant.access_token))


@pytest.mark.parametrize("options", [{}, {"include_total": True}, {"show_deleted": True, "filter": "id:*"}], ids=str)
def test_a_list_takes_one_statement_whatever_its_size(
    application: app.Application, tenant: Tenant, kind: Described, sent: list[bytes], options: dict[str, Any]
) -> None:
    door = GrpcDoor(tenant, kind)
    for _ in range(12):
        door.create()
    counts = []
    for size in (1, 12):
        sent.clear()
        request = kind.request("List", plural=True, tenant_id=tenant.id, page_size=size, **options)
        assert len(getattr(ask(application, kind, tenant, request), kind.plural)) == size
        counts.append([sql for sql in sent if f"FROM {kind.plural}".encode() in sql.replace(b"\n", b"")])
        # The other one binds the transaction to its tenant.
        assert len(sent) == 2
    assert counts[0] == counts[1]
    assert len(counts[0]) == 1


def test_a_batch_get_takes_one_statement_whatever_its_size(
    application: app.Application, tenant: Tenant, kind: Described, sent: list[bytes]
) -> None:
    door = GrpcDoor(tenant, kind)
    ids = [door.create()["id"] for _ in range(12)]
    for size in (1, 12):
        sent.clear()
        request = kind.request("BatchGet", plural=True, tenant_id=tenant.id, ids=ids[:size])
        assert len(getattr(ask(application, kind, tenant, request), kind.plural)) == size
        assert len(sent) == 2
