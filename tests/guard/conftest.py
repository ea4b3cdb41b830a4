"""One owner per module, since hashing passwords takes time; a tenant per test, since that is cheap."""

from collections.abc import Iterator

import pytest

from tests.clients import Tenant, another_tenant, new_tenant
from tests.stack import Stack

PATIENT = 50


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    """A tenant whose owner makes the others. Tests change nothing in it."""
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    """A tenant with nothing in it. The session is shared: who ends it makes a tenant of their own."""
    return another_tenant(first_tenant)


@pytest.fixture(scope="package")
def guarded() -> Iterator[Stack]:
    """A stack of this folder's own, whose threads its tests fill and whose tables they lock. It waits long."""
    stack = Stack(api_workers=2, log_level="ERROR", gateway_timeout=PATIENT, statement_timeout=PATIENT)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="package")
def guarded_owner(guarded: Stack) -> Tenant:
    """Somebody with a tenant there."""
    return new_tenant(guarded)


@pytest.fixture
def guarded_tenant(guarded_owner: Tenant) -> Tenant:
    """A tenant there with nothing in it."""
    return another_tenant(guarded_owner)
