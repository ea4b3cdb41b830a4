"""Sends webhooks over aiohttp, to checked addresses, with time limits for everything that a receiver can delay.

Names are resolved by a resolver of Plinth, which refuses a name if any of its addresses is not allowed. Only addresses
that it returned are connected to, and each is checked again right before. TLS still requires a certificate of the name.
Redirects are ordinary answers, and no proxy is taken from the environment. A webhook may name any port: its owner is
responsible for what listens on the internet.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from time import perf_counter
from types import SimpleNamespace

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from server.adapters.failures import in_words
from server.kernel.egress import NOT_ALLOWED, Egress

USER_AGENT = f"Plinth-Webhooks/{version('plinth-server')}"
# Seconds.
TOTAL = 15.0
CONNECT = 5.0
# The status decides. A body that arrives slowly is not read for long.
BODY = 3.0
BODY_BYTES = 4096
# Shorter than the keep-alive of most servers, so that few connections are found closed.
KEEP_ALIVE = 4.0
NAMES_KEPT = 10
# Threads for look-ups. A name server that does not answer blocks one for the timeout of the system's resolver.
LOOKUPS = 64
# How often a kept connection may be found closed, and within how many seconds.
REPEATS = 3
PROMPTLY = 1.0
OWN_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": USER_AGENT}

Lookup = Callable[..., Sequence[aiohttp.AddrInfoType]]
"""The signature of socket.getaddrinfo."""


class AddressRefused(OSError):
    """A connection would lead to an address that is not allowed."""


@dataclass(frozen=True, slots=True)
class Received:
    """The result of sending a message."""

    duration: timedelta
    status_code: int = 0
    """0 without an answer."""
    error: str = ""
    """The cause if there was no answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    """The beginning of the body."""


class WebhookSenders:
    """Makes senders, one per event loop: `async with senders() as sender`."""

    def __init__(
        self,
        egress: Egress,
        *,
        total: float = TOTAL,
        connect: float = CONNECT,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup = socket.getaddrinfo,
    ) -> None:
        """`total` and `connect` are seconds. `tls` None uses the certificates that the system trusts."""
        self._egress = egress
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect)
        self._tls = tls
        self._lookup = lookup

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator["WebhookSender"]:
        """A sender for the running event loop."""
        threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        try:
            async with self._session(threads) as session:
                yield WebhookSender(session, self._egress)
        finally:
            # A look-up that hangs cannot be ended, so it is not awaited.
            threads.shutdown(wait=False, cancel_futures=True)

    def _session(self, threads: ThreadPoolExecutor) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            # The user of the sender bounds the number of connections.
            limit=0,
            keepalive_timeout=KEEP_ALIVE,
            ttl_dns_cache=NAMES_KEPT,
            resolver=VettingResolver(self._egress, threads, self._lookup),
            socket_factory=self._socket,
            ssl=self._tls or True,
        )
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers=OWN_HEADERS,
            trace_configs=[trace],
        )

    def _socket(self, place: aiohttp.AddrInfoType) -> socket.socket:
        """Make the socket, after the final check of the address: a literal address has passed no resolver."""
        family, kind, protocol, _, address = place
        if self._egress.address_fault(address[0]) is not None:
            raise AddressRefused(NOT_ALLOWED)
        return socket.socket(family, kind, protocol)


class WebhookSender:
    """Sends messages on one event loop, over connections that are kept for a while."""

    def __init__(self, session: aiohttp.ClientSession, egress: Egress) -> None:
        self._session = session
        self._egress = egress

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Received:
        """POST a message. Never raises for a fault of the receiver, and ends within its own timeout."""
        began = perf_counter()
        # A URL that was allowed when the webhook was created may no longer be.
        if self._egress.url_fault(url) is not None:
            return Received(timedelta(), error=NOT_ALLOWED)
        error: Exception | None = None
        for _ in range(REPEATS + 1):
            state = SimpleNamespace(reused=False)
            try:
                status, answered, beginning = await self._post(url, headers, body, state)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
                error = failure
            else:
                return Received(_since(began), status, "", answered, beginning)
            if not (_was_closed_meanwhile(error, state) and perf_counter() - began < PROMPTLY):
                break
        return Received(_since(began), error=_in_words(error))

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, state: SimpleNamespace
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and the beginning of the body."""
        async with self._session.post(
            url, headers=headers, data=body, allow_redirects=False, trace_request_ctx=state
        ) as answer:
            beginning = await _beginning(answer)
            if not answer.content.at_eof():
                # The rest is not read, so the connection cannot be reused.
                answer.close()
            answered: dict[str, str] = {}
            for name, value in answer.headers.items():
                key = name.lower()
                answered[key] = f"{answered[key]}, {value}" if key in answered else value
            return answer.status, answered, beginning.decode(errors="replace")


class VettingResolver(AbstractResolver):
    """Resolves names in threads, and refuses a name if any of its addresses is not allowed."""

    def __init__(self, egress: Egress, threads: ThreadPoolExecutor, lookup: Lookup) -> None:
        self._egress = egress
        self._threads = threads
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises AddressRefused, and OSError if it does not resolve."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: self._lookup(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        )
        if any(self._egress.address_fault(address[0]) is not None for *_, address in found):
            raise AddressRefused(NOT_ALLOWED)
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing to close."""


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


def _was_closed_meanwhile(error: Exception, state: SimpleNamespace) -> bool:
    """Whether a kept connection was found closed, which is no failure of the receiver."""
    broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return bool(state.reused) and broken and not isinstance(error, aiohttp.ClientConnectorError)


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """The beginning of the body, within limits of time and size. A body that breaks off does not change the status."""
    parts: list[bytes] = []
    missing = BODY_BYTES
    try:
        async with asyncio.timeout(BODY):
            while missing > 0:
                part = await answer.content.read(missing)
                if not part:
                    break
                parts.append(part)
                missing -= len(part)
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer.close()
    return b"".join(parts)


def _since(began: float) -> timedelta:
    return timedelta(seconds=perf_counter() - began)


def _in_words(error: Exception | None) -> str:
    """The cause of a failure, without details of this network that the receiver's owner should not learn."""
    causes = (getattr(error, "os_error", error), error)
    return NOT_ALLOWED if any(isinstance(cause, AddressRefused) for cause in causes) else in_words(error)
