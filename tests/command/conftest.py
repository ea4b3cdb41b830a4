"""A person with an empty folder, and a tenant of their own."""

from pathlib import Path

import pytest

from tests.clients import Tenant, new_tenant
from tests.command.running import Person
from tests.stack import Stack


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)
