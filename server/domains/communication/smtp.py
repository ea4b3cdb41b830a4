"""Handing a message to the SMTP server of the deployment, command by command, so that it is known how far it came.

Connections are kept for the next message. TLS is not left out: where the server offers no STARTTLS, nothing is sent.
"""

import ssl
from collections import deque
from email.utils import parseaddr
from time import monotonic
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP, SMTPException, SMTPNotSupported, SMTPResponse, SMTPResponseException

from server.domains.communication.composing import Letter
from server.domains.communication.outcomes import Outcome, Phase, outcome_of, outcome_of_loss, unsupported
from server.setting_values import LOOPBACK_HOSTS

# Seconds that an unused connection is kept. Servers close them after some minutes (RFC 5321, 4.5.3.2.7: 5 minutes).
KEPT = 30.0
# Seconds for a connection with its greeting.
CONNECT_TIMEOUT = 10.0
# Seconds for the answer to QUIT.
LEAVE_TIMEOUT = 1.0
DEFAULT_PORTS = {"smtp": 587, "smtps": 465}


class Relay:
    """The SMTP server that takes all mail."""

    def __init__(self, url: str, sender: str, timeout: float) -> None:
        """`url` is that of the settings; `timeout` is seconds for one answer."""
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._has_tls = parts.scheme == "smtps"
        # What stays on this machine needs no encryption.
        self._upgrades = not self._has_tls and self._host not in LOOPBACK_HOSTS
        self._sender = parseaddr(sender)[1]
        self._timeout = timeout
        self._idle: deque[tuple[SMTP, float]] = deque()

    async def send(self, to: str, letter: Letter, return_path: str = "") -> Outcome:
        """Hand a message over. Never raises for a fault of the server.

        `return_path` is the address that reports about it go to; empty for that of the sender.
        """
        attempt = _Attempt()
        try:
            client = attempt.client = await self._connected()
            response = await self._hand_over(attempt, client, to, letter, return_path or self._sender)
        except SMTPNotSupported as error:
            outcome = unsupported(attempt.phase, str(error))
        except SMTPResponseException as error:
            outcome = outcome_of(attempt.phase, error.code, error.message)
        except (SMTPException, OSError) as error:
            outcome = outcome_of_loss(attempt.phase, _why(error))
        except BaseException:
            attempt.drop()
            raise
        else:
            outcome = outcome_of(attempt.phase, response.code, response.message)
        self._keep(attempt)
        return outcome

    async def close(self) -> None:
        """Take leave of the server on all connections."""
        while self._idle:
            client, _ = self._idle.pop()
            try:
                await client.quit(timeout=LEAVE_TIMEOUT)
            except (SMTPException, OSError):
                client.close()

    async def _hand_over(
        self, attempt: "_Attempt", client: SMTP, to: str, letter: Letter, return_path: str
    ) -> SMTPResponse:
        is_plain = to.isascii() and not letter.has_utf8_headers
        if not is_plain and not client.supports_extension("smtputf8"):
            raise SMTPNotSupported("the SMTP server takes no addresses beyond ASCII (SMTPUTF8)")
        encoding = "ascii" if is_plain else "utf-8"
        attempt.phase = Phase.SENDER
        await client.mail(return_path, options=() if is_plain else ("SMTPUTF8",), encoding=encoding)
        attempt.phase = Phase.RECIPIENT
        await client.rcpt(to, encoding=encoding)
        # From here on, a connection that is lost may have been lost after the last dot.
        attempt.phase = Phase.SENT
        return await client.data(letter.content)

    async def _connected(self) -> SMTP:
        """A connection that has just answered."""
        while self._idle:
            client, since = self._idle.pop()
            if monotonic() - since < KEPT and await _is_alive(client):
                return client
            client.close()
        client = SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user or None,
            password=self._password or None,
            use_tls=self._has_tls,
            start_tls=self._upgrades,
            tls_context=ssl.create_default_context() if self._has_tls or self._upgrades else None,
            timeout=self._timeout,
        )
        await client.connect(timeout=min(CONNECT_TIMEOUT, self._timeout))
        await client.ehlo()
        return client

    def _keep(self, attempt: "_Attempt") -> None:
        """Keep a connection that still stands. RSET ends what it has begun, before it is used again."""
        if attempt.client is not None and attempt.client.is_connected:
            self._idle.append((attempt.client, monotonic()))


class _Attempt:
    """How far an attempt has come."""

    def __init__(self) -> None:
        self.client: SMTP | None = None
        self.phase = Phase.CONNECT

    def drop(self) -> None:
        """Close the connection."""
        if self.client is not None:
            self.client.close()


async def _is_alive(client: SMTP) -> bool:
    if not client.is_connected:
        return False
    try:
        await client.rset()
    except (SMTPException, OSError):
        return False
    return True


def _why(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
