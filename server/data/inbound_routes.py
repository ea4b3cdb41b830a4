"""Routes of calls from outside: which tenant, and which of its keys, an address or an outside id belongs to.

A provider's call names no tenant. It comes with what the provider knows: a token in the path, the public part of a key,
the number of an account. Stored is a hash of it, so that a reader of the table cannot make such an address.
"""

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Statement
from server.data.tables import IS_PLATFORM, OWN_TENANT, global_table, uuid_column

inbound_routes = global_table(
    "inbound_routes",
    uuid_column("tenant_id"),
    Column("route_hash", LargeBinary, nullable=False),
    # The adapter that verifies the calls, by the name that policies have.
    Column("adapter", Text, nullable=False),
    # What its calls are verified with, such as a connection: the actor of what they change.
    uuid_column("key_id"),
    PrimaryKeyConstraint("tenant_id", "route_hash"),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
    # A route is looked up before its tenant is known.
    row_security=f"{OWN_TENANT} OR {IS_PLATFORM}",
)
_c = inbound_routes.c
Index("inbound_routes_route_hash_key", _c.route_hash, unique=True)
Index("inbound_routes_key_id_idx", _c.tenant_id, _c.key_id)

_tenant = bindparam("tenant_id", type_=_c.tenant_id.type)
_hash, _key = bindparam("route_hash", type_=LargeBinary()), bindparam("key_id", type_=_c.key_id.type)
FIND = Statement(select(_c.tenant_id, _c.key_id).where(_c.route_hash == _hash))
"""Takes `route_hash`. Returns at most one row."""
ADD = Statement(
    insert(inbound_routes).values(
        tenant_id=_tenant, route_hash=_hash, adapter=bindparam("adapter", type_=Text()), key_id=_key
    )
)
"""Takes `tenant_id`, `route_hash`, `adapter` and `key_id`. UniqueViolation for a route of whichever tenant."""
REMOVE = Statement(delete(inbound_routes).where(_c.tenant_id == _tenant, _c.key_id == _key))
"""Takes `tenant_id` and `key_id`."""
