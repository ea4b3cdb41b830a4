"""Users as they are stored: by address, by id, and by who signs in."""

from plinth.identity.v1.user_pb2 import User
from sqlalchemy import ColumnElement, bindparam, exists, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from server.data.statements import Row, Statement
from server.domains.identity.sign_in_guard import IS_KNOWN
from server.domains.identity.tables import authenticators, users

USER = "plinth.dev/User"

HAS_SECOND_FACTOR: ColumnElement[bool] = exists(literal_column("1")).where(
    authenticators.c.user_id == users.c.id, authenticators.c.enable_time.is_not(None)
)
IS_ALIVE = users.c.delete_time.is_(None)
_shown = (
    *(users.c.id, users.c.email, users.c.first_name, users.c.last_name),
    *(users.c.create_time, users.c.email_verify_time),
)
FACTS = (*_shown, users.c.password_hash, users.c.is_platform, users.c.last_tenant_id)
_added = ("id", "email", "password_hash", "first_name", "last_name")
ADD_USER = Statement(
    insert(users)
    .values({name: bindparam(name, type_=users.c[name].type) for name in _added})
    .on_conflict_do_nothing()
    .returning(users.c.create_time)
)
ADD_VERIFIED_USER = Statement(
    insert(users)
    .values({**{name: bindparam(name, type_=users.c[name].type) for name in _added}, "email_verify_time": func.now()})
    .on_conflict_do_nothing()
    .returning(*FACTS)
)
"""Of somebody whose address is known to be theirs."""
_is_theirs = func.lower(users.c.email) == func.lower(bindparam("address", type_=users.c.email.type))
BY_EMAIL = Statement(select(*FACTS).where(IS_ALIVE, _is_theirs))
"""Takes `address`."""
WHO_SIGNS_IN = Statement(
    select(*FACTS, IS_KNOWN.label("is_known"), HAS_SECOND_FACTOR.label("has_second_factor")).where(IS_ALIVE, _is_theirs)
)
"""Takes `address` and `network`."""
BY_ID_OF = select(*FACTS).where(IS_ALIVE, users.c.id == bindparam("user_id", type_=users.c.id.type))
BY_ID = Statement(BY_ID_OF)
LOCK_USER = Statement(BY_ID_OF.with_for_update())


def shown_user(row: Row) -> User:
    """The user in a row."""
    user = User(
        id=row["id"],
        email=row["email"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        state=User.STATE_ACTIVE,
    )
    user.create_time.FromDatetime(row["create_time"])
    if row["email_verify_time"] is not None:
        user.email_verify_time.FromDatetime(row["email_verify_time"])
    return user
