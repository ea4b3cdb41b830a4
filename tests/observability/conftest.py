"""A stack with the domain of points, which the tests of this folder share."""

from collections.abc import Iterator

import pytest

from tests.clients import Tenant, new_tenant
from tests.observability.stack import PointStack
from tests.stack import UNLIMITED, Stack

MOST = 50
"""Calls of telemetry that a tenant has in a day."""


@pytest.fixture(scope="package")
def recording() -> Iterator[Stack]:
    """One with few calls of telemetry, and calls enough of any other class."""
    limits = UNLIMITED | {"telemetry": f"{MOST}/86400"}
    stack = PointStack(api_workers=1, log_level="ERROR", rate_limits=limits)
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture
def tenant(recording: Stack) -> Tenant:
    """A tenant with nothing in it."""
    return new_tenant(recording)
