"""Codes of second factors, as sign-ins send them: of an authenticator app, or recovery codes.

Wrong codes of the app are counted by user, apart from wrong passwords: only who knows the password gets to send one, so
that the app can be locked without locking anybody out who does not. The owner is told, and recovery codes still work.
"""

import logging
from datetime import timedelta

from cryptography.exceptions import InvalidTag
from plinth.identity.v1.user_pb2 import User
from sqlalchemy import Double, bindparam, case, cast, extract, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import UUID

from server.data.statements import Row, Statement
from server.domains.identity.letters import Kind, send_letter
from server.domains.identity.recovery_codes import RecoveryCodes
from server.domains.identity.tables import authenticators
from server.domains.identity.totp import DIGITS, matching_step
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Problem, RateLimited
from server.kernel.sealing import SealedBox, UnknownKey

log = logging.getLogger("plinth.identity")
PURPOSE = "authenticator secret"
FAILURES = 5
"""Wrong codes in a row after which the app is locked."""
FIRST_LOCK, LONGEST_LOCK = timedelta(minutes=15), timedelta(days=1)
"""Each further lock is twice as long as the one before: somebody who knows the password tries some 40 codes on the
first day and five on each day after it, of a million."""
_app = authenticators.c
_user = bindparam("user_id", type_=UUID(as_uuid=False))
LOCK = Statement(
    select(
        *(_app.secret, _app.enable_time, _app.next_secret, _app.last_step, _app.failures),
        (_app.next_expire_time > func.now()).label("is_started"),
        cast(extract("epoch", _app.lock_expire_time - func.now()), Double()).label("locked_for"),
    )
    .where(_app.user_id == _user)
    .with_for_update()
)
"""The authenticator of a user, locked."""
TAKE = Statement(
    update(authenticators)
    .where(_app.user_id == _user)
    .values(last_step=bindparam("step", type_=_app.last_step.type), failures=text("0"), lock_expire_time=text("NULL"))
)
_seconds = bindparam("seconds", type_=_app.failures.type)
FAIL = Statement(
    update(authenticators)
    .where(_app.user_id == _user)
    .values(
        failures=bindparam("failures", type_=_app.failures.type),
        # NULL rather than now, which is later than the now of a transaction that waits for this one.
        lock_expire_time=case((_seconds > text("0"), func.now() + _seconds * literal_column("interval '1 second'"))),
    )
)
"""Takes `seconds` for which no code is taken: 0 for none."""


class SecondFactorCodes:
    """Takes the codes of second factors."""

    def __init__(self, box: SealedBox, recovery: RecoveryCodes, clock: Clock) -> None:
        """`box` holds the secrets of authenticator apps, see PURPOSE."""
        self._box = box
        self._recovery = recovery
        self._clock = clock

    def use(self, call: Call, user_id: str, code: str, wrong: Problem) -> Problem | None:
        """Use a code up. Returns the problem of one that is not taken: `wrong`, or RateLimited.

        The call has to commit even then (Call.refuse_after_commit), so that the failure counts.
        """
        row = call.writes.run(LOCK, user_id=user_id).first()
        if row is None or row["enable_time"] is None:
            return wrong
        plain = plain_code(code)
        if len(plain) == DIGITS and plain.isascii() and plain.isdigit():
            return self._use_of_app(call, user_id, row, plain, wrong)
        if not self._recovery.use(call, user_id, plain):
            return wrong
        call.emit("user.recovery_code_used", user_id, User(id=user_id))
        send_letter(call, user_id, Kind.RECOVERY_CODE_USED)
        return None

    def are_needed(self, call: Call, user_id: str) -> bool:
        """Whether a user has a second factor."""
        row = call.writes.run(LOCK, user_id=user_id).first()
        return row is not None and row["enable_time"] is not None

    def step_of(self, sealed: bytes, user_id: str, code: str, after: int) -> int | None:
        """The time step of a code of the app with this secret; None if it is wrong, or was used."""
        try:
            secret = self._box.open(sealed, user_id)
        except (UnknownKey, InvalidTag):
            log.exception("the authenticator of user %s opens under no key: a recovery code helps", user_id)
            return None
        return matching_step(secret, code, self._clock(), after)

    def _use_of_app(self, call: Call, user_id: str, row: Row, code: str, wrong: Problem) -> Problem | None:
        if row["locked_for"] is not None and row["locked_for"] > 0:
            return _locked(float(row["locked_for"]))
        step = self.step_of(row["secret"], user_id, code, row["last_step"])
        if step is not None:
            call.writes.queue(TAKE, user_id=user_id, step=step)
            return None
        failures = row["failures"] + 1
        seconds = lock_after(failures)
        call.writes.queue(FAIL, user_id=user_id, failures=failures, seconds=seconds)
        if seconds:
            call.emit("user.second_factor_locked", user_id, User(id=user_id))
            send_letter(call, user_id, Kind.SECOND_FACTOR_LOCKED)
        return wrong


def plain_code(code: str) -> str:
    """A code in small letters, without blanks and hyphens."""
    return "".join(code.split()).replace("-", "").lower()


def lock_after(failures: int) -> int:
    """The seconds for which the app is locked after this many wrong codes in a row; 0 if it is not."""
    locks, rest = divmod(failures, FAILURES)
    if rest or not locks:
        return 0
    longest = int(LONGEST_LOCK.total_seconds())
    # The power is bounded, so that it stays a small number.
    return min(int(FIRST_LOCK.total_seconds()) << min(locks - 1, 10), longest)


def _locked(seconds: float) -> Problem:
    return RateLimited(
        "Too many wrong codes: no code of the app is taken for a while. A recovery code is.",
        metadata={
            "rate_class": "second_factor",
            "limit": str(FAILURES),
            "period_seconds": str(int(FIRST_LOCK.total_seconds())),
            "scope": "account",
        },
        retry_after=seconds,
    )
