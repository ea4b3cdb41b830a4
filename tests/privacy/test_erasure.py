"""Erasing a person leaves nothing of theirs in any table, and everything of everybody else's."""

import json

import pytest

from tests.clients import Tenant, another_tenant, log_in, new_tenant, reason, rows
from tests.privacy.scene import at_home, ended, erase_member, erase_self, holding, join, marked, somebody
from tests.stack import Stack


@pytest.fixture(scope="module")
def first_tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def tenant(first_tenant: Tenant) -> Tenant:
    return another_tenant(first_tenant)


# What the marks are in before: otherwise the tests below would find nothing, whatever an erasure left.
EVERYWHERE = {"users", "sessions", "trips", "expenses", "events", "audit_entries", "webhook_attempts"}


def test_who_erases_themselves_is_in_no_table_any_more(tenant: Tenant) -> None:
    person, other = marked(tenant), marked(tenant)
    before = holding(tenant.stack, other.mark)
    assert holding(tenant.stack, person.mark) == before == EVERYWHERE
    operation = ended(tenant, erase_self(person))
    assert operation["state"] == "STATE_DONE", operation
    assert holding(tenant.stack, person.mark) == set()
    assert holding(tenant.stack, other.mark) == before
