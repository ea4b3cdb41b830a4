from collections.abc import Iterator

import pytest

from tests.clients import Tenant, new_tenant
from tests.stack import Stack, free_port


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Tenant:
    """Somebody with a tenant on the shared stack."""
    return new_tenant(stack)


@pytest.fixture
def tenant(stack: Stack, owner: Tenant) -> Tenant:
    """A tenant of this test alone. Its owner is the module's: hashing a password takes long."""
    return new_tenant(stack, owner.owner)


@pytest.fixture(scope="module")
def brisk() -> Iterator[Stack]:
    """A stack of the module's own, which looks at its subscribers often and lets little wait for them."""
    stack = Stack(api_workers=1, stream_keepalive=1, stream_queue=10, log_level="ERROR", metrics_port=free_port())
    try:
        yield stack.start()
    finally:
        stack.remove()
