"""One owner per module, since hashing passwords takes time; a tenant per test, since that is cheap."""

import pytest

from tests.clients import Account, Tenant, another_tenant, new_tenant, sign_up
from tests.stack import Stack


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    """A tenant whose owner makes the others. Tests change nothing in it."""
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    """A tenant with nothing in it. The session is shared: who ends it makes a tenant of their own."""
    return another_tenant(first_tenant)


@pytest.fixture(scope="module")
def account(stack: Stack) -> Account:
    """Somebody without a tenant. Tests may log in as often as they like."""
    return sign_up(stack)
