"""Every test of this folder gets a resource of a tenant of its own, through both doors unless it asks for one.

`@needs("key", "undelete")` says which capabilities the resource must have (`Described.capabilities`). The first of the
chosen ones is tried through both doors, the others through one of them. With `--domain`, they are those of that domain.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.clients import Tenant, another_tenant, new_tenant
from tests.stack import Stack
from tests.standard.doors import Door, GrpcDoor, RestDoor
from tests.standard.resources import MOST, Described, having

DOORS: dict[str, Callable[[Tenant, Described], Door]] = {"rest": RestDoor, "grpc": GrpcDoor}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "needs(*capabilities, most): the resources that a test of tests/standard is for")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose resources by what a test needs."""
    chosen = any("kind" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if chosen or "kind" not in metafunc.fixturenames:
        return
    marks = [*metafunc.definition.iter_markers("needs")]
    needed = {name for mark in marks for name in mark.args}
    domain = metafunc.config.getoption("--domain")
    most = min([MOST, *(mark.kwargs.get("most", MOST) for mark in marks)])
    kinds = having(*sorted(needed), most=most, domain=domain)
    assert kinds or domain, f"no resource has {sorted(needed)}"
    if "door" in metafunc.fixturenames:
        pairs = list(_through_doors(kinds))
        ids = [f"{kind.plural}-{name}" for kind, name in pairs]
        metafunc.parametrize(("kind", "through"), pairs, ids=ids, scope="module")
    else:
        metafunc.parametrize("kind", kinds, ids=[kind.plural for kind in kinds], scope="module")


def _through_doors(kinds: list[Described]) -> Iterator[tuple[Described, str]]:
    for place, kind in enumerate(kinds):
        for number, name in enumerate(DOORS):
            if place == 0 or (place + number) % len(DOORS) == 0:
                yield kind, name


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    """Somebody with a session, so that tenants are cheap."""
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    """A tenant with nothing in it."""
    return another_tenant(first_tenant)


@pytest.fixture
def door(through: str, tenant: Tenant, kind: Described) -> Door:
    """REST, or gRPC."""
    return DOORS[through](tenant, kind)


@pytest.fixture
def rest(tenant: Tenant, kind: Described) -> RestDoor:
    """REST only, for what is of HTTP."""
    return RestDoor(tenant, kind)


@pytest.fixture
def rpc(tenant: Tenant, kind: Described) -> GrpcDoor:
    """gRPC only, for what is of messages."""
    return GrpcDoor(tenant, kind)
