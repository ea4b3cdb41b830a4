"""What every way of signing in ends with: a session, in one of the user's tenants."""

from datetime import datetime

from plinth.identity.v1.auth_pb2 import Session
from sqlalchemy import bindparam, func, update

from server.data.statements import Row, Statement
from server.data.transactions import Scope
from server.domains.identity.sessions import Sessions
from server.domains.identity.tables import users
from server.domains.identity.user_rows import shown_user
from server.kernel.call import Call, Principal
from server.kernel.guard import AccessTokens
from server.kernel.ids import new_id
from server.kernel.ports import Memberships
from server.kernel.problems import Unauthenticated

PLATFORM_ROLE = "super_admin"
# A password that was changed since it was read stays, and the sign-in with the old one is refused.
_as_known = (
    users.c.id == bindparam("user_id", type_=users.c.id.type),
    users.c.password_hash == bindparam("known_hash", type_=users.c.password_hash.type),
)
_hash = bindparam("hash", type_=users.c.password_hash.type)
REPLACE_HASH = Statement(update(users).where(*_as_known).values(password_hash=_hash))
NOTE_LOGIN = Statement(
    update(users)
    .where(*_as_known)
    .values(
        last_login_time=func.now(),
        last_tenant_id=bindparam("tenant", type_=users.c.last_tenant_id.type),
        password_hash=_hash,
    )
)


class SignIns:
    """Opens sessions for users who have proven who they are, and renews them."""

    def __init__(self, tokens: AccessTokens, sessions: Sessions, memberships: Memberships) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._memberships = memberships

    def place(self, call: Call, row: Row, subdomain: str) -> Row | None:
        """The membership to sign in to: in the named tenant, else in the last one, else the first one, else None.

        Raises Unauthenticated, as for wrong credentials, if the user is not a member of the named tenant.
        """
        find = self._memberships
        call.writes.bind(Scope(user_id=row["id"]))
        if subdomain:
            named = find.of_user_at(call.writes, row["id"], subdomain)
            if named is None:
                raise self.wrong_credentials(call, row)
            return named
        last = row["last_tenant_id"]
        place = find.of_user_in(call.writes, row["id"], last) if last else None
        return place or next(iter(find.of_user(call.writes, row["id"])), None)

    def open(self, call: Call, row: Row, place: Row | None, new_hash: str | None = None) -> Session:
        """A new session. `new_hash` replaces the hash of the password.

        Raises Unauthenticated if the password has changed since `row` was read.
        """
        tenant_id = place["tenant_id"] if place else None
        known = {"user_id": row["id"], "known_hash": row["password_hash"]}
        hashed = new_hash or row["password_hash"]
        if not call.writes.run(NOTE_LOGIN, **known, tenant=tenant_id, hash=hashed).count:
            raise self.wrong_credentials(call, row)
        session_id, refresh, expires, proven = self._sessions.start(call, row["id"], tenant_id)
        return self.shown(call, row, session_id, place, tokens=(refresh, expires, proven))

    def keep_hash(self, call: Call, row: Row, new_hash: str) -> Row:
        """The user in a row, with a hash of the same password that is made as it should be."""
        if new_hash == row["password_hash"]:
            return row
        call.writes.queue(REPLACE_HASH, user_id=row["id"], known_hash=row["password_hash"], hash=new_hash)
        return row | {"password_hash": new_hash}

    def shown(
        self, call: Call, row: Row, session_id: str, place: Row | None, *, tokens: tuple[str, datetime, datetime]
    ) -> Session:
        """The answer with the tokens of a session, which is the event of the call as well, without them.

        `tokens` are the refresh token, when it expires, and when the user last proved who they are.
        """
        refresh, expires, proven = tokens
        principal = _principal(row, session_id, place, proven)
        session = Session(
            access_token=self._tokens.issue(principal),
            token_type="Bearer",  # noqa: S106 - a kind of token, not one
            expires_in=self._tokens.lifetime,
            refresh_token=refresh,
            user=shown_user(row),
            tenant_id=principal.tenant_id or "",
            roles=principal.roles,
        )
        session.refresh_expire_time.FromDatetime(expires)
        session.authenticate_time.FromDatetime(proven)
        _leave_event(call, session, session_id)
        return session

    def wrong_credentials(self, call: Call, row: Row | None) -> Unauthenticated:
        """The problem of a failed sign-in, which the tenants of the account's owner see.

        For an unknown address the same query is run, so that the time taken reveals nothing.
        """
        user_id = row["id"] if row else new_id()
        call.writes.bind(Scope(user_id=user_id))
        places = self._memberships.of_user(call.writes, user_id)
        if row is not None:
            call.note_target(user_id, [place["tenant_id"] for place in places])
        return Unauthenticated("Invalid credentials.")


def _principal(row: Row, session_id: str, place: Row | None, proven: datetime) -> Principal:
    roles = tuple(place["roles"]) if place else ()
    return Principal(
        user_id=row["id"],
        session_id=session_id,
        tenant_id=place["tenant_id"] if place else None,
        roles=(*roles, PLATFORM_ROLE) if row["is_platform"] else roles,
        is_platform=row["is_platform"],
        expires_at=0,
        proven_at=proven.timestamp(),
    )


def _leave_event(call: Call, session: Session, session_id: str) -> None:
    """Set the event, which names the user and the tenant of the session. Tokens are redacted from it."""
    call.event_payload = session
    call.note_actor(session.user.id, session_id)
    call.tenant_id = session.tenant_id or None
    call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=session.user.id))
