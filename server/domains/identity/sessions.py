"""Sessions and their refresh tokens.

A refresh token names its session and a counter, signed with a key of the deployment. No secret is stored, and no row is
written per token. The counter of the session identifies the latest token:

- the latest one: rotate; the counter grows by one;
- the one before: its successor has not been used. The answer was lost, or several calls of one client ran in parallel.
  All of them get the same successor, however late they come;
- an older one: its successor has been used, so one of the two was copied. The session ends.

A token ahead of the counter was issued before the database was restored to an earlier point in time; it counts as the
latest one. Switching the tenant uses no refresh token, so it does not change the counter, and its answer may be lost
too.
"""

import base64
import binascii
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update

from server.data.statements import Row, Statement, uuid_text
from server.data.transactions import WriteTransaction
from server.domains.identity.tables import sessions
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.guard import session_tag
from server.kernel.ids import new_id
from server.kernel.keys import Signatures
from server.kernel.problems import Reason, Unauthenticated
from server.secrets import Secrets

PREFIX = "prt_"
ID_BYTES = 16
COUNTER_BYTES = 8
LONGEST_USER_AGENT = 300

_id = bindparam("session_id", type_=sessions.c.id.type)
_STARTED = ("id", "user_id", "current_tenant_id", "rotate_time", "auth_time", "expire_time", "ip", "user_agent")
START = Statement(insert(sessions).values({n: bindparam(n, type_=sessions.c[n].type) for n in _STARTED}))
LOCK = Statement(select(sessions).where(sessions.c.id == _id).with_for_update())
_renewal = (
    update(sessions)
    .where(sessions.c.id == _id)
    .values(
        rotate_time=bindparam("now", type_=sessions.c.rotate_time.type),
        expire_time=bindparam("until", type_=sessions.c.expire_time.type),
        current_tenant_id=bindparam("tenant", type_=sessions.c.current_tenant_id.type),
    )
)
ROTATE = Statement(_renewal.values(counter=bindparam("counter", type_=sessions.c.counter.type)))
MOVE = Statement(_renewal)
PROVE = Statement(
    update(sessions).where(sessions.c.id == _id).values(auth_time=bindparam("now", type_=sessions.c.auth_time.type))
)
END = Statement(
    update(sessions)
    .where(sessions.c.id == _id, sessions.c.end_time.is_(None))
    .values(end_time=func.now(), end_reason=bindparam("reason", type_=sessions.c.end_reason.type))
)


class Sessions:
    """Starts, rotates and ends sessions."""

    def __init__(self, secrets: Secrets, unused: timedelta, clock: Clock) -> None:
        """`unused` is the lifetime of an unused refresh token."""
        self._signatures = Signatures(secrets, "refresh token")
        self._unused = unused
        self._clock = clock

    def start(self, call: Call, user_id: str, tenant_id: str | None) -> tuple[str, str, datetime, datetime]:
        """A new session: its id, its first refresh token, when that expires, and when the session began."""
        session_id, now = new_id(), self._clock()
        expires = now + self._unused
        call.writes.queue(
            START,
            id=session_id,
            user_id=user_id,
            current_tenant_id=tenant_id,
            rotate_time=now,
            auth_time=now,
            expire_time=expires,
            ip=call.client_address,
            user_agent=call.user_agent[:LONGEST_USER_AGENT],
        )
        return session_id, self._token(session_id, 0), expires, now

    def lock(self, transaction: WriteTransaction, session_id: str) -> Row:
        """The session, locked. Raises Unauthenticated if it has ended or expired."""
        row = transaction.run(LOCK, session_id=session_id).first()
        if row is None or row["end_time"] is not None or row["expire_time"] < self._clock():
            raise Unauthenticated("The session has ended: log in again.", reason=Reason.REASON_SESSION_ENDED)
        return row

    def read(self, token: str) -> tuple[str, int]:
        """The session and counter of a refresh token. Raises Unauthenticated for a token that Plinth did not issue."""
        try:
            raw = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _wrong_token() from error
        body, signature = raw[: ID_BYTES + COUNTER_BYTES], raw[ID_BYTES + COUNTER_BYTES :]
        if not token.startswith(PREFIX) or not self._signatures.verify(body, signature):
            raise _wrong_token()
        return uuid_text(body[:ID_BYTES]), int.from_bytes(body[ID_BYTES:], "big")

    def is_reuse(self, session: Row, counter: int) -> bool:
        """Whether the successor of the token has already been used."""
        return bool(session["counter"] - counter > 1)

    def rotate(
        self, transaction: WriteTransaction, session: Row, counter: int, tenant_id: str | None
    ) -> tuple[str, datetime]:
        """The successor of a token, and its expiry. A token that was already replaced gets the same successor."""
        if counter < session["counter"]:
            return self._token(session["id"], session["counter"]), session["expire_time"]
        now = self._clock()
        expires = now + self._unused
        parameters = {"session_id": session["id"], "now": now, "until": expires, "tenant": tenant_id}
        transaction.run(ROTATE, counter=counter + 1, **parameters)
        return self._token(session["id"], counter + 1), expires

    def move(self, transaction: WriteTransaction, session: Row, tenant_id: str | None) -> tuple[str, datetime]:
        """Move the session to another tenant.

        Returns its latest refresh token, which stays the latest, and its expiry.
        """
        now = self._clock()
        expires = now + self._unused
        transaction.run(MOVE, session_id=session["id"], now=now, until=expires, tenant=tenant_id)
        return self._token(session["id"], session["counter"]), expires

    def prove(self, call: Call, session: Row) -> datetime:
        """Note that the user of a session has proven who they are. Returns when: now."""
        now = self._clock()
        call.writes.queue(PROVE, session_id=session["id"], now=now)
        return now

    def end(self, call: Call, session_id: str, reason: str) -> None:
        """End a session. Its tokens are invalid from the commit on."""
        call.writes.run(END, session_id=session_id, reason=reason)
        call.invalidate(session_tag(session_id))

    def _token(self, session_id: str, counter: int) -> str:
        body = UUID(session_id).bytes + counter.to_bytes(COUNTER_BYTES, "big")
        return PREFIX + base64.urlsafe_b64encode(body + self._signatures.sign(body)).decode()


def _wrong_token() -> Unauthenticated:
    return Unauthenticated("The refresh token is not valid.")
