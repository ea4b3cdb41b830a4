"""Contacts: how users are reached, offered to other domains through a port."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, any_, bindparam, case, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Statement
from server.data.transactions import Transaction
from server.domains.identity.tables import user_preferences, users
from server.kernel.ports import Contact

_id = UUID(as_uuid=False)
_u, _p = users.c, user_preferences.c
_tenant = bindparam("tenant", type_=_id)
_EMPTY: ColumnElement[str] = literal_column("''")
OF = Statement(
    select(
        _u.id,
        case((_u.email_verify_time.is_not(None), _u.email), else_=_EMPTY).label("email"),
        func.coalesce(_p.language, _EMPTY).label("language"),
        func.coalesce(_p.time_zone, _EMPTY).label("time_zone"),
    )
    .select_from(users.outerjoin(user_preferences, and_(_p.tenant_id == _tenant, _p.id == _u.id)))
    .where(_u.id == any_(bindparam("asked", type_=ARRAY(_id))), _u.delete_time.is_(None))
)
"""Takes `tenant` and the ids `asked`."""


class Contacts:
    """How users are reached."""

    def of(self, transaction: Transaction, tenant_id: str, user_ids: Sequence[str]) -> Mapping[str, Contact]:
        """Those of users with an account, by id. The scope of the transaction has to reach the tenant."""
        rows = transaction.run(OF, tenant=tenant_id, asked=list(user_ids)).all()
        return {row.pop("id"): Contact(**row) for row in rows}
