# uvloop and httptools are installed for `make bench` only.
# mypy: disable-error-code="import-not-found, import-untyped"
"""The client that creates pages: keep-alive connections, bytes made beforehand, and httptools to read the answers.

It is not the fastest client there is. What is compared is the server's CPU time, which does not depend on it.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import httptools
import uvloop

from tests.bench.content import DESCRIPTION, NUMBER, SETTINGS

# A server that goes silent ends the run.
PATIENCE = 120.0
DONE = (200, 201)
# The same body for every server, but for the slug.
BODY = """{"slug":"%s","title":"Opening hours and how to find us","description":"%s","settings":%s}"""


def requests(port: int, path: str, token: str, slugs: Iterator[str], *, keys: bool) -> Iterator[bytes]:
    """Make the requests, one by one as they are wanted; with `keys` each has an idempotency key."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    )
    settings = json.dumps(SETTINGS)
    for slug in slugs:
        body = BODY % (slug, DESCRIPTION, settings)
        key = f"idempotency-key: {slug}\r\n" if keys else ""
        yield (head % (key, len(body)) + body).encode()


def from_bodies(port: int, given: argparse.Namespace, token: str, numbers: Iterator[str]) -> Iterator[bytes]:
    """Make requests from the bodies in files, in turn. Where a body says NUMBER, it has one of its own."""
    bodies = [Path(name).read_bytes() for name in given.body]
    for turn, number in enumerate(numbers):
        run, _, place = number.rpartition("-")
        own = f"{run:0>4}{place:0>6}"
        body = bodies[turn % len(bodies)].replace(NUMBER.encode(), own.encode())
        head = (
            f"{given.method} {given.path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: {given.type}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


class Pace:
    """How many requests are sent per second, by all connections together."""

    def __init__(self, per_second: float) -> None:
        """0 for as many as are answered."""
        self._per_second = per_second
        self._sent = 0
        self._began = time.perf_counter()

    def wait(self) -> float:
        """Seconds until the next request is due."""
        if not self._per_second:
            return 0.0
        self._sent += 1
        return max(0.0, self._began + self._sent / self._per_second - time.perf_counter())


class Connection(asyncio.Protocol):
    """One connection: it sends a request, waits for its success, and sends the next."""

    def __init__(self, wanted: Iterator[bytes], done: asyncio.Future[None], pace: Pace) -> None:
        self._wanted, self._done, self._pace = wanted, done, pace
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transports are none of asyncio's classes, but have their methods.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it ended too early, unless it was time."""
        if not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def on_body(self, body: bytes) -> None:
        """Keep the body, for the case that it tells what went wrong."""
        self._body = body

    def on_message_complete(self) -> None:
        """Go on with the next request; called by the parser at the end of an answer."""
        status = self._parser.get_status_code()
        if status not in DONE:
            self._end(RuntimeError(f"{status} {self._body[:500]!r}"))
        else:
            self._next()

    def _next(self) -> None:
        request = next(self._wanted, None)
        if request is None:
            self._end(None)
        elif self._transport is not None:
            self._parser = httptools.HttpResponseParser(self)
            if wait := self._pace.wait():
                asyncio.get_running_loop().call_later(wait, self._transport.write, request)
            else:
                self._transport.write(request)

    def _end(self, fault: Exception | None) -> None:
        if self._done.done():
            return
        if fault is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(fault)


async def write(port: int, wanted: Iterator[bytes], in_flight: int, pace: Pace) -> float:
    """Send all the requests, so many at once; answer how long it took."""
    loop = asyncio.get_running_loop()
    dones = [loop.create_future() for _ in range(in_flight)]
    started = time.perf_counter()
    for done in dones:
        await loop.create_connection(partial(Connection, wanted, done, pace), "127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*dones)
    return time.perf_counter() - started


def main() -> None:
    """Create the pages and print how it went as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("count", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("prefix", help="of the slugs")
    parser.add_argument("--keys", action="store_true", help="send an idempotency key with each")
    parser.add_argument("--per-second", type=float, default=0.0, help="send no more; 0 for as many as are answered")
    parser.add_argument("--body", action="append", default=[], help="a file with a body; may be given several times")
    parser.add_argument("--type", default="application/json", help="what the bodies are")
    parser.add_argument("--method", default="POST")
    given = parser.parse_args()
    slugs = (f"{given.prefix}-{number}" for number in range(given.count))
    token = os.environ["BENCH_TOKEN"]
    wanted = requests(given.port, given.path, token, slugs, keys=given.keys)
    if given.body:
        wanted = from_bodies(given.port, given, token, slugs)
    seconds = uvloop.run(write(given.port, wanted, given.in_flight, Pace(given.per_second)))
    json.dump({"seconds": seconds, "latency": seconds * given.in_flight / given.count}, sys.stdout)


if __name__ == "__main__":
    main()
