"""The people of a tenant, and everybody with an account, as views over what is stored of them.

A tenant's people are its members and those who were invited and have not accepted. All views read with the rights of
who asks (`security_invoker`), and are made by migration 0031. Two of them have the same rows: `tenant_users` is read in
order of time or by id, `tenant_users_by_email` by address.
"""

from dataclasses import replace

from plinth.identity.v1.user_pb2 import User
from sqlalchemy import (
    Column,
    ColumnElement,
    MetaData,
    SmallInteger,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.clauses import AnyColumn
from server.data.statements import Statement
from server.data.tables import resource_columns, time_column, uuid_column
from server.kernel.resources import Resource

_views = MetaData()
FILTERABLE = ("id", "email", "create_time")


def _view(name: str, *columns: AnyColumn, soft_delete: bool = False) -> Table:
    return Table(
        name,
        _views,
        uuid_column("id", primary_key=True),
        *columns,
        Column("email", Text, nullable=False),
        Column("first_name", Text, nullable=False),
        Column("last_name", Text, nullable=False),
        Column("roles", ARRAY(Text), nullable=False),
        Column("state", SmallInteger, nullable=False),
        time_column("email_verify_time", nullable=True),
        time_column("last_login_time", nullable=True),
        *resource_columns(soft_delete=soft_delete),
    )


tenant_users = _view("tenant_users", uuid_column("tenant_id"))
tenant_users_by_email = _view("tenant_users_by_email", uuid_column("tenant_id"))
platform_users = _view("platform_users", soft_delete=True)
TENANT_USERS = Resource(User, tenant_users, filterable=FILTERABLE, sortable=("create_time",))
TENANT_USERS_BY_EMAIL = replace(TENANT_USERS, table=tenant_users_by_email)
PLATFORM_USERS = Resource(User, platform_users, filterable=FILTERABLE, sortable=("create_time",))


def _member(view: Table, condition: ColumnElement[bool]) -> Statement:
    is_active = view.c.state == literal_column(str(int(User.STATE_ACTIVE)))
    is_here = view.c.tenant_id == bindparam("tenant", type_=UUID(as_uuid=False))
    return Statement(select(view.c.id).where(is_here, condition, is_active))


MEMBER_AT = _member(
    tenant_users_by_email,
    func.lower(tenant_users_by_email.c.email) == func.lower(bindparam("address", type_=Text())),
)
"""The member of a tenant with an address."""
MEMBER_WITH_ID = _member(tenant_users, tenant_users.c.id == bindparam("user_id", type_=UUID(as_uuid=False)))
"""The member of a tenant with an id."""
