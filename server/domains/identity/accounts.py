"""What a user does with their account: the address, the password, and the sessions."""

from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from plinth.identity.v1 import account_pb2
from plinth.identity.v1.account_pb2 import ListOwnSessionsResponse, UserSession
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import and_, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.data.transactions import Scope
from server.domains.identity.devices import device_of
from server.domains.identity.letters import BY_TOKEN, Kind, LetterTokens, refuse_token, send_letter
from server.domains.identity.password_check import PasswordCheck
from server.domains.identity.passwords import Passwords, refuse_common
from server.domains.identity.places import Places
from server.domains.identity.tables import account_letters, sessions, users
from server.domains.identity.user_rows import BY_EMAIL, BY_ID, LOCK_USER, USER, shown_user
from server.kernel.call import Call
from server.kernel.guard import session_tag
from server.kernel.ids import new_id
from server.kernel.mail_addresses import known_form
from server.kernel.problems import not_found
from server.kernel.resources import EventFacts, Service

SESSION = "plinth.dev/Session"
MOST_SESSIONS = 100
_id = UUID(as_uuid=False)
_user = bindparam("user_id", type_=_id)
_session = bindparam("session_id", type_=_id)
_changed = {"version": users.c.version + text("1"), "update_time": func.now()}
VERIFY = Statement(
    update(users)
    .where(users.c.id == _user)
    .values(email_verify_time=func.now(), **_changed)
    .returning(users.c.email_verify_time)
)
RESET_PASSWORD = Statement(
    update(users)
    .where(users.c.id == _user)
    .values(
        password_hash=bindparam("hash", type_=users.c.password_hash.type),
        email_verify_time=func.coalesce(users.c.email_verify_time, func.now()),
        **_changed,
    )
)
CHANGE_PASSWORD = Statement(
    update(users)
    .where(users.c.id == _user)
    .values(password_hash=bindparam("hash", type_=users.c.password_hash.type), **_changed)
)
RENAME = Statement(
    update(users)
    .where(users.c.id == _user)
    .values(
        first_name=bindparam("first_name", type_=users.c.first_name.type),
        last_name=bindparam("last_name", type_=users.c.last_name.type),
        **_changed,
    )
)
USE = Statement(
    update(account_letters).where(account_letters.c.id == bindparam("letter", type_=_id)).values(use_time=func.now())
)
_lives = and_(sessions.c.user_id == _user, sessions.c.end_time.is_(None))
_ending = (
    update(sessions)
    .values(end_time=func.now(), end_reason=bindparam("reason", type_=sessions.c.end_reason.type))
    .returning(sessions.c.id)
)
END_ONE = Statement(_ending.where(_lives, sessions.c.id == _session))
END_ALL = Statement(_ending.where(_lives))
END_OTHERS = Statement(_ending.where(_lives, sessions.c.id != _session))
SESSIONS = Statement(
    select(
        *(sessions.c.id, sessions.c.ip, sessions.c.user_agent, sessions.c.current_tenant_id, sessions.c.create_time),
        *(sessions.c.rotate_time, sessions.c.expire_time),
    )
    .where(_lives, sessions.c.expire_time > func.now())
    .order_by(sessions.c.create_time.desc(), sessions.c.id.desc())
    .limit(MOST_SESSIONS)
)


class AccountService(Service):
    """Accounts of users."""

    descriptor = account_pb2.DESCRIPTOR.services_by_name["AccountService"]
    events: ClassVar = {
        "user.verification_requested": EventFacts(User),
        "user.password_reset_requested": EventFacts(User),
        "user.password_reset": EventFacts(User),
        "user.password_changed": EventFacts(User),
        "user.other_sessions_revoked": EventFacts(User),
        "session.revoked": EventFacts(User),
    }

    def __init__(self, tokens: LetterTokens, passwords: Passwords, check: PasswordCheck, places: Places) -> None:
        super().__init__()
        self._places = places
        self._tokens = tokens
        self._passwords = passwords
        self._check = check

    # The address ---------------------------------------------------------------------------------------------------

    def verify_email(self, call: Call, request: account_pb2.VerifyEmailRequest) -> User:
        """Verify the address that a token was sent to."""
        letter = self._letter(call, request.token, Kind.VERIFICATION)
        if not letter["is_current"]:
            refuse_token()
        row = call.writes.run(BY_ID, user_id=letter["user_id"]).one()
        if letter["email_verify_time"] is not None:
            # A link that is followed twice, such as by a reader of mail and then by a person.
            call.emits = ""
        else:
            row["email_verify_time"] = call.writes.run(VERIFY, user_id=row["id"]).value()
        call.note_actor(row["id"])
        return shown_user(row)

    def resend_verification(self, call: Call, request: account_pb2.ResendVerificationRequest) -> Empty:
        """Send the mail again that verifies an address."""
        return _write_to(call, request.email, Kind.VERIFICATION)

    # The password --------------------------------------------------------------------------------------------------

    def forgot_password(self, call: Call, request: account_pb2.ForgotPasswordRequest) -> Empty:
        """Send a mail with which a new password is chosen."""
        return _write_to(call, request.email, Kind.PASSWORD_RESET)

    def reset_password(self, call: Call, request: account_pb2.ResetPasswordRequest) -> Empty:
        """Set a new password with a token from a mail."""
        letter = self._letter(call, request.token, Kind.PASSWORD_RESET)
        refuse_common("password", request.password)
        user_id = letter["user_id"]
        call.writes.queue(USE, letter=letter["id"])
        call.writes.queue(RESET_PASSWORD, user_id=user_id, hash=self._passwords.hash(request.password))
        end_sessions(call, END_ALL, user_id, "password reset")
        call.note_actor(user_id)
        call.event_payload = User(id=user_id)
        send_letter(call, user_id, Kind.PASSWORD_CHANGED)
        return Empty()

    def change_password(self, call: Call, request: account_pb2.ChangePasswordRequest) -> Empty:
        """Change the caller's password."""
        caller = call.caller
        if request.user_id and request.user_id.lower() != caller.user_id:
            raise not_found(USER, request.user_id)
        refuse_common("new_password", request.new_password)
        self._check.demand(call, "current_password", request.current_password)
        call.writes.queue(CHANGE_PASSWORD, user_id=caller.user_id, hash=self._passwords.hash(request.new_password))
        end_sessions(call, END_OTHERS, caller.user_id, "password changed", session_id=caller.session_id)
        send_letter(call, caller.user_id, Kind.PASSWORD_CHANGED)
        return told(call)

    # The profile ---------------------------------------------------------------------------------------------------

    def update_own_profile(self, call: Call, request: account_pb2.UpdateOwnProfileRequest) -> User:
        """Change the caller's names."""
        before = shown_user(call.writes.run(LOCK_USER, user_id=call.caller.user_id).one())
        after = User()
        after.CopyFrom(before)
        for name in ("first_name", "last_name"):
            if request.HasField(name):
                setattr(after, name, getattr(request, name))
        if after == before:
            call.changes_nothing = True
            return before
        named = {"first_name": after.first_name, "last_name": after.last_name}
        call.writes.queue(RENAME, user_id=after.id, **named)
        call.note_change(before, after)
        call.tenant_id = call.caller.tenant_id
        call.writes.bind(Scope(tenant_id=call.tenant_id, user_id=after.id))
        return after

    # Sessions ------------------------------------------------------------------------------------------------------

    def list_own_sessions(self, call: Call, request: account_pb2.ListOwnSessionsRequest) -> ListOwnSessionsResponse:
        """The sessions of the caller."""
        del request
        rows = call.reads.run(SESSIONS, user_id=call.caller.user_id).all()
        return ListOwnSessionsResponse(sessions=[self._shown_session(row, call.caller.session_id) for row in rows])

    def revoke_session(self, call: Call, request: account_pb2.RevokeSessionRequest) -> Empty:
        """End a session of the caller."""
        if not end_sessions(call, END_ONE, call.caller.user_id, "revoked", session_id=request.session_id):
            raise not_found(SESSION, request.session_id)
        return told(call)

    def revoke_other_sessions(self, call: Call, request: account_pb2.RevokeOtherSessionsRequest) -> Empty:
        """End all sessions of the caller but this one."""
        del request
        end_sessions(call, END_OTHERS, call.caller.user_id, "revoked", session_id=call.caller.session_id)
        return told(call)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _letter(self, call: Call, token: str, kind: Kind) -> Row:
        """The letter that brought a token, locked. Raises RuleViolated."""
        letter = call.writes.run(BY_TOKEN, hashes=self._tokens.hashes(token), kind=int(kind)).first()
        return letter if letter is not None else refuse_token()

    def _shown_session(self, row: Row, current: str) -> UserSession:
        shown = UserSession(
            id=row["id"],
            is_current=row["id"] == current,
            ip=row["ip"],
            user_agent=row["user_agent"],
            device=device_of(row["user_agent"]),
            place=self._places.of(row["ip"]),
            tenant_id=row["current_tenant_id"] or "",
        )
        shown.create_time.FromDatetime(row["create_time"])
        shown.refresh_time.FromDatetime(row["rotate_time"])
        shown.expire_time.FromDatetime(row["expire_time"])
        return shown


def _write_to(call: Call, email: str, kind: Kind) -> Empty:
    """Enqueue a letter. The same is done for an unknown address, with the id of nobody."""
    row = call.writes.run(BY_EMAIL, address=known_form(email)).first()
    user_id = row["id"] if row is not None else new_id()
    send_letter(call, user_id, kind)
    call.event_payload = User(id=user_id)
    return Empty()


def end_sessions(call: Call, statement: Statement, user_id: str, reason: str, **parameters: object) -> int:
    """End sessions. Returns their number."""
    ended = call.writes.run(statement, user_id=user_id, reason=reason, **parameters).all()
    for row in ended:
        call.invalidate(session_tag(row["id"]))
    return len(ended)


def told(call: Call, about: Message | None = None) -> Empty:
    """Let the event tell of something of the caller, by default of the caller, in the tenant of the session.

    Returns the answer of what has no other.
    """
    caller = call.caller
    call.event_payload = about or User(id=caller.user_id)
    call.tenant_id = caller.tenant_id
    call.writes.bind(Scope(tenant_id=caller.tenant_id, user_id=caller.user_id))
    return Empty()
