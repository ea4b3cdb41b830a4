"""Memberships, offered to other domains through a port."""

from collections.abc import Sequence

from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import ColumnElement, Integer, Text, and_, any_, bindparam, func, literal_column, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert

from server.data.statements import Row, Statement
from server.data.transactions import Scope, Transaction, WriteTransaction
from server.domains.tenancy.leaving import ACCESS_CHANGED, LEAVE, keep_owners, lock_owners
from server.domains.tenancy.member_roles import CHANGED, HELD, SET_ROLES
from server.domains.tenancy.tables import memberships, tenants
from server.domains.tenancy.tables import roles as roles_table
from server.domains.tenancy.tenants import ADD_MEMBERSHIP, OWNER

MEMBER = "member"
LARGEST_LIST = 100
NOBODY = "00000000-0000-0000-0000-000000000000"

_id = UUID(as_uuid=False)


def _alive() -> ColumnElement[bool]:
    return and_(tenants.c.delete_time.is_(None), tenants.c.status == int(Tenant.STATUS_ACTIVE))


_joined = memberships.join(tenants, tenants.c.id == memberships.c.tenant_id)
_of_member = (
    select(memberships.c.tenant_id, memberships.c.roles, tenants.c.subdomain, tenants.c.name)
    .select_from(_joined)
    .where(memberships.c.user_id == bindparam("member", type_=_id), _alive())
)
OF_USER = Statement(_of_member.order_by(memberships.c.create_time, memberships.c.tenant_id).limit(LARGEST_LIST))
ALL_OF_USER = Statement(
    select(memberships.c.tenant_id)
    .where(memberships.c.user_id == bindparam("member", type_=_id))
    .order_by(memberships.c.create_time, memberships.c.tenant_id)
)
OF_USER_IN = Statement(_of_member.where(memberships.c.tenant_id == bindparam("within", type_=_id)))
AMONG = Statement(
    select(memberships.c.user_id)
    .where(
        memberships.c.tenant_id == bindparam("within", type_=_id),
        memberships.c.user_id == any_(bindparam("members", type_=ARRAY(_id))),
    )
    .order_by(memberships.c.user_id)
    .with_for_update(read=True, key_share=True)
)
_holds_one = memberships.c.roles.op("&&", is_comparison=True)(bindparam("held", type_=ARRAY(Text())))
WITH_ROLES = Statement(
    select(memberships.c.user_id)
    .where(memberships.c.tenant_id == bindparam("within", type_=_id), _holds_one)
    .order_by(memberships.c.create_time, memberships.c.user_id)
    .limit(LARGEST_LIST)
)
_asked_for = or_(func.cardinality(bindparam("held", type_=ARRAY(Text()))) == literal_column("0"), _holds_one)
_within = memberships.c.tenant_id == bindparam("within", type_=_id)
AFTER = Statement(
    select(memberships.c.user_id)
    .where(_within, memberships.c.user_id > bindparam("place", type_=_id), _asked_for)
    .order_by(memberships.c.user_id)
    .limit(bindparam("most", type_=Integer()))
)
"""Takes `within`, `place`, the roles `held`, and `most`."""
COUNT = Statement(select(func.count(type_=Integer()).label("count")).where(_within, _asked_for))
"""Takes `within` and the roles `held`."""
OF_USER_AT = Statement(_of_member.where(tenants.c.subdomain == bindparam("label", type_=tenants.c.subdomain.type)))
# A sign-up needs this before a user exists, so it is read as the platform, and only these columns.
SIGN_UP_POLICY = Statement(
    select(tenants.c.id, tenants.c.sign_up_open, tenants.c.sign_up_conflict_visible).where(
        tenants.c.subdomain == bindparam("label", type_=tenants.c.subdomain.type), _alive()
    )
)


PLACE = Statement(
    select(tenants.c.name, tenants.c.subdomain).where(tenants.c.id == bindparam("within", type_=_id), _alive())
)
ROLES_NAMED = Statement(
    select(roles_table.c.name, roles_table.c.permissions)
    .where(
        roles_table.c.tenant_id == bindparam("within", type_=_id),
        roles_table.c.name == any_(bindparam("names", type_=ARRAY(Text()))),
    )
    .order_by(roles_table.c.name)
    .with_for_update(read=True)
)
_added = insert(memberships).values(
    {name: bindparam(name, type_=memberships.c[name].type) for name in ("tenant_id", "user_id", "roles")}
)
ADD_ROLES = Statement(
    _added.on_conflict_do_update(
        index_elements=[memberships.c.tenant_id, memberships.c.user_id],
        set_={
            "roles": text("ARRAY(SELECT DISTINCT unnest(memberships.roles || excluded.roles) ORDER BY 1)"),
            **CHANGED,
        },
    )
)


class Memberships:
    """The memberships of users in tenants."""

    def of_user(self, transaction: Transaction, user_id: str) -> list[Row]:
        """The memberships of a user, oldest first: tenant_id, roles, subdomain, name. At most 100."""
        return transaction.run(OF_USER, member=user_id).all()

    def of_user_in(self, transaction: Transaction, user_id: str, tenant_id: str) -> Row | None:
        """The membership of a user in one tenant, or None."""
        return transaction.run(OF_USER_IN, member=user_id, within=tenant_id).first()

    def of_user_at(self, transaction: Transaction, user_id: str, subdomain: str) -> Row | None:
        """The membership of a user in the tenant with this subdomain, or None."""
        return transaction.run(OF_USER_AT, member=user_id, label=subdomain).first()

    def among(self, transaction: WriteTransaction, tenant_id: str, user_ids: Sequence[str]) -> set[str]:
        """Those of these users who are members of a tenant, which they cannot leave until the transaction ends."""
        return {row["user_id"] for row in transaction.run(AMONG, within=tenant_id, members=list(user_ids)).all()}

    def with_roles(self, transaction: Transaction, tenant_id: str, roles: Sequence[str]) -> list[str]:
        """The members of a tenant who hold one of these roles, oldest membership first. At most 100."""
        return [row["user_id"] for row in transaction.run(WITH_ROLES, within=tenant_id, held=list(roles)).all()]

    def after(
        self, transaction: Transaction, tenant_id: str, user_id: str, roles: Sequence[str], most: int
    ) -> list[str]:
        """The members of a tenant behind a user, in the order of their ids; with roles, those who hold one of them."""
        found = transaction.run(AFTER, within=tenant_id, place=user_id or NOBODY, held=list(roles), most=most)
        return [row["user_id"] for row in found.all()]

    def count(self, transaction: Transaction, tenant_id: str, roles: Sequence[str]) -> int:
        """How many members a tenant has; with roles, how many hold one of them."""
        return int(transaction.run(COUNT, within=tenant_id, held=list(roles)).one()["count"])

    def sign_up_policy(self, transaction: WriteTransaction, subdomain: str) -> Row | None:
        """Id and sign-up settings of a tenant; None if there is no such tenant."""
        transaction.bind(Scope(platform=True))
        row = transaction.run(SIGN_UP_POLICY, label=subdomain).first()
        transaction.bind(Scope())
        return row

    def tenants_of(self, transaction: Transaction, user_id: str) -> list[str]:
        """All tenants of a user, oldest membership first; deleted and suspended ones too."""
        return [row["tenant_id"] for row in transaction.run(ALL_OF_USER, member=user_id).all()]

    def keep_owners(self, transaction: WriteTransaction, tenant_ids: Sequence[str], user_id: str) -> None:
        """Raise StateForbids if one of the tenants would be left without an owner. The scope has to reach them."""
        keep_owners(transaction, tenant_ids, user_id)

    def add(self, transaction: WriteTransaction, tenant_id: str, user_id: str, roles: Sequence[str]) -> None:
        """Make a user a member with these roles, or add them to those of a member. Absent roles are left out."""
        known = {row["name"] for row in self.roles_named(transaction, tenant_id, roles)}
        granted = [name for name in roles if name in known]
        transaction.run(ADD_ROLES, tenant_id=tenant_id, user_id=user_id, roles=granted)
        transaction.queue(ACCESS_CHANGED, within=tenant_id)

    def lock_roles(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> list[str] | None:
        """The roles of a member, locked until the transaction ends. None for a user who is not a member."""
        lock_owners(transaction, [tenant_id], user_id)
        row = transaction.run(HELD, within=tenant_id, member=user_id).first()
        return list(row["roles"]) if row is not None else None

    def set_roles(self, transaction: WriteTransaction, tenant_id: str, user_id: str, roles: Sequence[str]) -> None:
        """Give a member these roles instead of the former ones. Raises StateForbids for the last owner."""
        if OWNER not in roles:
            keep_owners(transaction, [tenant_id], user_id)
        transaction.queue(SET_ROLES, within=tenant_id, member=user_id, held=list(roles))

    def remove(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """End a membership. Raises StateForbids for the last owner."""
        keep_owners(transaction, [tenant_id], user_id)
        transaction.queue(LEAVE, within=tenant_id, member=user_id)

    def place(self, transaction: Transaction, tenant_id: str) -> Row | None:
        """Name and subdomain of a tenant in use, or None."""
        return transaction.run(PLACE, within=tenant_id).first()

    def roles_named(self, transaction: WriteTransaction, tenant_id: str, names: Sequence[str]) -> list[Row]:
        """Name and permissions of the roles of a tenant with these names, locked against deletion."""
        return transaction.run(ROLES_NAMED, within=tenant_id, names=list(names)).all()

    def join(self, transaction: WriteTransaction, tenant_id: str, user_id: str) -> None:
        """Make a user a member of a tenant."""
        transaction.bind(Scope(tenant_id=tenant_id, user_id=user_id))
        transaction.queue(ADD_MEMBERSHIP, tenant_id=tenant_id, user_id=user_id, roles=[MEMBER])
