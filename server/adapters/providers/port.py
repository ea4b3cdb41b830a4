"""Sends requests to providers over aiohttp.

aiohttp is here for webhooks. Unlike urllib3 and httpx, whose time limits hold for each read, it ends a request at a
deadline however slowly the answer comes. Nothing of a request but its operation and method is logged or raised: a URL,
a header, or a body may hold a token.
"""

import asyncio
import logging
import random
import ssl
from concurrent.futures import CancelledError
from importlib.metadata import version
from time import monotonic, perf_counter
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
from yarl import URL

from server.adapters.failures import in_words
from server.adapters.providers.breaker import REST, ProviderBreaker
from server.adapters.providers.loop import LoopThread
from server.adapters.providers.metrics import PROVIDER_REQUESTS, PROVIDER_SECONDS
from server.kernel.egress import TIMEOUT
from server.kernel.jobs import Chance
from server.kernel.providers import (
    AnswerLost,
    NotSent,
    Provider,
    ProviderAnswer,
    ProviderPort,
    ProviderRequest,
    Providers,
    not_configured,
)
from server.kernel.providers.port import SERVER_ERRORS, TOO_MANY_REQUESTS, retry_after
from server.setting_values import provider_url
from server.settings import Settings

log = logging.getLogger("plinth.providers")
USER_AGENT = f"Plinth/{version('plinth-server')}"
OWN_HEADERS = {"accept-encoding": "identity", "user-agent": USER_AGENT}
# Seconds.
CONNECT = 3.0
# Shorter than the keep-alive of most servers, so that few connections are found closed.
KEEP_ALIVE = 4.0
# Beyond the deadline, which the loop keeps; for a loop that has ended.
GRACE = 5.0
# How often a safe request is sent, and the pauses in between, which double and are randomly cut by up to half.
ATTEMPTS = 3
FIRST_PAUSE = 0.25
RETRIED = frozenset({408, 429, 500, 502, 503, 504})

Failure = NotSent | AnswerLost


class _TooLarge(ValueError):
    """A body is larger than answers of this provider are."""


class Attempt(NamedTuple):
    """What came of sending a request once."""

    result: ProviderAnswer | Failure
    outcome: str
    """The label of the metric."""


class HttpProviders(Providers):
    """The ports of one process. They share a loop."""

    def __init__(
        self, settings: Settings, *, tls: ssl.SSLContext | None = None, chance: Chance = random.random
    ) -> None:
        """`tls` None uses the certificates that the system trusts."""
        self._settings = settings
        self._tls = tls
        self._chance = chance
        self._loop = LoopThread()
        self._ports: dict[str, HttpProvider] = {}

    def __call__(self, provider: Provider) -> ProviderPort:
        """The port of a provider. It is not connected yet."""
        port = self._ports.get(provider.name)
        if port is None:
            url = provider.base_url(self._settings)
            port = HttpProvider(provider, url and provider_url(url), self._loop, self._tls, self._chance)
            self._ports[provider.name] = port
        if port.provider != provider:
            raise ValueError(f"two providers are called {provider.name}")
        return port

    def start(self) -> None:
        """Nothing to do: the loop begins with the first request."""

    def close(self) -> None:
        """End the loop. Requests that are under way end as those whose answer is lost."""
        self._loop.close(*(port.end for port in self._ports.values()))


class HttpProvider:
    """The port of one provider."""

    def __init__(
        self, provider: Provider, base_url: str | None, loop: LoopThread, tls: ssl.SSLContext | None, chance: Chance
    ) -> None:
        self._provider = provider
        self._base_url = base_url
        self._loop = loop
        self._tls = tls
        self._chance = chance
        self._breaker = ProviderBreaker()
        self._elsewhere: dict[str, HttpProvider] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def provider(self) -> Provider:
        """The provider."""
        return self._provider

    def at(self, base_url: str) -> "HttpProvider":
        """The port to another address of the provider. Raises ValueError for an invalid URL."""
        found = self._elsewhere.get(base_url)
        if found is None:
            found = HttpProvider(self._provider, provider_url(base_url), self._loop, self._tls, self._chance)
            # Of two threads that meet here, both use the one that was first.
            found = self._elsewhere.setdefault(base_url, found)
        return found

    def check(self) -> None:
        """Raise StateForbids if it is not configured, and NotSent while the breaker is open."""
        if not self._base_url:
            raise not_configured(self._provider.name, self._provider.setting)
        if self._breaker.wait:
            raise self._open()

    def send(self, request: ProviderRequest) -> ProviderAnswer:
        """Send a request, and again if it is safe to repeat and may succeed. Waits in this thread."""
        if not self._base_url:
            raise not_configured(self._provider.name, self._provider.setting)
        began = perf_counter()
        # From here on, so that a process that is held up sends nothing after its deadline.
        ends = monotonic() + self._provider.deadline
        future = self._loop.submit(self._exchange(request, ends))
        result: ProviderAnswer | Failure
        try:
            result = future.result(self._provider.deadline + GRACE)
        except (CancelledError, TimeoutError):
            future.cancel()
            result = AnswerLost(self._provider.name, "this process ends")
        PROVIDER_SECONDS.labels(self._provider.name).observe(perf_counter() - began)
        if isinstance(result, ProviderAnswer):
            return result
        raise result from None

    async def end(self) -> None:
        """Close the connections."""
        for other in self._elsewhere.values():
            await other.end()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, request: ProviderRequest, ends: float) -> ProviderAnswer | Failure:
        """The last answer or failure, until `ends` (monotonic seconds, as the loop counts them)."""
        loop = asyncio.get_running_loop()
        number = 1
        while True:
            attempt = await self._attempt(request, ends)
            self._note(request, attempt, number)
            pause = self._pause(request, attempt.result, number)
            if pause is None or loop.time() + pause >= ends:
                return attempt.result
            await asyncio.sleep(pause)
            number += 1

    async def _attempt(self, request: ProviderRequest, ends: float) -> Attempt:
        if asyncio.get_running_loop().time() >= ends:
            return Attempt(NotSent(self._provider.name, TIMEOUT), "not_sent")
        if not self._breaker.admit():
            return Attempt(self._open(), "open")
        state = SimpleNamespace(connected=False)
        try:
            async with asyncio.timeout_at(ends):
                answer = await self._once(request, state)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._breaker.note(answers=False)
            cause = str(error) if isinstance(error, _TooLarge) else in_words(error)
            name = self._provider.name
            if state.connected:
                return Attempt(AnswerLost(name, cause), "lost")
            return Attempt(NotSent(name, cause), "not_sent")
        self._breaker.note(answers=answer.status < SERVER_ERRORS)
        return Attempt(answer, self._outcome(answer))

    async def _once(self, request: ProviderRequest, state: SimpleNamespace) -> ProviderAnswer:
        """Send it once. Sets `state.connected` before the first byte is sent."""
        url = URL(f"{self._base_url}{request.path}", encoded=True)
        async with self._opened().request(
            request.method,
            url.with_query(dict(request.query)) if request.query else url,
            headers=dict(request.headers),
            data=request.body or None,
            allow_redirects=False,
            trace_request_ctx=state,
        ) as response:
            body = await self._body(response)
            headers: dict[str, str] = {}
            for name, value in response.headers.items():
                key = name.lower()
                headers[key] = f"{headers[key]}, {value}" if key in headers else value
            return ProviderAnswer(response.status, headers, body)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body. Raises _TooLarge."""
        parts: list[bytes] = []
        room = self._provider.most_bytes
        while part := await response.content.read(room + 1):
            room -= len(part)
            if room < 0:
                response.close()
                raise _TooLarge("the answer is too large")
            parts.append(part)
        return b"".join(parts)

    def _opened(self) -> aiohttp.ClientSession:
        """The session, which belongs to the loop."""
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_note_connection)
            trace.on_connection_reuseconn.append(_note_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._provider.connections, keepalive_timeout=KEEP_ALIVE, ssl=self._tls or True
                ),
                # The deadline ends everything else, a wait for a connection of the pool among it.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers=OWN_HEADERS,
                trace_configs=[trace],
            )
            # aiohttp repeats a PUT or DELETE by itself on a connection that was found closed, and offers no other way
            # to forbid it (tests/providers/test_port.py fails if it does so again).
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    def _pause(self, request: ProviderRequest, result: ProviderAnswer | Failure, number: int) -> float | None:
        """Seconds until a request is sent again; None if it is not."""
        if not request.is_safe or number >= ATTEMPTS:
            return None
        pause = FIRST_PAUSE * 2.0 ** (number - 1) * (1 - self._chance() / 2)
        if isinstance(result, ProviderAnswer):
            if result.status not in RETRIED:
                return None
            return max(pause, retry_after(result) or 0.0)
        return pause

    def _outcome(self, answer: ProviderAnswer) -> str:
        if answer.is_success:
            return "ok"
        if answer.status in self._provider.rejections:
            return "rejected"
        if answer.status == TOO_MANY_REQUESTS:
            return "throttled"
        return "failed" if answer.status >= SERVER_ERRORS else "refused"

    def _open(self) -> NotSent:
        """The failure while the breaker is open."""
        wait = self._breaker.wait or REST
        return NotSent(self._provider.name, "it did not answer a moment ago", retry_after=wait)

    def _note(self, request: ProviderRequest, attempt: Attempt, number: int) -> None:
        name, result = self._provider.name, attempt.result
        PROVIDER_REQUESTS.labels(name, attempt.outcome).inc()
        if attempt.outcome == "ok":
            return
        if isinstance(result, ProviderAnswer):
            theirs = result.headers.get(self._provider.request_id_header, "-")
            detail = f"status {result.status}, their request {theirs}"
        else:
            detail = result.cause
        what = f"{request.method} {request.operation}"
        log.warning("%s: %s: %s (%s), attempt %d", name, what, attempt.outcome, detail, number)


async def _note_connection(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected = True
