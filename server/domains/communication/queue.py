"""The queue of mail: messages are put into it in the transaction of a change, and workers claim them.

A worker claims a message by a lease and the status SENDING. A message whose lease ends in that status was lost with its
worker, perhaps after it was sent: it is UNCERTAIN.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from plinth.communication.v1.email_message_pb2 import (
    EMAIL_CATEGORY_MARKETING,
    EMAIL_CATEGORY_TRANSACTIONAL,
    EmailMessage,
)
from sqlalchemy import bindparam, case, func, insert, literal_column, null, text, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import DateTime, Integer, LargeBinary, SmallInteger, Text, TypeEngine

from server.data.statements import Row, Statement
from server.data.transactions import Database, Scope, WriteTransaction
from server.domains.communication.outcomes import (
    IN_DOUBT,
    LIFETIME,
    MOST_DOUBTS,
    Chance,
    Outcome,
    pause_after,
)
from server.domains.communication.tables import HIDDEN, email_messages
from server.kernel.clock import Clock
from server.kernel.ids import new_id
from server.kernel.ports import Mail
from server.kernel.resources import ConversionPlan
from server.kernel.sealing import SealedBox

_S = EmailMessage.Status
QUEUED, SENDING, ACCEPTED, DEFERRED, UNCERTAIN, BOUNCED, FAILED, HELD, CANCELLED, EXPIRED, SUPPRESSED = (
    *(_S.STATUS_QUEUED, _S.STATUS_SENDING, _S.STATUS_ACCEPTED, _S.STATUS_DEFERRED, _S.STATUS_UNCERTAIN),
    *(_S.STATUS_BOUNCED, _S.STATUS_FAILED, _S.STATUS_HELD, _S.STATUS_CANCELLED, _S.STATUS_EXPIRED),
    _S.STATUS_SUPPRESSED,
)
DELIVERED, COMPLAINED = _S.STATUS_DELIVERED, _S.STATUS_COMPLAINED
LEASE = timedelta(minutes=5)
"""Longer than an attempt may take."""
BATCH = 1000
"""Held messages that one transaction releases."""
URGENT, ORDINARY = 0, 1
TOKEN_BYTES = 16
AnyType = TypeEngine[Any]
_uuid = UUID(as_uuid=False)
_time = DateTime(timezone=True)
_ADDED = (
    *("id", "tenant_id", "user_id", "to", "to_folded", "subject", "text", "secret", "reply_to", "message_id"),
    *("status", "priority", "next_attempt_time", "expire_time", "category", "token"),
)
ADD = Statement(
    insert(email_messages).values({name: bindparam(name, type_=email_messages.c[name].type) for name in _ADDED})
)
_CLAIMED: dict[str, AnyType] = {
    "id": _uuid,
    "tenant_id": _uuid,
    "to": Text(),
    "subject": Text(),
    "text": Text(),
    "html": Text(),
    "secret": LargeBinary(),
    "reply_to": Text(),
    "message_id": Text(),
    "attempts": Integer(),
    "doubts": Integer(),
    "create_time": _time,
    "expire_time": _time,
    "lease_time": _time,
    "category": SmallInteger(),
    "token": Text(),
    # The status is that before the claim. The reason is NULL for an address that is not suppressed.
    "status": SmallInteger(),
    "suppression": SmallInteger(),
}
_SHOWN = ", ".join(f'email_messages."{name}"' for name in _CLAIMED if name not in ("status", "suppression"))
_SUPPRESSION = """
SELECT min(suppressed.reason) FROM email_suppressions AS suppressed
 WHERE suppressed.tenant_id = email_messages.tenant_id
   AND suppressed.address_hash
       = sha256(convert_to(email_messages.tenant_id::text || ':' || email_messages.to_folded, 'UTF8'))
   AND suppressed.category IN (0, email_messages.category)
   AND (suppressed.expire_time IS NULL OR suppressed.expire_time > CAST(:now AS timestamptz))
"""
# A message in status SENDING that can be claimed has lost its worker: the status before tells.
CLAIM = Statement(
    text(
        f"""
WITH due AS MATERIALIZED (
    SELECT id, status FROM email_messages
     WHERE next_attempt_time <= CAST(:now AS timestamptz)
     ORDER BY priority, next_attempt_time LIMIT CAST(:room AS int)
       FOR UPDATE SKIP LOCKED
)
UPDATE email_messages
   SET status = {SENDING}, lease_time = CAST(:lease AS timestamptz), next_attempt_time = CAST(:lease AS timestamptz),
       version = version + 1, update_time = now()
  FROM due
 WHERE email_messages.id = due.id
RETURNING {_SHOWN}, due.status AS status, ({_SUPPRESSION}) AS suppression
"""  # noqa: S608 - all of it stands here
    ).columns(**_CLAIMED)
)
PLAN = ConversionPlan(EmailMessage, email_messages, HIDDEN, ("template",))
_accepted = bindparam("accepted", type_=_time)
FINISH = Statement(
    update(email_messages)
    .where(
        email_messages.c.id == bindparam("message", type_=_uuid),
        email_messages.c.lease_time == bindparam("lease", type_=_time),
    )
    .values(
        status=bindparam("outcome", type_=SmallInteger()),
        attempts=bindparam("tried", type_=Integer()),
        doubts=bindparam("doubted", type_=Integer()),
        last_answer=bindparam("answer", type_=Text()),
        next_attempt_time=bindparam("again", type_=_time),
        lease_time=null(),
        accept_time=_accepted,
        secret=case((_accepted.is_(None), email_messages.c.secret), else_=null()),
        version=email_messages.c.version + literal_column("1"),
        update_time=func.now(),
    )
    .returning(*PLAN.columns)
)
HOLD = Statement(
    text(
        f"""
WITH due AS MATERIALIZED (
    SELECT id FROM email_messages WHERE next_attempt_time <= CAST(:now AS timestamptz)
     ORDER BY priority, next_attempt_time LIMIT CAST(:room AS int) FOR UPDATE SKIP LOCKED
)
UPDATE email_messages
   SET status = {HELD}, next_attempt_time = NULL, last_answer = :answer, version = version + 1, update_time = now()
  FROM due
 WHERE email_messages.id = due.id
RETURNING email_messages.id, email_messages."to", email_messages.subject, email_messages.text, email_messages.secret
"""  # noqa: S608 - all of it stands here
    ).columns(id=_uuid, to=Text(), subject=Text(), text=Text(), secret=LargeBinary())
)
RELEASE = Statement(
    text(
        f"""
WITH held AS MATERIALIZED (
    SELECT id, expire_time > CAST(:now AS timestamptz) AS is_good FROM email_messages
     WHERE status = {HELD} ORDER BY id LIMIT {BATCH} FOR UPDATE SKIP LOCKED
)
UPDATE email_messages
   SET status = CASE WHEN held.is_good THEN {QUEUED} ELSE {EXPIRED} END,
       next_attempt_time = CASE WHEN held.is_good THEN CAST(:now AS timestamptz) END,
       last_answer = '', version = version + 1, update_time = now()
  FROM held
 WHERE email_messages.id = held.id
"""  # noqa: S608 - all of it stands here
    )
)


def row_of(mail: Mail, now: datetime, box: SealedBox, domain: str) -> Row:
    """The row of a new message. `domain` is that of the sender, for the Message-ID."""
    new = new_id()
    return {
        "id": new,
        "tenant_id": mail.tenant_id or None,
        "user_id": mail.user_id or None,
        "to": mail.to,
        "to_folded": mail.to.lower(),
        "subject": mail.subject,
        "text": mail.text,
        "secret": box.seal(mail.secret.encode(), new) if mail.secret else None,
        "reply_to": "",
        "message_id": f"<{new}@{domain}>",
        "status": QUEUED,
        "priority": URGENT if mail.secret else ORDINARY,
        "next_attempt_time": now,
        "expire_time": now + (mail.lifetime or LIFETIME),
        "category": EMAIL_CATEGORY_TRANSACTIONAL,
        "token": new_token() if mail.tenant_id else None,
    }


def new_token() -> str:
    """What a message is named by in links and reports: 128 random bits, in letters that every mail server keeps."""
    return base64.b32encode(secrets.token_bytes(TOKEN_BYTES)).decode().rstrip("=").lower()


class MailQueue:
    """The port by which other domains send mail."""

    def __init__(self, box: SealedBox, domain: str, clock: Clock) -> None:
        self._box = box
        self._domain = domain
        self._clock = clock

    def add(self, transaction: WriteTransaction, mail: Mail) -> None:
        """Queue a message. It commits with the transaction, which has to reach the tenant or the platform."""
        transaction.queue(ADD, **row_of(mail, self._clock(), self._box, self._domain))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that a worker has claimed."""

    row: Row

    def has_expired(self, now: datetime) -> bool:
        """Whether it came to be claimed too late, such as after a day without workers."""
        return bool(self.row["expire_time"] <= now)

    @property
    def is_lost(self) -> bool:
        """Whether the worker that had it before was lost while it sent it."""
        return bool(self.row["status"] == SENDING)

    @property
    def most_doubts(self) -> int:
        """Attempts whose outcome may be unknown: one of marketing is not worth getting it twice."""
        return 1 if self.row["category"] == EMAIL_CATEGORY_MARKETING else MOST_DOUBTS


class Claims:
    """The queue, as a worker sees it."""

    def __init__(self, database: Database, clock: Clock, chance: Chance) -> None:
        """`database` is that of the dispatch role."""
        self._database = database
        self._clock = clock
        self._chance = chance

    def claim(self, room: int) -> list[Claimed]:
        """Claim messages that are due: the urgent ones first, then the longest due."""
        now = self._clock()
        with self._database.write(Scope()) as transaction:
            return [Claimed(row) for row in transaction.run(CLAIM, now=now, lease=now + LEASE, room=room).all()]

    def hold(self, room: int, answer: str) -> list[Row]:
        """Hold messages that are due, where no server takes them."""
        with self._database.write(Scope()) as transaction:
            return transaction.run(HOLD, now=self._clock(), room=room, answer=answer).all()

    def release(self) -> int:
        """Queue held messages again, or let them expire: at most BATCH. Returns their number."""
        with self._database.write(Scope()) as transaction:
            return transaction.run(RELEASE, now=self._clock()).count

    def finish(self, transaction: WriteTransaction, claimed: Claimed, outcome: Outcome) -> EmailMessage | None:
        """Write what became of a message. The message as it is now; None if its lease has ended meanwhile."""
        row = claimed.row
        now = self._clock()
        attempts = row["attempts"] + (outcome.status not in (EXPIRED, SUPPRESSED))
        doubts = row["doubts"] + (outcome.status == UNCERTAIN)
        status, again = self._next(claimed, outcome, now, attempts, doubts)
        result = transaction.run(
            FINISH,
            message=row["id"],
            lease=row["lease_time"],
            outcome=status,
            tried=attempts,
            doubted=doubts,
            answer=outcome.answer,
            again=again,
            accepted=now if status == ACCEPTED else None,
        )
        return PLAN.message(result.raw(0)) if result.returned else None

    def _next(
        self, claimed: Claimed, outcome: Outcome, now: datetime, attempts: int, doubts: int
    ) -> tuple[int, datetime | None]:
        """The status that follows, and when it is tried again."""
        row = claimed.row
        if outcome.status == DEFERRED:
            again = now + pause_after(attempts, self._chance)
            return (DEFERRED, again) if again < row["expire_time"] else (EXPIRED, None)
        if outcome.status == UNCERTAIN and doubts < claimed.most_doubts:
            again = now + IN_DOUBT
            return UNCERTAIN, again if again < row["expire_time"] else None
        return outcome.status, None
