"""The port through which every client of an outside provider sends its requests.

A domain declares a Provider, and gets its ProviderPort from the platform. The client of the domain makes requests and
reads answers; the port does what all clients share: deadline, pool, breaker, retries, redaction and metrics.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from server.kernel.problems import Problem, Reason, StateForbids, Unavailable
from server.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_]*")
PATH = re.compile(r"/[^?#\\\s\x00-\x1f\x7f]*")
LINE_END = re.compile(r"[\r\n\x00]")
UP = re.compile(r"(^|/)\.{1,2}(/|$)")
TOO_MANY_REQUESTS = 429
SERVER_ERRORS = 500


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An outside provider, as a domain declares it."""

    name: str
    """In metrics, logs and errors: `stripe`."""
    base_url: Callable[[Settings], str | None]
    """Reads the URL that all paths follow; https, or http on loopback. None if the provider is not configured."""
    setting: str
    """The setting that is missing if `base_url` is None, such as `PLINTH_PAYMENTS_BTCPAY_URL`."""
    deadline: float = 15.0
    """Seconds that a request may take with its repetitions. The timeout of an RPC that makes it is longer."""
    connections: int = 16
    """Connections of one process. Requests beyond them wait, within their deadline."""
    most_bytes: int = 1 << 20
    """Size of the largest answer."""
    rejections: frozenset[int] = frozenset({401, 403})
    """Statuses by which it rejects the credentials."""
    request_id_header: str = "request-id"
    """The header in which it names its own id of a request."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"`{self.name}` is no name of a provider: lower case, digits and underscores")


@dataclass(frozen=True, kw_only=True)
class ProviderRequest:
    """One request. Only `operation` and `method` appear in logs: every other part may hold a token."""

    operation: str
    """What is asked, in constant words: `charges.create`."""
    method: str
    path: str = field(repr=False)
    """Follows the base URL. Its parts are percent-encoded where they hold reserved characters."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    is_safe: bool = False
    """Whether it may be repeated: a read, or a request under a key by which the provider drops repetitions."""

    def __post_init__(self) -> None:
        if not PATH.fullmatch(self.path) or UP.search(self.path):
            # The path may hold a token.
            raise ValueError(f"the path of `{self.operation}` is none below the base URL")
        if any(LINE_END.search(value) for value in self.headers.values()):
            raise ValueError(f"a header of `{self.operation}` holds more than one line")


@dataclass(frozen=True)
class ProviderAnswer:
    """An answer, of whatever status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names are in lower case; values of the same name are joined by commas."""
    body: bytes = field(repr=False)
    """Exactly as it was received, so that a signature over it can be verified."""

    @property
    def is_success(self) -> bool:
        """Whether the provider has done what was asked."""
        return self.status // 100 == 2  # noqa: PLR2004 - the class of success


class NotSent(Unavailable):
    """A request was not sent, or surely had no effect: `cause` says why, without parts of the request."""

    def __init__(self, provider: str, cause: str, *, retry_after: float = 1.0) -> None:
        super().__init__(provider, retry_after=retry_after)
        self.cause = cause


class AnswerLost(Unavailable):
    """A request may have been received, but no answer was. Whether it had its effect is unknown."""

    def __init__(self, provider: str, cause: str) -> None:
        super().__init__(provider)
        self.cause = cause


class ProviderPort(Protocol):
    """Sends requests to one provider."""

    @property
    def provider(self) -> Provider:
        """The provider."""

    def at(self, base_url: str) -> "ProviderPort":
        """The same provider at another address, with connections and a breaker of its own.

        For providers that say themselves where their parts are, such as those of OpenID Connect. The addresses are few.
        Raises ValueError for a URL that is neither https nor on loopback.
        """

    def check(self) -> None:
        """Raise what `send` would raise without sending: StateForbids if it is not configured, NotSent if it is away.

        To be called before a call writes, counts or reserves anything.
        """

    def send(self, request: ProviderRequest) -> ProviderAnswer:
        """Send a request, within the deadline. Statuses of errors are answers too.

        Raises StateForbids if the provider is not configured, NotSent and AnswerLost.
        """


class Providers:
    """Makes the ports of a process, one for each provider."""

    def __call__(self, provider: Provider) -> ProviderPort:
        """The port of a provider. Raises ValueError for an invalid URL, and for two providers of one name."""
        raise NotImplementedError


def ask(port: ProviderPort, request: ProviderRequest) -> ProviderAnswer:
    """Send a request that has to succeed. Raises the Problem of any other answer.

    For a call that only reads before and after (ask), and for one that has not written yet (make).
    """
    answer = port.send(request)
    problem = problem_of(port.provider, answer)
    if problem is not None:
        raise problem
    return answer


def problem_of(provider: Provider, answer: ProviderAnswer, code: str = "") -> Problem | None:
    """The problem of an answer; None for a success. `code` is the provider's own code, or else the status is."""
    if answer.is_success:
        return None
    if answer.status in provider.rejections:
        return StateForbids(
            f"The provider {provider.name} rejects the credentials that are configured for it.",
            reason=Reason.REASON_PROVIDER_CREDENTIALS_REJECTED,
            metadata={"provider": provider.name},
        )
    if answer.status == TOO_MANY_REQUESTS or answer.status >= SERVER_ERRORS:
        return Unavailable(provider.name, retry_after=retry_after(answer) or 1.0)
    request_id = answer.headers.get(provider.request_id_header, "")
    return StateForbids(
        f"The provider {provider.name} refuses this.",
        reason=Reason.REASON_PROVIDER_REFUSED,
        metadata={"provider": provider.name, "provider_code": code or str(answer.status)}
        | ({"provider_request_id": request_id} if request_id else {}),
    )


def not_configured(provider: str, setting: str) -> StateForbids:
    """The problem of a provider without a URL, credentials or a connection. `setting` names what is missing."""
    return StateForbids(
        f"The provider {provider} is not configured.",
        reason=Reason.REASON_PROVIDER_NOT_CONFIGURED,
        metadata={"provider": provider, "setting": setting},
    )


def retry_after(answer: ProviderAnswer) -> float | None:
    """The seconds that the provider wants a caller to wait. None if it does not say so, or says so as a date."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None
