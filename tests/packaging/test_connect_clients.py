"""Connect's own clients against a running Plinth, over stubs that their generator makes of `make protos`."""

from typing import Any

import pytest

from tests.clients import Tenant, new_tenant
from tests.node import packages
from tests.packaging.stubs import generate_stubs
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2 * packages.INSTALLING), packages.needs_npm]
TRANSPORTS = (
    "connect-web",
    "connect-web, binary",
    "connect-node, HTTP/1.1",
    "connect-node, HTTP/2",
    "connect-node, JSON",
)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture(scope="module")
def seen(stack: Stack, tenant: Tenant, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the clients saw, by the name of their transport."""
    folder = tmp_path_factory.mktemp("connect")
    generate_stubs(folder)
    (folder / "package.json").write_text('{"type": "module"}')
    found: dict[str, Any] = packages.run("connect.mjs", folder, stack.url, tenant.access_token, tenant.id)
    assert set(found) == set(TRANSPORTS)
    return found


@pytest.fixture(params=TRANSPORTS)
def client(request: pytest.FixtureRequest, seen: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = seen[request.param]
    return found


def test_unary_calls_do_what_they_do_over_grpc(client: dict[str, Any]) -> None:
    # SERVING, as protobuf-es has enums.
    assert client["status"] == 1
    assert client["title"] == "Zürich"
    assert client["listed"]
    # The mask names the title only, so the empty description changes nothing.
    assert client["updated"] == {"title": "Basel", "description": "🏔"}


def test_a_key_makes_a_call_happen_once(client: dict[str, Any]) -> None:
    assert client["sameAgain"]
    assert client["replayed"] == "true"


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        ("stranger", "Unauthenticated", "CREDENTIALS_MISSING"),
        ("missing", "NotFound", "RESOURCE_NOT_FOUND"),
        ("wrong", "InvalidArgument", "RULE_VIOLATED"),
        ("login", "Unauthenticated", "CREDENTIALS_INVALID"),
        ("stream", "Unimplemented", None),
    ],
)
def test_errors_have_their_code_and_details(client: dict[str, Any], call: str, code: str, reason: str | None) -> None:
    error = client[call]
    assert (error["code"], error.get("reason")) == (code, reason)
    if reason:
        assert error["message"]
        assert error["requestId"] == error["sentId"]


def test_a_deadline_ends_a_call(client: dict[str, Any]) -> None:
    assert client["late"]["code"] == "DeadlineExceeded"
