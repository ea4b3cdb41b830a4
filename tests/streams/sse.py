"""A client of server-sent events that sees every byte, and the event log that its events are compared with."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.clients import Tenant, rows
from tests.stack import PAUSE, Stack

# How long a stream may be silent before a test takes it for dead.
PATIENCE = 60.0
# Signs of life in a row, of which there is one a second.
MANY = 60
# Nothing here speaks TLS, and httpx would read every certificate of the system for each client.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
LOGGED = """
SELECT to_hex(transaction_id::text::bigint) || '-' || to_hex(sequence) AS id, type, resource_id
  FROM events WHERE tenant_id = %s AND type LIKE 'page.%%'
 ORDER BY transaction_id, sequence
"""


@dataclass(frozen=True)
class Frame:
    """What stands between two empty lines."""

    fields: tuple[tuple[str, str], ...]
    """Names and values in their order; a comment has no name."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the lines of a frame."""
        parts = (line.partition(":") for line in text.split("\n"))
        return cls(tuple((name, value.removeprefix(" ")) for name, _, value in parts))

    def field(self, name: str) -> str:
        """The value of a field, empty when there is none; the lines of `data` joined."""
        return "\n".join(value for key, value in self.fields if key == name)

    @property
    def id(self) -> str:
        """Where it stands in the log; empty for what is no event of the log."""
        return self.field("id")

    @property
    def event(self) -> str:
        """What happened."""
        return self.field("event")

    @property
    def data(self) -> Any:
        """The JSON it carries."""
        return json.loads(self.field("data"))

    @property
    def is_comment(self) -> bool:
        """Whether it only keeps the connection open."""
        return all(not name for name, _ in self.fields)

    @property
    def fact(self) -> tuple[str, str, str]:
        """As a row of the log: its place, what happened, and to which page."""
        return self.id, self.event, self.data["id"]


class Reader:
    """One connection to a stream. Iterating gives its frames, the first one being the opening."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._frames = self._read()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def next(self) -> Frame:
        """The next frame, comments included."""
        return next(self._frames)

    def events(self, count: int) -> list[Frame]:
        """The next frames that are no comments."""
        found: list[Frame] = []
        while len(found) < count:
            frame = self.next()
            if not frame.is_comment:
                found.append(frame)
        return found

    def rest(self) -> list[Frame]:
        """Every frame until the stream ends, without comments. Many of these in a row mean that it does not end."""
        found: list[Frame] = []
        comments = 0
        for frame in self._frames:
            comments = comments + 1 if frame.is_comment else 0
            assert comments < MANY, "the stream has nothing to say, and does not end"
            if not frame.is_comment:
                found.append(frame)
        return found

    def _read(self) -> Iterator[Frame]:
        text = ""
        for chunk in self.response.iter_text():
            *whole, text = (text + chunk).split("\n\n")
            yield from map(Frame.parse, whole)
        assert not text, f"the stream ended inside of a frame: {text!r}"


def path(tenant_id: str) -> str:
    """Where the stream of a tenant's pages is."""
    return f"/api/v1/tenants/{tenant_id}/pages/stream"


@contextmanager
def connect(
    stack: Stack,
    tenant_id: str,
    token: str | None,
    *,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    socket_options: list[tuple[int, int, int]] | None = None,
    url: str = "",
) -> Iterator[Reader]:
    """Open a stream, of the tenant's pages or at a path, whatever the answer is.

    Each has a connection of its own, as a browser tab has.
    """
    sent = {"authorization": f"Bearer {token}"} if token is not None else {}
    with (
        httpx.HTTPTransport(verify=NO_TLS, socket_options=socket_options) as transport,
        httpx.Client(base_url=stack.url, timeout=PATIENCE, transport=transport, trust_env=False) as client,
        client.stream("GET", url or path(tenant_id), params=params, headers=sent | dict(headers or {})) as response,
    ):
        yield Reader(response)


@contextmanager
def listening(tenant: Tenant, token: str = "", headers: Mapping[str, str] | None = None) -> Iterator[Reader]:
    """A stream that is open: what is committed from here on arrives. Its first frame has been read."""
    with connect(tenant.stack, tenant.id, token or tenant.access_token, headers=headers) as reader:
        assert reader.response.status_code == 200, reader.response.read()
        assert reader.next().event == "stream.open"
        yield reader


def after(event_id: str) -> dict[str, str]:
    """The headers that resume after an event."""
    return {"last-event-id": event_id} if event_id else {}


def position(tenant: Tenant) -> str:
    """Where the log of a tenant stands now, as the stream says it."""
    with connect(tenant.stack, tenant.id, tenant.access_token) as reader:
        return reader.next().id


def opens(tenant: Tenant) -> bool:
    """Whether a stream opens now."""
    try:
        with connect(tenant.stack, tenant.id, tenant.access_token) as reader:
            return reader.response.status_code == 200
    except httpx.TransportError:
        return False


def logged(tenant: Tenant) -> list[tuple[str, str, str]]:
    """Every event of the tenant's pages in the order of the log: place, type and page."""
    return [(row["id"], row["type"], row["resource_id"]) for row in rows(tenant.stack, LOGGED, tenant.id)]


# What released versions call them.
EARLIER_OPEN, EARLIER_ERROR = "open", "error"


class Follower:
    """A client that follows the stream over any number of connections and keeps all it saw, as EventSource does."""

    def __init__(self, tenant: Tenant, last_event_id: str) -> None:
        self.seen: list[Frame] = []
        self.connections = 0
        self._tenant = tenant
        self._last = last_event_id

    @property
    def facts(self) -> list[tuple[str, str, str]]:
        """What it saw, as rows of the log."""
        return [frame.fact for frame in self.seen]

    def follow(self, last: str, cut: Callable[[], bool] = lambda: False) -> None:
        """Read until the event of the page with the slug `last`, and reconnect when the stream ends or `cut` says so.

        Only what is right for a stream to end with is taken for an end.
        """
        while not self.seen or self.seen[-1].data["slug"] != last:
            self.once(lambda: self.seen[-1].data["slug"] == last or cut())

    def once(self, cut: Callable[[], bool]) -> None:
        """Read over one connection, until it ends or `cut`, asked after each event, says so."""
        with suppress(httpx.TransportError):
            self._read(cut)
        time.sleep(PAUSE)

    def _read(self, cut: Callable[[], bool]) -> None:
        tenant = self._tenant
        with connect(tenant.stack, tenant.id, tenant.access_token, headers=after(self._last)) as reader:
            self.connections += 1
            if reader.response.status_code == 503:
                return
            if reader.response.status_code == 400:
                # The database was put back: this client begins anew.
                assert b"EVENT_UNKNOWN" in reader.response.read()
                self._last = ""
                return
            assert reader.response.status_code == 200, reader.response.read()
            for frame in reader:
                self._take(frame)
                if frame.id and frame.event not in ("stream.open", EARLIER_OPEN) and cut():
                    return

    def _take(self, frame: Frame) -> None:
        if frame.event in ("stream.error", EARLIER_ERROR):
            assert frame.data["code"] in {10, 11, 14}, frame.data
        elif frame.event in ("stream.open", EARLIER_OPEN):
            self._last = frame.id
        elif frame.event:
            self.seen.append(frame)
            self._last = frame.id
