from collections.abc import Iterator

import pytest

from tests.clients import Tenant, new_tenant
from tests.faults.outages import well
from tests.stack import Stack


@pytest.fixture(scope="module")
def hurt() -> Iterator[Stack]:
    """A stack of the module's own, whose processes its tests kill. It gives up soon on a database that is away."""
    stack = Stack(api_workers=2, log_level="ERROR", database_connect_timeout=0.5)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def owner(hurt: Stack) -> Tenant:
    """Somebody with a tenant there."""
    return new_tenant(hurt)


@pytest.fixture
def tenant(hurt: Stack, owner: Tenant) -> Tenant:
    """A tenant of this test alone, once the stack has got over the test before."""
    well(hurt)
    return new_tenant(hurt, owner.owner)
