"""A stack with the domain of points, which the tests of this folder share."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.clients import Tenant, database, new_tenant
from tests.observability import composed
from tests.observability.points import TABLE
from tests.stack import UNLIMITED, Stack

ROOT = Path(__file__).resolve().parents[2]
MOST = 50
"""Calls of telemetry that a tenant has in a day."""


class PointStack(Stack):
    """A stack with the domain of points."""

    COMMAND: ClassVar[tuple[str, ...]] = (sys.executable, "-m", composed.__name__, "up")


@pytest.fixture(scope="package")
def recording() -> Iterator[Stack]:
    """One with few calls of telemetry, and calls enough of any other class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        limits = UNLIMITED | {"telemetry": f"{MOST}/86400"}
        stack = PointStack(api_workers=1, log_level="ERROR", rate_limits=limits)
        try:
            stack.start()
            with database(stack) as connection:
                for statement in TABLE:
                    connection.execute(statement.encode())
            yield stack
        finally:
            stack.remove()


@pytest.fixture
def tenant(recording: Stack) -> Tenant:
    """A tenant with nothing in it."""
    return new_tenant(recording)
