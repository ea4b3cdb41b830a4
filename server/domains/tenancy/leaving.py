"""Leaving: the end of a membership, which never leaves a tenant without an owner."""

from sqlalchemy import Text, any_, bindparam, delete, exists, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.data.transactions import WriteTransaction
from server.domains.tenancy.tables import memberships, tenants
from server.domains.tenancy.tenants import OWNER
from server.kernel.guard import access_tag
from server.kernel.privacy import Erasure
from server.kernel.problems import StateForbids

_id = UUID(as_uuid=False)
_within = bindparam("within", type_=_id)
# In a fixed order, so that two calls that lock owners wait for each other instead of deadlocking.
OWNERS = Statement(
    select(memberships.c.user_id)
    .where(memberships.c.tenant_id == _within, bindparam("owner", type_=Text()) == any_(memberships.c.roles))
    .order_by(memberships.c.user_id)
    .with_for_update()
)
IS_ALIVE = Statement(
    select(exists(literal_column("1")).where(tenants.c.id == _within, tenants.c.delete_time.is_(None)).label("alive"))
)
LEAVE = Statement(
    delete(memberships).where(
        memberships.c.tenant_id == _within, memberships.c.user_id == bindparam("member", type_=_id)
    )
)
ACCESS_CHANGED = Statement(
    update(tenants).where(tenants.c.id == _within).values(access_version=tenants.c.access_version + text("1"))
)


def keep_an_owner(transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
    """Raise StateForbids for the last owner of a tenant that is not deleted.

    Owners are locked, so that two who leave at once see each other.
    """
    if not transaction.run(IS_ALIVE, within=tenant_id).one()["alive"]:
        return
    owners = [row["user_id"] for row in transaction.run(OWNERS, within=tenant_id, owner=OWNER).all()]
    if owners == [user_id.lower()]:
        raise StateForbids(
            "A tenant keeps an owner: give the role to somebody else first.",
            metadata={"resource_type": "plinth.dev/Tenant", "resource": tenant_id, "state": "LAST_OWNER"},
        )


def leave(erasure: Erasure) -> None:
    """End the membership of a person who is erased. Raises StateForbids for the last owner."""
    with erasure.batch() as transaction:
        keep_an_owner(transaction, erasure.tenant_id, erasure.person.id)
        ended = transaction.run(LEAVE, within=erasure.tenant_id, member=erasure.person.id).count
        transaction.queue(ACCESS_CHANGED, within=erasure.tenant_id)
        erasure.stale_tags.append(access_tag(erasure.tenant_id))
        erasure.note(ended, ended)
