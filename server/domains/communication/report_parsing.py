"""Reports about a message, as mail servers send them: of its delivery (RFC 3464), and of complaints (RFC 5965)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.errors import MessageError
from email.message import Message
from typing import TYPE_CHECKING

from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.domains.communication.composing import RETURN_PREFIX, TOKEN_HEADER
from server.domains.communication.outcomes import LONGEST_ANSWER, Phase, outcome_of

if TYPE_CHECKING:
    Mime = Message[str, str]
else:
    # It is no generic class when it runs.
    Mime = Message
_S = EmailMessage.Status
_RETURN_PATH = re.compile(rf"\b{re.escape(RETURN_PREFIX)}([a-z2-7]{{26}})@", re.IGNORECASE)
_TOKEN = re.compile(r"[a-z2-7]{26}")
_CODE = re.compile(r"\b([245]\d\d)\b")
# A complaint; other kinds of feedback say that a message is none, or concern something else.
_COMPLAINTS = ("abuse", "fraud", "virus")
_HEADERS = ("text/rfc822-headers", "message/rfc822", "message/global", "message/global-headers")
_ADDRESSED = ("to", "delivered-to", "x-original-to", "envelope-to")
MOST_PARTS = 100


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says."""

    token: str
    """That of the message it is about."""
    status: int
    """What becomes of the message: DELIVERED, BOUNCED, FAILED or COMPLAINED; 0 if nothing does."""
    answer: str
    """In the words of the server."""


def report_of(content: bytes) -> Report | None:
    """The report in a mail. None for any other mail, and for one that does not name a message of ours."""
    try:
        mail = message_from_bytes(content)
        if mail.get_content_type() != "multipart/report":
            return None
        parts = _parts(mail)
        token = _token_of(mail, parts)
        return _said(token, parts) if token else None
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The standard parser fails at some mail that no program should have sent.
        return None


def _parts(mail: Mime) -> list[Mime]:
    """The parts of a mail and what is in them, MOST_PARTS at most."""
    found = []
    for part in mail.walk():
        found.append(part)
        if len(found) == MOST_PARTS:
            break
    return found


def _token_of(mail: Mime, parts: list[Mime]) -> str:
    """The token that a report names: by the address it was sent to, or in the headers of our message that it quotes."""
    for name in _ADDRESSED:
        for value in mail.get_all(name, []):
            if found := _RETURN_PATH.search(str(value)):
                return found[1].lower()
    for headers in _quoted(parts):
        token = str(headers.get(TOKEN_HEADER, "")).strip()
        if _TOKEN.fullmatch(token):
            return token
    return ""


def _quoted(parts: list[Mime]) -> Iterator[Mime]:
    for part in parts:
        if part.get_content_type() in _HEADERS:
            yield _inner(part)


def _inner(part: Mime) -> Mime:
    """The headers in a part. Those of the type message/* are parsed already."""
    payload = part.get_payload()
    first = payload[0] if isinstance(payload, list) and payload else None
    return first if isinstance(first, Message) else message_from_string(str(payload))


def _said(token: str, parts: list[Mime]) -> Report:
    for part in parts:
        kind = part.get_content_type()
        if kind in ("message/delivery-status", "message/global-delivery-status"):
            for block in part.walk():
                if block.get("action"):
                    return _delivery(token, block)
        if kind == "message/feedback-report":
            return _feedback(token, part)
    return Report(token, 0, "")


def _delivery(token: str, block: Mime) -> Report:
    """What is said about one recipient. A message of ours has no other one."""
    action = str(block["action"]).strip().lower()
    status = str(block.get("status", "")).strip()
    words = " ".join(str(block.get("diagnostic-code", "")).partition(";")[2].split())
    answer = _printable(f"{status} {words}".strip())
    if action == "delivered":
        return Report(token, _S.STATUS_DELIVERED, answer)
    if action != "failed":
        return Report(token, 0, answer)
    code = _CODE.search(words)
    # One that was tried for too long has a status of 4.
    is_lasting = status.startswith("5")
    outcome = outcome_of(Phase.RECIPIENT, int(code[1]) if code else 554, status) if is_lasting else None
    is_bounced = outcome is not None and outcome.status == _S.STATUS_BOUNCED
    return Report(token, _S.STATUS_BOUNCED if is_bounced else _S.STATUS_FAILED, answer)


def _feedback(token: str, part: Mime) -> Report:
    """What a receiver has said by the button of a mail program."""
    kind = str(_inner(part).get("feedback-type", "")).strip().lower()
    return Report(token, _S.STATUS_COMPLAINED if kind in _COMPLAINTS else 0, _printable(f"feedback: {kind}"))


def _printable(text: str) -> str:
    """What can be stored of the words of a server, which may hold any bytes."""
    return "".join(sign for sign in text if sign.isprintable())[:LONGEST_ANSWER]
