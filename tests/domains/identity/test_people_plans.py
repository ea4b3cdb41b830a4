"""No list of people, and no search for one, reads a large tenant from end to end: plans under row-level security."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from server.data.statements import Statement
from server.domains.identity.people import (
    MEMBER_AT,
    MEMBER_WITH_ID,
    PLATFORM_USERS,
    TENANT_USERS,
    TENANT_USERS_BY_EMAIL,
)
from server.kernel.queries import PageTokens, parse_filter
from server.kernel.queries.pages import parse_order
from server.kernel.resources import Hooks, Lister, ReadRows, Resource
from server.kernel.resources.lists import _Shape
from server.kernel.resources.reach import EVERYTHING
from tests.plans import MODES, plan_of, read_by, scans
from tests.search.database import Scratch, add_tenants, migrated, tenant
from tests.stack import Stack

TENANTS, EACH, PAGE = 4, 3_000, 26
# Two indexes are merged for a page, and each of its rows has an account.
MOST = 2 * PAGE
SOMEBODY = "01890000-0000-7000-9000-000000000100"
FILL = (
    """INSERT INTO users (id, email, password_hash, create_time)
       SELECT ('01890000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, 'a' || n || '@example.com', '',
              now() - n * interval '1 second' FROM generate_series(1, %(each)s) n""",
    """INSERT INTO memberships (tenant_id, user_id, roles, create_time)
       SELECT t.id, u.id, '{}', u.create_time FROM tenants t, users u""",
    """INSERT INTO invitations (tenant_id, id, email, email_folded, roles, expire_time, create_time)
       SELECT t.id, gen_random_uuid(), 'b' || n || '@example.com', '', '{}', now(), now() - n * interval '1 second'
       FROM tenants t, generate_series(1, %(each)s) n""",
)


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[Scratch]:
    """Tenants of which everybody is a member, and which have invited as many."""
    with migrated(stack) as scratch:
        add_tenants(scratch.owner, TENANTS)
        with psycopg.connect(scratch.owner, autocommit=True) as connection:
            for statement in FILL:
                connection.execute(statement.encode(), {"each": EACH})
            connection.execute(b"VACUUM ANALYZE")
        yield scratch


def page(resource: Resource[Any], text: str = "", *, after: bool = False) -> tuple[Statement, dict[str, Any]]:
    """The statement of a list with its parameters."""
    rows = ReadRows(Hooks(), resource)
    lister = Lister(rows, PageTokens(b"k" * 32))
    bound = lister._filters.bind(parse_filter(text))  # noqa: SLF001 - what it sends is looked at
    order = parse_order("", resource.sortable, resource.default_order)
    shape = _Shape(EVERYTHING, order, after, total=False, deleted=False, words=0)
    cursor = {"after_0": "2100-01-01T00:00:00+00:00", "after_1": SOMEBODY} if after else {}
    scope = {"key_tenant_id": tenant(1)} if "tenant_id" in resource.table.c else {}
    statement = lister._statement(bound, shape)  # noqa: SLF001 - what it sends is looked at
    return statement, {**bound.parameters, **scope, **cursor, "limit": PAGE, "skip": 0}


AT = {"tenant": tenant(1)}
STATEMENTS = {
    "a page": page(TENANT_USERS),
    "a further page": page(TENANT_USERS, after=True),
    "by id": page(TENANT_USERS, f'id = "{SOMEBODY}"'),
    "by address": page(TENANT_USERS_BY_EMAIL, 'email = "a100@example.com"'),
    "an invited address": page(TENANT_USERS_BY_EMAIL, 'email = "b100@example.com"'),
    "accounts": page(PLATFORM_USERS),
    "an account by address": page(PLATFORM_USERS, 'email = "a100@example.com"'),
    "a member at an address": (MEMBER_AT, {**AT, "address": "A100@example.com"}),
    "a member with an id": (MEMBER_WITH_ID, {**AT, "user_id": SOMEBODY}),
}


# A statement that is not kept is planned for its parameters each time.
CASES = [
    (name, mode) for name, (statement, _) in STATEMENTS.items() for mode in (MODES if statement.is_kept else MODES[:1])
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_no_tenant_is_read_from_end_to_end(filled: Scratch, name: str, mode: str) -> None:
    statement, parameters = STATEMENTS[name]
    platform = ("plinth.platform = 'on'",) if name.startswith(("accounts", "an account")) else ()
    plan = plan_of(filled, 1, statement, parameters, mode, *platform)
    assert all(read_by(node) <= MOST for node in scans(plan)), json.dumps(plan, indent=1)
    assert plan["Actual Rows"] >= 1
