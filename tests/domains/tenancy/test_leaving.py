"""Locks of memberships: those of owners are taken in one order, whoever is about to leave."""

import psycopg
import pytest
from sqlalchemy import text

from server.data.statements import Statement
from server.data.transactions import Database, Scope
from server.domains.tenancy.memberships import Memberships
from tests.clients import new_member, new_tenant
from tests.kernel.database import connections
from tests.stack import Stack

SHORT = Statement(text("SET LOCAL lock_timeout = '200ms'"))


def lock_soon(database: Database, scope: Scope, tenant_id: str, user_id: str) -> None:
    with database.write(scope) as transaction:
        transaction.run(SHORT)
        Memberships().lock_roles(transaction, tenant_id, user_id)


def test_two_who_remove_each_other_wait_instead_of_deadlocking(stack: Stack) -> None:
    tenant = new_tenant(stack)
    owner, other = tenant.owner.id, new_member(tenant, "owner")[0].id
    scope, memberships = Scope(tenant_id=tenant.id, user_id=owner), Memberships()
    with connections(stack.settings.runtime_dsn, size=2) as pool:
        database = Database(pool)
        with database.write(scope) as first:
            assert memberships.lock_roles(first, tenant.id, other) == ["owner"]
            # The second one gets no lock that the first one still needs.
            with pytest.raises(psycopg.errors.LockNotAvailable):
                lock_soon(database, scope, tenant.id, owner)
            memberships.remove(first, tenant.id, other)
