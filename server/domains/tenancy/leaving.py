"""Leaving: the end of a membership, which never leaves a tenant without an owner."""

from collections.abc import Sequence

from sqlalchemy import Text, any_, bindparam, delete, exists, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.tenancy.tables import memberships, tenants
from server.domains.tenancy.tenants import OWNER
from server.kernel.guard import access_tag
from server.kernel.privacy import Erasure
from server.kernel.problems import StateForbids

_id = UUID(as_uuid=False)
_within = bindparam("within", type_=_id)
_own = memberships.alias("own")
_owner = bindparam("owner", type_=Text())
# In a fixed order, so that two calls that lock owners wait for each other instead of deadlocking.
OWNERS = Statement(
    select(memberships.c.tenant_id, memberships.c.user_id)
    .join(tenants, tenants.c.id == memberships.c.tenant_id)
    .where(memberships.c.tenant_id == any_(bindparam("tenants", type_=ARRAY(_id))))
    .where(_owner == any_(memberships.c.roles), tenants.c.delete_time.is_(None))
    .where(
        exists(literal_column("1")).where(
            _own.c.tenant_id == memberships.c.tenant_id,
            _own.c.user_id == bindparam("member", type_=_id),
            _owner == any_(_own.c.roles),
        )
    )
    .order_by(memberships.c.tenant_id, memberships.c.user_id)
    .with_for_update(of=memberships)
)
"""The owners of those of these `tenants`, not deleted, of which the `member` is an `owner`."""
LEAVE = Statement(
    delete(memberships).where(
        memberships.c.tenant_id == _within, memberships.c.user_id == bindparam("member", type_=_id)
    )
)
ACCESS_CHANGED = Statement(
    update(tenants).where(tenants.c.id == _within).values(access_version=tenants.c.access_version + text("1"))
)


def lock_owners(transaction: WriteTransaction, tenant_ids: Sequence[str], user_id: str) -> dict[str, list[str]]:
    """The owners of those of these tenants of which a user is one, locked.

    A call does this before it locks the membership of an owner. Otherwise two owners who remove each other deadlock:
    each call holds the other owner's membership, and waits for that of its own.
    """
    owners: dict[str, list[str]] = {}
    for row in transaction.run(OWNERS, tenants=list(tenant_ids), member=user_id, owner=OWNER).all():
        owners.setdefault(row["tenant_id"], []).append(row["user_id"])
    return owners


def keep_owners(transaction: WriteTransaction, tenant_ids: Sequence[str], user_id: str) -> None:
    """Raise StateForbids for the last owner of one of these tenants, unless it is deleted.

    Owners are locked, so that two who leave at once see each other.
    """
    owners = lock_owners(transaction, tenant_ids, user_id)
    alone = [tenant_id for tenant_id, found in owners.items() if found == [user_id.lower()]]
    if alone:
        raise StateForbids(
            "A tenant keeps an owner: give the role to somebody else first.",
            metadata={"resource_type": "plinth.dev/Tenant", "resource": alone[0], "state": "LAST_OWNER"},
        )


def leave(erasure: Erasure) -> None:
    """End the membership of a person who is erased. Raises StateForbids for the last owner."""
    with erasure.batch() as transaction:
        keep_owners(transaction, [erasure.tenant_id], erasure.person.id)
        ended = transaction.run(LEAVE, within=erasure.tenant_id, member=erasure.person.id).count
        transaction.queue(ACCESS_CHANGED, within=erasure.tenant_id)
        erasure.stale_tags.append(access_tag(erasure.tenant_id))
        erasure.note(ended, ended)
