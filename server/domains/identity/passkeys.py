"""Passkeys of the caller, and signing in with one."""

from datetime import datetime
from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from plinth.identity.v1 import passkey_pb2
from plinth.identity.v1.auth_pb2 import Session
from plinth.identity.v1.passkey_pb2 import ListOwnPasskeysResponse, Passkey, PasskeyOptions
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.identity.accounts import told
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.passkey_ceremonies import LIFETIME, Json, PasskeyCeremonies, WrongPasskey, handle_of
from server.domains.identity.sign_in_guard import SignInGuard
from server.domains.identity.sign_ins import SignIns
from server.domains.identity.tables import passkeys, used_challenges
from server.domains.identity.user_rows import BY_ID, LOCK_USER
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.problems import Unauthenticated, Violation, broken_rules, limit_reached, not_found, taken
from server.kernel.resources import EventFacts, Service

PASSKEY = "plinth.dev/Passkey"
MOST = 20
"""Passkeys of one user."""
UNNAMED = "Passkey"
_keys = passkeys.c
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_id = bindparam("passkey_id", type_=UUID(as_uuid=False))
_shown = (_keys.id, _keys.name, _keys.is_synced, _keys.create_time, _keys.last_use_time)
LIST = Statement(
    select(*_shown, _keys.credential_id)
    .where(_keys.user_id == _user)
    .order_by(_keys.create_time.desc(), _keys.id.desc())
    .limit(MOST)
)
_added = ("id", "user_id", "credential_id", "credential", "sign_count", "name", "is_synced")
ADD = Statement(
    postgresql.insert(passkeys)
    .values({name: bindparam(name, type_=_keys[name].type) for name in _added})
    .on_conflict_do_nothing(index_elements=[_keys.credential_id])
    .returning(*_shown)
)
RENAME = Statement(
    update(passkeys)
    .where(_keys.id == _id, _keys.user_id == _user)
    .values(name=bindparam("name", type_=_keys.name.type))
    .returning(*_shown)
)
REMOVE = Statement(delete(passkeys).where(_keys.id == _id, _keys.user_id == _user))
BY_CREDENTIAL = Statement(
    select(_keys.id, _keys.user_id, _keys.credential, _keys.sign_count)
    .where(_keys.credential_id == bindparam("credential_id", type_=_keys.credential_id.type))
    .with_for_update()
)
NOTE_USE = Statement(
    update(passkeys)
    .where(_keys.id == _id)
    .values(sign_count=bindparam("sign_count", type_=_keys.sign_count.type), last_use_time=func.now())
)
USE_CHALLENGE = Statement(
    postgresql.insert(used_challenges)
    .values(
        challenge=bindparam("challenge", type_=used_challenges.c.challenge.type),
        expire_time=func.now() + bindparam("lifetime", type_=postgresql.INTERVAL()),
    )
    .on_conflict_do_nothing()
)


class PasskeyProofs:
    """Verifies what passkeys answer, against those that are stored."""

    def __init__(self, ceremonies: PasskeyCeremonies) -> None:
        self._ceremonies = ceremonies

    def user_of(self, call: Call, credential: Struct) -> str:
        """The id of the user whose passkey has answered. Raises WrongPasskey."""
        answer = self._ceremonies.read(_json(credential))
        row = call.writes.run(BY_CREDENTIAL, credential_id=answer.credential_id).first()
        if row is None or answer.user_handle not in (b"", handle_of(row["user_id"])):
            raise WrongPasskey
        count = self._ceremonies.verify(answer, row["credential"], row["sign_count"])
        if not call.writes.run(USE_CHALLENGE, challenge=answer.challenge, lifetime=LIFETIME).count:
            raise WrongPasskey
        call.writes.queue(NOTE_USE, passkey_id=row["id"], sign_count=count)
        return str(row["user_id"])


class PasskeyService(Service):
    """Passkeys."""

    descriptor = passkey_pb2.DESCRIPTOR.services_by_name["PasskeyService"]
    events: ClassVar = {
        "passkey.registered": EventFacts(Passkey),
        "passkey.renamed": EventFacts(Passkey),
        "passkey.removed": EventFacts(Passkey),
    }

    def __init__(
        self, ceremonies: PasskeyCeremonies, proofs: PasskeyProofs, sign_ins: SignIns, guard: SignInGuard
    ) -> None:
        super().__init__()
        self._ceremonies = ceremonies
        self._proofs = proofs
        self._sign_ins = sign_ins
        self._guard = guard

    # The passkeys of the caller ------------------------------------------------------------------------------------

    def start_passkey_registration(
        self, call: Call, request: passkey_pb2.StartPasskeyRegistrationRequest
    ) -> PasskeyOptions:
        """Options to make a passkey."""
        del request
        user_id = call.caller.user_id
        user = call.reads.run(BY_ID, user_id=user_id).one()
        known = [row["credential_id"] for row in call.reads.run(LIST, user_id=user_id).all()]
        name = f"{user['first_name']} {user['last_name']}".strip()
        who = (handle_of(user_id), user["email"], name)
        return _shown_options(call, self._ceremonies.creation_options(_purpose(call), who, known))

    def register_passkey(self, call: Call, request: passkey_pb2.RegisterPasskeyRequest) -> Passkey:
        """Add a passkey."""
        user_id = call.caller.user_id
        try:
            new = self._ceremonies.made(_purpose(call), _json(request.credential))
        except WrongPasskey as error:
            raise wrong_passkey("credential") from error
        # One after the other, so that the limit holds.
        call.writes.run(LOCK_USER, user_id=user_id).one()
        if len(call.writes.run(LIST, user_id=user_id).all()) >= MOST:
            raise limit_reached(f"There are {MOST} passkeys already: remove one.", MOST, PASSKEY)
        row = call.writes.run(
            ADD,
            id=new_id(),
            user_id=user_id,
            credential_id=new.credential_id,
            credential=new.credential,
            sign_count=new.sign_count,
            name=request.name or UNNAMED,
            is_synced=new.is_synced,
        ).first()
        if row is None:
            raise taken(PASSKEY, "credential")
        send_letter(call, user_id, Kind.PASSKEY_ADDED)
        shown = _shown_passkey(row)
        told(call, shown)
        return shown

    def list_own_passkeys(self, call: Call, request: passkey_pb2.ListOwnPasskeysRequest) -> ListOwnPasskeysResponse:
        """The passkeys of the caller."""
        del request
        rows = call.reads.run(LIST, user_id=call.caller.user_id).all()
        return ListOwnPasskeysResponse(passkeys=[_shown_passkey(row) for row in rows])

    def rename_passkey(self, call: Call, request: passkey_pb2.RenamePasskeyRequest) -> Passkey:
        """Rename a passkey of the caller."""
        where = {"user_id": call.caller.user_id, "passkey_id": request.passkey_id}
        row = call.writes.run(RENAME, **where, name=request.name).first()
        if row is None:
            raise not_found(PASSKEY, request.passkey_id)
        shown = _shown_passkey(row)
        told(call, shown)
        return shown

    def remove_passkey(self, call: Call, request: passkey_pb2.RemovePasskeyRequest) -> Empty:
        """Remove a passkey of the caller."""
        user_id = call.caller.user_id
        if not call.writes.run(REMOVE, user_id=user_id, passkey_id=request.passkey_id).count:
            raise not_found(PASSKEY, request.passkey_id)
        send_letter(call, user_id, Kind.PASSKEY_REMOVED)
        return told(call, Passkey(id=request.passkey_id.lower()))

    # Signing in ----------------------------------------------------------------------------------------------------

    def start_passkey_log_in(self, call: Call, request: passkey_pb2.StartPasskeyLogInRequest) -> PasskeyOptions:
        """Options to sign in with a passkey."""
        del request
        return _shown_options(call, self._ceremonies.request_options())

    def log_in_with_passkey(self, call: Call, request: passkey_pb2.LogInWithPasskeyRequest) -> Session:
        """Exchange a passkey's answer for tokens."""
        try:
            user_id = self._proofs.user_of(call, request.credential)
        except WrongPasskey as error:
            raise Unauthenticated("The passkey is not valid here.") from error
        row = call.writes.run(BY_ID, user_id=user_id).first()
        if row is None:
            raise Unauthenticated("The passkey is not valid here.")
        session = self._sign_ins.open(call, row, self._sign_ins.place(call, row, request.tenant))
        self._guard.remember(call, user_id)
        return session


def wrong_passkey(field: str) -> Exception:
    """The problem of somebody signed in whose passkey's answer is not valid."""
    return broken_rules([Violation(field, "is no valid answer to options of this session", "passkey.wrong")])


def _purpose(call: Call) -> str:
    """A passkey is made in the session that asked for the options."""
    return f"register {call.caller.session_id}"


def _json(credential: Struct) -> Json:
    return dict(MessageToDict(credential))


def _shown_options(call: Call, made: tuple[Json, datetime]) -> PasskeyOptions:
    """The options and when they expire. A challenge is answered once, so that no cache keeps it."""
    call.headers.append(("cache-control", "no-store"))
    options, expires = made
    shown = PasskeyOptions()
    shown.options.update(options)
    shown.expire_time.FromDatetime(expires)
    return shown


def _shown_passkey(row: Row) -> Passkey:
    shown = Passkey(id=row["id"], name=row["name"], is_synced=row["is_synced"])
    shown.create_time.FromDatetime(row["create_time"])
    if row["last_use_time"] is not None:
        shown.last_use_time.FromDatetime(row["last_use_time"])
    return shown
