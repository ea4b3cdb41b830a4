"""Every test of this folder gets a resource of a tenant of its own, through both doors unless it asks for one."""

from collections.abc import Callable

import pytest

from tests.clients import Tenant, another_tenant, new_tenant
from tests.stack import Stack
from tests.standard.doors import Door, GrpcDoor, RestDoor
from tests.standard.resources import RESOURCES, Described

DOORS: dict[str, Callable[[Tenant, Described], Door]] = {"rest": RestDoor, "grpc": GrpcDoor}


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    """Somebody with a session, so that tenants are cheap."""
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    """A tenant with nothing in it."""
    return another_tenant(first_tenant)


@pytest.fixture(params=RESOURCES, ids=lambda kind: kind.plural)
def kind(request: pytest.FixtureRequest) -> Described:
    """Each resource in turn."""
    described: Described = request.param
    return described


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, tenant: Tenant, kind: Described) -> Door:
    """REST, then gRPC."""
    return DOORS[request.param](tenant, kind)


@pytest.fixture
def rest(tenant: Tenant, kind: Described) -> RestDoor:
    """REST only, for what is of HTTP."""
    return RestDoor(tenant, kind)


@pytest.fixture
def rpc(tenant: Tenant, kind: Described) -> GrpcDoor:
    """gRPC only, for what is of messages."""
    return GrpcDoor(tenant, kind)
