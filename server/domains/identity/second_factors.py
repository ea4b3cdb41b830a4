"""The second factor of the caller: enrolment of an authenticator app, and recovery codes."""

from typing import ClassVar

from google.protobuf.empty_pb2 import Empty
from plinth.identity.v1 import second_factor_pb2
from plinth.identity.v1.second_factor_pb2 import RecoveryCodes as ShownCodes
from plinth.identity.v1.second_factor_pb2 import SecondFactor, TotpSecret
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import bindparam, case, delete, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID, insert

from server.data.statements import Statement
from server.domains.identity.accounts import END_ALL, end_sessions, told
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.recovery_codes import RecoveryCodes
from server.domains.identity.second_factor_codes import LOCK, SecondFactorCodes, plain_code
from server.domains.identity.tables import authenticators, recovery_codes
from server.domains.identity.totp import enrolment_url, new_secret, typed
from server.domains.identity.user_rows import BY_ID, LOCK_USER, USER
from server.kernel.call import Call
from server.kernel.problems import StateForbids, Violation, broken_rules, not_found
from server.kernel.resources import EventFacts, Service
from server.kernel.sealing import SealedBox

SECOND_FACTOR = "plinth.dev/SecondFactor"
_app = authenticators.c
_user = bindparam("user_id", type_=UUID(as_uuid=False))
_next = bindparam("next_secret", type_=_app.next_secret.type)
_until = func.now() + literal_column("interval '1 hour'")
START = Statement(
    insert(authenticators)
    .values(user_id=_user, next_secret=_next, next_expire_time=_until)
    .on_conflict_do_update(index_elements=[_app.user_id], set_={"next_secret": _next, "next_expire_time": _until})
    .returning(_app.next_expire_time)
)
CONFIRM = Statement(
    update(authenticators)
    .where(_app.user_id == _user)
    .values(
        secret=_app.next_secret,
        next_secret=text("NULL"),
        next_expire_time=text("NULL"),
        enable_time=func.now(),
        last_step=bindparam("step", type_=_app.last_step.type),
        failures=text("0"),
        lock_expire_time=text("NULL"),
    )
)
REMOVE = Statement(delete(authenticators).where(_app.user_id == _user, _app.enable_time.is_not(None)))
_left = (
    select(func.count())
    .where(recovery_codes.c.user_id == _user, recovery_codes.c.use_time.is_(None))
    .scalar_subquery()
    .label("left")
)
STATE = Statement(
    select(
        _app.enable_time,
        case((_app.lock_expire_time > func.now(), _app.lock_expire_time)).label("lock_expire_time"),
        _left,
    ).where(_app.user_id == _user, _app.enable_time.is_not(None))
)


class SecondFactorService(Service):
    """The second factor of the caller."""

    descriptor = second_factor_pb2.DESCRIPTOR.services_by_name["SecondFactorService"]
    events: ClassVar = {
        "user.totp_started": EventFacts(User),
        "user.second_factor_enabled": EventFacts(User),
        "user.second_factor_disabled": EventFacts(User),
        "user.recovery_codes_replaced": EventFacts(User),
        "user.second_factor_reset": EventFacts(User),
    }

    def __init__(self, box: SealedBox, codes: SecondFactorCodes, recovery: RecoveryCodes, product: str) -> None:
        """`product` is the name under which an authenticator app lists the account."""
        super().__init__()
        self._box = box
        self._codes = codes
        self._recovery = recovery
        self._product = product

    def get_second_factor(self, call: Call, request: second_factor_pb2.GetSecondFactorRequest) -> SecondFactor:
        """The state of the caller's second factor."""
        del request
        row = call.reads.run(STATE, user_id=call.caller.user_id).first()
        if row is None:
            return SecondFactor()
        shown = SecondFactor(is_enabled=True, recovery_codes_left=row["left"])
        shown.enable_time.FromDatetime(row["enable_time"])
        if row["lock_expire_time"] is not None:
            shown.lock_expire_time.FromDatetime(row["lock_expire_time"])
        return shown

    def start_totp(self, call: Call, request: second_factor_pb2.StartTotpRequest) -> TotpSecret:
        """A secret for an app, which counts once it is confirmed."""
        del request
        user_id, secret = call.caller.user_id, new_secret()
        email = call.writes.run(BY_ID, user_id=user_id).one()["email"]
        expires = call.writes.run(START, user_id=user_id, next_secret=self._box.seal(secret, user_id)).value()
        told(call)
        shown = TotpSecret(secret=typed(secret), url=enrolment_url(secret, email, self._product))
        shown.expire_time.FromDatetime(expires)
        return shown

    def confirm_totp(self, call: Call, request: second_factor_pb2.ConfirmTotpRequest) -> ShownCodes:
        """Confirm an app with its first code."""
        user_id = call.caller.user_id
        row = call.writes.run(LOCK, user_id=user_id).first()
        if row is None or not row["is_started"]:
            raise _forbidden("Call StartTotp first: no secret waits for its code.", "not_started")
        step = self._codes.step_of(row["next_secret"], user_id, plain_code(request.code), 0)
        if step is None:
            raise broken_rules([Violation("code", "is not what the app shows now", "code.wrong")])
        call.writes.queue(CONFIRM, user_id=user_id, step=step)
        codes = self._recovery.replace(call, user_id)
        send_letter(call, user_id, Kind.SECOND_FACTOR_ENABLED)
        told(call)
        return ShownCodes(codes=codes)

    def disable_totp(self, call: Call, request: second_factor_pb2.DisableTotpRequest) -> Empty:
        """End the second factor."""
        del request
        user_id = call.caller.user_id
        if not call.writes.run(REMOVE, user_id=user_id).count:
            raise _forbidden("There is no second factor.", "disabled")
        self._recovery.remove(call, user_id)
        send_letter(call, user_id, Kind.SECOND_FACTOR_DISABLED)
        return told(call)

    def replace_recovery_codes(self, call: Call, request: second_factor_pb2.ReplaceRecoveryCodesRequest) -> ShownCodes:
        """New recovery codes."""
        del request
        user_id = call.caller.user_id
        row = call.writes.run(LOCK, user_id=user_id).first()
        if row is None or row["enable_time"] is None:
            raise _forbidden("There is no second factor to recover: call StartTotp first.", "disabled")
        codes = self._recovery.replace(call, user_id)
        told(call)
        return ShownCodes(codes=codes)

    def reset_second_factor(self, call: Call, request: second_factor_pb2.ResetSecondFactorRequest) -> Empty:
        """End the second factor of somebody else, and all sessions."""
        user_id = request.user_id.lower()
        if call.writes.run(LOCK_USER, user_id=user_id).first() is None:
            raise not_found(USER, request.user_id)
        if not call.writes.run(REMOVE, user_id=user_id).count:
            raise _forbidden("This user has no second factor.", "disabled")
        self._recovery.remove(call, user_id)
        end_sessions(call, END_ALL, user_id, "second factor reset")
        send_letter(call, user_id, Kind.SECOND_FACTOR_RESET)
        call.event_payload = User(id=user_id)
        return Empty()


def _forbidden(message: str, state: str) -> StateForbids:
    return StateForbids(message, metadata={"resource_type": SECOND_FACTOR, "state": state})
