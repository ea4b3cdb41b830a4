from collections.abc import Iterator

import pytest
from plinth.client import Plinth, Retries

from tests.clients import Tenant, new_tenant
from tests.clients_python.double import Double
from tests.stack import Stack

# Of the double, which asks for no time.
AT_ONCE = Retries(first_pause=0.001, longest_pause=0.01)


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Tenant:
    """Somebody with a tenant on the shared stack."""
    return new_tenant(stack)


@pytest.fixture
def tenant(stack: Stack, owner: Tenant) -> Tenant:
    """A tenant of this test alone. Its owner is the module's: hashing a password takes long."""
    return new_tenant(stack, owner.owner)


@pytest.fixture
def client(tenant: Tenant) -> Iterator[Plinth]:
    """A client of the tenant's owner."""
    with Plinth(tenant.stack.url, token=tenant.access_token, refresh_token=tenant.refresh_token) as made:
        yield made


@pytest.fixture
def double() -> Iterator[Double]:
    """A server that answers what a test says."""
    with Double() as made:
        yield made


@pytest.fixture
def impatient(double: Double) -> Iterator[Plinth]:
    """A client of the double."""
    with Plinth(double.url, token="first", refresh_token="refresh-1", retries=AT_ONCE) as made:
        yield made
