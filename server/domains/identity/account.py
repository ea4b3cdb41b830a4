"""The end of an account: what is personal of a user is emptied, sessions end, and API keys are revoked.

The row of the user stays, without a name: its id stands in many others.
"""

from sqlalchemy import Text, bindparam, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Statement
from server.domains.identity.tables import api_keys, invitations, sessions, users
from server.kernel.guard import session_tag
from server.kernel.privacy import Erasure

_id = UUID(as_uuid=False)
_person = bindparam("person", type_=_id)
# They are deleted next. Until then another attempt finds them, and drops what is cached of them.
END_SESSIONS = Statement(
    update(sessions)
    .where(sessions.c.user_id == _person)
    .values(end_time=func.now(), end_reason=text("'erased'"), ip=text("''"), user_agent=text("''"))
    .returning(sessions.c.id)
)
EMPTY_USER = Statement(
    update(users)
    .where(users.c.id == _person, users.c.delete_time.is_(None))
    .values(
        email=text("''"),
        password_hash=text("''"),
        first_name=text("''"),
        last_name=text("''"),
        is_platform=text("false"),
        last_login_time=text("NULL"),
        last_tenant_id=text("NULL"),
        email_verify_time=text("NULL"),
        version=users.c.version + text("1"),
        update_time=func.now(),
        delete_time=func.now(),
    )
)
_named = bindparam("person", type_=Text())
REVOKE_KEYS = Statement(
    update(api_keys)
    .where(
        api_keys.c.tenant_id == bindparam("tenant", type_=api_keys.c.tenant_id.type),
        or_(api_keys.c.create_user_id == _named, api_keys.c.origin_user_id == _named),
        api_keys.c.revoke_time.is_(None),
    )
    .values(revoke_time=func.now(), version=api_keys.c.version + text("1"), update_time=func.now())
)
ACCOUNT_OF = Statement(select(users.c.email, users.c.is_platform).where(users.c.id == _person))
"""Takes `person`."""


FORGET_INVITATIONS = Statement(
    delete(invitations).where(
        invitations.c.tenant_id == bindparam("tenant", type_=_id),
        invitations.c.email_folded == bindparam("address", type_=Text()),
    )
)


def forget_invitations(erasure: Erasure) -> None:
    """Delete the invitations of the person's address into a tenant."""
    with erasure.batch() as transaction:
        address = erasure.person.email.lower()
        found = transaction.run(FORGET_INVITATIONS, tenant=erasure.tenant_id, address=address)
        erasure.note(0, found.count)


def end_account(erasure: Erasure) -> None:
    """Empty the row of the user, and end every session."""
    with erasure.batch() as transaction:
        ended = transaction.run(END_SESSIONS, person=erasure.person.id).all()
        emptied = transaction.run(EMPTY_USER, person=erasure.person.id).count
        erasure.stale_tags.extend(session_tag(row["id"]) for row in ended)
        erasure.note(0, emptied + len(ended))


def revoke_keys(erasure: Erasure) -> None:
    """Revoke the API keys that the person has made in a tenant, and those that were made with them."""
    with erasure.batch() as transaction:
        where = {"tenant": erasure.tenant_id, "person": erasure.person.id}
        erasure.note(0, transaction.run(REVOKE_KEYS, **where).count)
