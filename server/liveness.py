"""Whether a caller's session and tenant are still there: asked in every transaction, along with its first statement.

It joins what two domains own, so it stands beside app.py, which hands it to the data layer.
"""

from plinth.tenancy.v1.tenant_pb2 import Tenant
from sqlalchemy import ColumnElement, Text, bindparam, case, cast, exists, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.identity.tables import sessions
from server.domains.tenancy.tables import tenants

_uuid = UUID(as_uuid=False)
_session = bindparam("session", type_=_uuid)
_session_lives = exists(literal_column("1")).where(sessions.c.id == _session, sessions.c.end_time.is_(None))
_tenant = func.nullif(bindparam("tenant", type_=Text()), literal_column("''"))
_tenant_lives = exists(literal_column("1")).where(
    tenants.c.id == cast(_tenant, _uuid),
    tenants.c.delete_time.is_(None),
    tenants.c.status == literal_column(str(int(Tenant.STATUS_ACTIVE))),
)


def _word(word: str) -> ColumnElement[str]:
    return literal_column(f"'{word}'", Text())


GONE: ColumnElement[str] = case(
    (_session.is_(None), _word("")),
    (~_session_lives, _word("session")),
    (_tenant.is_not(None) & ~_tenant_lives, _word("tenant")),
    else_=_word(""),
)
"""Takes `session` and `tenant`; is `session` or `tenant` when that is gone, else empty; empty without a session."""

NOTHING = Statement(select(literal(1).label("one")))
"""Asks for nothing but the liveness that comes with every transaction."""
