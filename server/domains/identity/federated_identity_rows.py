"""Identities at providers, as they are stored."""

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Row, Statement
from server.domains.identity.oauth_clients import OAuthPerson
from server.domains.identity.tables import federated_identities, passkeys, users
from server.domains.identity.user_rows import FACTS, HAS_SECOND_FACTOR, IS_ALIVE
from server.kernel.call import Call
from server.kernel.ids import new_id

__all__ = ["ADD", "FIND", "LIST", "LONGEST_NAME", "MOST", "NOTE_USE", "OTHER_WAYS", "REMOVE", "Row", "add"]
MOST = 20
"""Identities of one user."""
LONGEST_NAME = 200
_c = federated_identities.c
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_identity = bindparam("identity_id", type_=UUID(as_uuid=False))
_provider = bindparam("provider", type_=_c.provider.type)
_email = bindparam("email", type_=_c.email.type)
_shown = (_c.id, _c.provider, _c.email, _c.create_time, _c.last_use_time)
FIND = Statement(
    select(*FACTS, HAS_SECOND_FACTOR.label("has_second_factor"), _c.id.label("identity_id"))
    .join(users, users.c.id == _c.user_id)
    .where(_c.provider == _provider, _c.subject == bindparam("subject", type_=_c.subject.type), IS_ALIVE)
)
"""The user of an identity."""
LIST = Statement(select(*_shown).where(_c.user_id == _user).order_by(_c.create_time.desc(), _c.id.desc()).limit(MOST))
_added = ("id", "user_id", "provider", "subject", "email")
ADD = Statement(
    insert(federated_identities)
    .values({name: bindparam(name, type_=_c[name].type) for name in _added})
    .on_conflict_do_nothing(index_elements=[_c.provider, _c.subject])
    .returning(*_shown)
)
NOTE_USE = Statement(
    update(federated_identities).where(_c.id == _identity).values(last_use_time=func.now(), email=_email)
)
REMOVE = Statement(
    delete(federated_identities)
    .where(_c.user_id == _user, _c.provider == _provider, or_(_identity.is_(None), _c.id == _identity))
    .returning(_c.id)
)
"""Takes `identity_id`, or None for all of the provider."""
_one: ColumnElement[int] = literal_column("1")
OTHER_WAYS = Statement(
    select(
        or_(exists(_one).where(_c.user_id == _user), exists(_one).where(passkeys.c.user_id == _user)).label("others")
    )
)
"""Whether a user has an identity or a passkey."""


def add(call: Call, user_id: str, provider: str, person: OAuthPerson) -> Row | None:
    """Link an identity. None if it is linked already."""
    return call.writes.run(
        ADD,
        id=new_id(),
        user_id=user_id,
        provider=provider,
        subject=person.subject,
        email=person.email,
    ).first()
