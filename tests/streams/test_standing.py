"""What running streams were allowed by, compared with what is stored: who has lost it is looked at again."""

from collections.abc import Iterator
from math import inf

import pytest

from server.access import Standing, StoredAccess
from server.data.transactions import Database
from server.domains.identity.api_keys import ApiKeys
from server.kernel.call import Call, Principal
from server.kernel.guard.access import Permissions
from tests.clients import Tenant, database, new_tenant
from tests.domains.identity.test_api_keys import make
from tests.domains.identity.test_sign_in_entries import session_of
from tests.kernel.calls import HEALTH, WATCH, call
from tests.kernel.database import connections
from tests.stack import Stack

PERMISSIONS = Permissions({"owner": ("*",)}, (WATCH.permission,))
LOSSES = {
    "nothing": ("SELECT %(user)s", ()),
    "session": ("UPDATE sessions SET end_time = now() WHERE id = %(session)s", ("user",)),
    "membership": ("DELETE FROM memberships WHERE tenant_id = %(tenant)s AND user_id = %(user)s", ("user",)),
    "role": ("UPDATE memberships SET roles = '{editor}' WHERE tenant_id = %(tenant)s", ("user",)),
    "revocation": ("UPDATE api_keys SET revoke_time = now() WHERE id = %(key)s", ("key",)),
    "expiry": ("UPDATE api_keys SET expire_time = now() WHERE id = %(key)s", ("key",)),
    "permission": ("UPDATE api_keys SET permissions = '{tenancy.roles.read}' WHERE id = %(key)s", ("key",)),
    "tenant": ("UPDATE tenants SET status = 2 WHERE id = %(tenant)s", ("user", "key")),
    "deletion": ("UPDATE tenants SET delete_time = now() WHERE id = %(tenant)s", ("user", "key")),
    "anything": ("UPDATE tenants SET access_version = access_version + 1 WHERE id = %(tenant)s", ("user", "key")),
}


@pytest.fixture(scope="module")
def runtime(stack: Stack) -> Iterator[Database]:
    """The stack's database as its workers see it."""
    with connections(stack.settings.runtime_dsn) as pool:
        yield Database(pool)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    """A tenant in which nothing changes."""
    return new_tenant(stack)


class Streams:
    """Streams of a tenant: one of its owner, and one of an API key."""

    def __init__(self, tenant: Tenant, runtime: Database) -> None:
        self._tenant = tenant
        self._key = make(tenant, WATCH.permission)
        session_id = session_of(tenant.session)
        owner = Principal(tenant.owner.id, session_id, tenant.id, (), is_platform=False, expires_at=inf)
        key = ApiKeys(runtime, tenant.stack.settings.secrets).verify(self._key["key"])
        self.calls = {"user": self._call(owner, runtime), "key": self._call(key, runtime)}
        self.facts = {
            "tenant": tenant.id, "user": tenant.owner.id, "session": session_id, "key": self._key["id"]
        }  # fmt: skip

    def _call(self, principal: Principal, runtime: Database) -> Call:
        one = call(WATCH)
        one.principal, one.tenant_id = principal, self._tenant.id
        one.access = StoredAccess(runtime, PERMISSIONS).load(principal, self._tenant.id)
        assert one.access is not None
        return one


@pytest.mark.parametrize("loss", LOSSES)
def test_streams_fall_with_what_they_were_allowed_by_and_no_others(
    tenant: Tenant, runtime: Database, loss: str
) -> None:
    lost, kept = Streams(new_tenant(tenant.stack), runtime), Streams(tenant, runtime)
    statement, fallen = LOSSES[loss]
    with database(tenant.stack) as connection:
        connection.execute(statement, lost.facts)
    calls = [*kept.calls.values(), *lost.calls.values()]
    assert Standing(runtime).fallen(calls) == [lost.calls[name] for name in fallen]


def test_a_stream_that_needed_no_access_is_not_asked_about(runtime: Database) -> None:
    assert Standing(runtime).fallen([call(HEALTH)]) == []


def test_while_the_database_is_away_no_stream_falls(
    tenant: Tenant, runtime: Database, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    streams = Streams(tenant, runtime)
    with connections(stack.settings.runtime_dsn) as pool:
        gone = Database(pool)
    assert Standing(gone).fallen(list(streams.calls.values())) == []
    told = [record.getMessage() for record in caplog.records if record.name == "plinth.access"]
    assert told == ["streams cannot be reviewed: DatabaseUnavailable"]
