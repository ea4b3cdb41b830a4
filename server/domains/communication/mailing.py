"""Mailing: queued messages are handed to the SMTP server, each until it is accepted, refused or expired."""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress as ignoring
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import psycopg
from cryptography.exceptions import InvalidTag
from plinth.communication.v1.email_message_pb2 import EMAIL_CATEGORY_MARKETING
from plinth.communication.v1.email_suppression_pb2 import EmailSuppression

from server.data.connections import DatabaseUnavailable
from server.data.statements import Row
from server.data.transactions import Database, Scope
from server.domains.communication.composing import RETURN_PREFIX, compose
from server.domains.communication.dkim_signing import DkimSigner
from server.domains.communication.letterheads import Letterheads
from server.domains.communication.metrics import MESSAGES, SECONDS, outcome_label
from server.domains.communication.outcomes import Chance, Outcome
from server.domains.communication.queue import (
    BATCH,
    BOUNCED,
    DEFERRED,
    EXPIRED,
    FAILED,
    SUPPRESSED,
    UNCERTAIN,
    Claimed,
    Claims,
)
from server.domains.communication.records import record, record_suppression
from server.domains.communication.smtp import Relay
from server.domains.communication.suppressions import BOUNCED as HAS_BOUNCED
from server.domains.communication.suppressions import suppress
from server.kernel.clock import Clock
from server.kernel.mail_addresses import smtp_form
from server.kernel.ports import SECRET_PLACE
from server.kernel.sealing import SealedBox, UnknownKey
from server.kernel.work_queue import POLL, WorkQueue

log = logging.getLogger("plinth.mail")
TOO_LATE = "it was not sent before it expired"
LOST = "the worker that sent it was lost"
UNREADABLE = "what it holds was sealed with a secret that is accepted no more"
NO_LETTERHEAD = "the settings of the tenant cannot be read"
NO_SERVER = "no SMTP server is set: PLINTH_COMMUNICATION_SMTP_URL"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How mail is sent, by the settings."""

    sender: str
    api: str
    """Where the API is, for links."""
    bounce_domain: str = ""
    """The domain that reports are sent to. Empty if nobody reads them."""
    signer: DkimSigner | None = None

    def unsubscribe_url(self, row: Row) -> str:
        """What the receiver of a message follows to unsubscribe; empty for mail that is not marketing."""
        is_marketing = row["category"] == EMAIL_CATEGORY_MARKETING and row["token"]
        return f"{self.api}/api/v1/unsubscribe/{row['token']}" if is_marketing else ""

    def return_path(self, row: Row) -> str:
        """The address for reports about a message; empty for that of the sender."""
        return f"{RETURN_PREFIX}{row['token']}@{self.bounce_domain}" if self.bounce_domain and row["token"] else ""


class Mailer:
    """A background service that sends the mail of all tenants. Several workers run it."""

    def __init__(
        self,
        database: Database,
        threads: Executor,
        relay: Callable[[], Relay],
        box: SealedBox,
        letterheads: Letterheads,
        *,
        sending: Sending,
        connections: int,
        clock: Clock,
        chance: Chance = random.random,
    ) -> None:
        """`database` is that of the dispatch role. `relay` makes the connections to the server, for one run."""
        self._claims = Claims(database, clock, chance)
        self._database = database
        self._threads = threads
        self._relay = relay
        self._box = box
        self._letterheads = letterheads
        self._sending = sending
        self._queue = WorkQueue(self._claims.claim, threads, at_once=connections, what="message of mail")
        self._clock = clock

    async def run(self) -> None:
        """Send until cancelled. Messages that are under way then are finished first."""
        relay = self._relay()
        try:
            await self._in_thread(self._release)
            await self._queue.run(partial(self._deliver, relay))
        finally:
            await relay.close()

    def _release(self) -> None:
        """Release the messages that were held before there was a server."""
        total, released = 0, BATCH
        while released == BATCH:
            released = self._claims.release()
            total += released
        if total:
            log.info("%d messages that were held are released", total)

    async def _deliver(self, relay: Relay, claimed: Claimed) -> None:
        if claimed.has_expired(self._clock()):
            outcome = Outcome(EXPIRED, TOO_LATE)
        elif claimed.is_lost:
            outcome = Outcome(UNCERTAIN, LOST)
        elif claimed.row["suppression"] is not None:
            outcome = Outcome(SUPPRESSED, suppressed_words(claimed.row["suppression"]))
        else:
            outcome = await self._attempt(relay, claimed.row)
        try:
            await self._in_thread(lambda: self._finish(claimed, outcome))
        except (psycopg.Error, DatabaseUnavailable) as error:
            # The lease ends, and the message is UNCERTAIN then.
            log.warning("what became of message %s cannot be stored: %s", claimed.row["id"], type(error).__name__)

    async def _attempt(self, relay: Relay, row: Row) -> Outcome:
        try:
            text = opened(self._box, row)
            letterhead = await self._in_thread(lambda: self._letterheads.of(row["tenant_id"]))
        except (UnknownKey, InvalidTag):
            return Outcome(FAILED, UNREADABLE)
        except (psycopg.Error, DatabaseUnavailable):
            return Outcome(DEFERRED, NO_LETTERHEAD)
        to = smtp_form(row["to"])
        letter = compose(
            sender=self._sending.sender,
            sender_name=letterhead.sender_name,
            to=to,
            subject=row["subject"],
            text=text,
            html=row["html"],
            footer=letterhead.mail_footer,
            reply_to=smtp_form(row["reply_to"] or letterhead.reply_to),
            message_id=row["message_id"],
            time=row["create_time"],
            token=row["token"] or "",
            unsubscribe_url=self._sending.unsubscribe_url(row),
        )
        signer = self._sending.signer
        if signer is not None:
            letter = replace(letter, content=await self._in_thread(lambda: signer.sign(letter.content)))
        with SECONDS.time():
            return await relay.send(to, letter, self._sending.return_path(row))

    def _finish(self, claimed: Claimed, outcome: Outcome) -> None:
        with self._database.write(Scope()) as transaction:
            after = self._claims.finish(transaction, claimed, outcome)
            if after is None:
                return
            # Mail about accounts belongs to no tenant. A message that is tried again has not ended.
            if after.tenant_id and not after.HasField("next_attempt_time"):
                record(transaction, after, claimed.row["attempts"], self._clock())
                if after.status == BOUNCED:
                    made = suppress(transaction, claimed.row, HAS_BOUNCED, self._clock())
                    record_suppression(transaction, made, self._clock())
        MESSAGES.labels(outcome_label(after.status)).inc()
        # The answer of the server may name the person.
        log.info("message %s: %s", after.id, outcome_label(after.status))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Holder:
    """A background service that holds the mail of all tenants, where no SMTP server is set.

    On a desk, where the gateway listens on loopback in development, it logs each message, so that somebody who tries
    signing up can follow the link in it.
    """

    def __init__(
        self, database: Database, threads: Executor, box: SealedBox, *, shows_text: bool, clock: Clock
    ) -> None:
        """`database` is that of the dispatch role."""
        self._claims = Claims(database, clock, random.random)
        self._threads = threads
        self._box = box
        self._shows_text = shows_text

    async def run(self) -> None:
        """Hold until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                for row in await loop.run_in_executor(self._threads, self._hold):
                    self._log(row)
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.warning("no mail can be held: %s", type(error).__name__)
            await asyncio.sleep(POLL)

    def _hold(self) -> list[Row]:
        return self._claims.hold(100, NO_SERVER)

    def _log(self, row: Row) -> None:
        log.info("message %s is held: %s", row["id"], NO_SERVER)
        if self._shows_text:
            with ignoring(UnknownKey, InvalidTag):
                log.info("mail to %s: %s\n\n%s\n", row["to"], row["subject"], opened(self._box, row))


def opened(box: SealedBox, row: Row) -> str:
    """The text of a message with its secret. Raises UnknownKey and InvalidTag."""
    if row["secret"] is None:
        return str(row["text"])
    return str(row["text"]).replace(SECRET_PLACE, box.open(row["secret"], row["id"]).decode())


def suppressed_words(reason: int) -> str:
    """Why a message to an address that is suppressed was not sent."""
    return f"its address is suppressed: {EmailSuppression.Reason.Name(reason).removeprefix('REASON_').lower()}"
