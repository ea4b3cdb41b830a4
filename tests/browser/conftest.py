"""A browser, and a stack whose answers its pages may read."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import chromium
from tests.stack import Stack


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the front end is."""
    with chromium.site() as origin:
        yield origin


@pytest.fixture(scope="module")
def open_stack(origin: str) -> Iterator[Stack]:
    """A stack whose answers the front end may read. In development every page of this machine might."""
    stack = Stack(environment="staging", cors_origins=origin, log_level="ERROR")
    try:
        yield stack.start()
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium.chromium() as driver:
        yield driver
