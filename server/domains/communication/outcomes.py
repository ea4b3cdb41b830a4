"""What becomes of a message by the answers of an SMTP server (RFC 5321, RFC 3463), and when it is tried again."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from plinth.communication.v1.email_message_pb2 import EmailMessage

Chance = Callable[[], float]
"""A random number from 0 to 1."""
_STATUS = EmailMessage.Status
LIFETIME = timedelta(hours=72)
"""Until when a message is tried after it was queued."""
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 480, 720))
"""Before the next attempt, after the first, the second and so on; the last one from then on."""
IN_DOUBT = timedelta(minutes=15)
MOST_DOUBTS = 2
"""Attempts whose outcome may be unknown: the second one is the last."""
LONGEST_ANSWER = 500
_ENHANCED = re.compile(r"^\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_TEMPORARY, _PERMANENT = 400, 500


class Phase(Enum):
    """How far an attempt had come."""

    CONNECT = auto()
    """Connecting, TLS, EHLO, AUTH: it is about the server, not about the message."""
    SENDER = auto()
    """MAIL FROM: it is about our sender."""
    RECIPIENT = auto()
    """RCPT TO."""
    SENT = auto()
    """DATA: the whole message may have been sent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to."""

    status: int
    """ACCEPTED, DEFERRED, UNCERTAIN, BOUNCED or FAILED."""
    answer: str
    """The answer of the server, or why there was none."""


def outcome_of(phase: Phase, code: int, text: str) -> Outcome:
    """The outcome of an answer of the server that ended the attempt."""
    answer = f"{code} {text}".strip()[:LONGEST_ANSWER]
    if phase is Phase.SENT and code < _TEMPORARY:
        return Outcome(_STATUS.STATUS_ACCEPTED, answer)
    if code < _PERMANENT or phase is Phase.CONNECT or _is_full(text):
        return Outcome(_STATUS.STATUS_DEFERRED, answer)
    if phase is Phase.RECIPIENT and _is_about_address(code, text):
        return Outcome(_STATUS.STATUS_BOUNCED, answer)
    return Outcome(_STATUS.STATUS_FAILED, answer)


def outcome_of_loss(phase: Phase, why: str) -> Outcome:
    """The outcome of a connection that was lost, or of an answer that did not come in time."""
    status = _STATUS.STATUS_UNCERTAIN if phase is Phase.SENT else _STATUS.STATUS_DEFERRED
    return Outcome(status, why[:LONGEST_ANSWER])


def unsupported(phase: Phase, why: str) -> Outcome:
    """The outcome where the server lacks what is needed: STARTTLS, which it may get, or else what the message needs."""
    status = _STATUS.STATUS_DEFERRED if phase is Phase.CONNECT and "STARTTLS" in why else _STATUS.STATUS_FAILED
    return Outcome(status, why[:LONGEST_ANSWER])


def pause_after(attempts: int, chance: Chance = random.random) -> timedelta:
    """The pause after this number of attempts, randomly longer by up to a tenth."""
    pause = PAUSES[min(attempts, len(PAUSES)) - 1]
    return pause * (1 + chance() / 10)


def _is_full(text: str) -> bool:
    """Whether a mailbox is full (5.2.2): somebody may empty it."""
    found = _ENHANCED.match(text)
    return found is not None and found.groups() == ("5", "2", "2")


def _is_about_address(code: int, text: str) -> bool:
    """Whether a refusal says that the address does not exist, and not that we may not write to it."""
    found = _ENHANCED.match(text)
    if found is None:
        # Without an enhanced code, 550 is most of all an unknown mailbox, and 553 a name that is not allowed.
        return code in (550, 551, 553)
    # 5.1.7 and 5.1.8 are about the address of the sender.
    return (found[2] == "1" and found[3] not in ("7", "8")) or found.groups() == ("5", "2", "1")
