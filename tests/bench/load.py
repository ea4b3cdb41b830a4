"""Loads that a side of a comparison is put under. Each checks that what came back was right."""

import http.client
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

# In flight at once: enough to keep one core of any of the servers busy.
CONNECTIONS = 8
STREAMS = 4
IN_FLIGHT = CONNECTIONS * STREAMS
# Of a connection, where calls do not wait for each other.
MANY = 32
HOW_TO_INSTALL = "make bench needs h2load, from the package nghttp2-client: apt-get install -y nghttp2-client"
# No load takes longer than this; what hangs is ended.
PATIENCE = 180.0


class WrongAnswerError(Exception):
    """A server under load answered something else than it should."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a load went."""

    seconds: float
    latency: float
    """Seconds per request: the mean under a parallel load, the median where requests came one by one."""


Load = Callable[[int], Ran]
"""Does that many requests."""


def have_h2load() -> bool:
    """Whether h2load is installed."""
    return shutil.which("h2load") is not None


class GrpcLoad:
    """One unary gRPC call, again and again over a unix socket, by h2load.

    All requests are the same one. A call that failed is HTTP 200 too, so the bytes are counted: failures have none.
    """

    def __init__(self, socket: Path, method: str, request: bytes, answer: bytes, token: str) -> None:
        self._folder = TemporaryDirectory()
        body = Path(self._folder.name) / "request.bin"
        body.write_bytes(_frame(request))
        self._expected = len(_frame(answer))
        self._arguments = [
            f"--base-uri=unix:{socket}",
            f"--clients={CONNECTIONS}",
            f"--data={body}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
            f"--header=authorization: Bearer {token}",
            f"http://localhost{method}",
        ]

    def __call__(self, count: int) -> Ran:
        """Do that many calls."""
        return self.run(count, f"--max-concurrent-streams={STREAMS}")

    def run(self, count: int, *options: str) -> Ran:
        """Do that many calls with further options of h2load."""
        return _h2load([*options, *self._arguments], count, self._expected)


class PacedLoad:
    """One unary gRPC call at a fixed rate (an open loop), by h2load. Its latency is the p95."""

    def __init__(self, load: GrpcLoad, per_second: int) -> None:
        self._load, self._per_second = load, per_second

    def __call__(self, count: int) -> Ran:
        """Do that many calls."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "requests.tsv"
            paced = (f"--rps={self._per_second // CONNECTIONS}", f"--log-file={file}")
            ran = self._load.run(count, f"--max-concurrent-streams={MANY}", *paced)
            times = sorted(int(line.split("\t")[2]) for line in file.read_text().splitlines())
        return Ran(ran.seconds, times[len(times) * 95 // 100] * 1e-6)


class RestLoad:
    """One GET, or POST of JSON, again and again over HTTP/1.1, by h2load; the bytes of the answers are counted."""

    def __init__(self, port: int, path: str, token: str, answer: bytes, body: bytes = b"") -> None:
        self._folder = TemporaryDirectory()
        file = Path(self._folder.name) / "request.json"
        file.write_bytes(body)
        self._expected = len(answer)
        self._arguments = [
            "--h1",
            f"--clients={IN_FLIGHT}",
            f"--header=authorization: Bearer {token}",
            *([f"--data={file}", "--header=content-type: application/json"] if body else []),
            f"http://127.0.0.1:{port}{path}",
        ]

    def __call__(self, count: int) -> Ran:
        """Do that many requests."""
        return _h2load(self._arguments, count, self._expected)


class CountedLoad:
    """A load after which the rows that there should be are counted."""

    def __init__(self, load: Load, counted: Callable[[], dict[str, int]], made: dict[str, int]) -> None:
        """`made` is how many rows of each kind a request leaves."""
        self._load, self._counted, self._made = load, counted, made

    def __call__(self, count: int) -> Ran:
        """Do that many requests, and count."""
        before = self._counted()
        ran = self._load(count)
        found = {what: now - before[what] for what, now in self._counted().items()}
        wanted = {what: number * max(count, IN_FLIGHT) for what, number in self._made.items()}
        if found != wanted:
            raise WrongAnswerError(f"{count} requests left {found}, and not {wanted}")
        return ran


class FutureLoad:
    """Calls that differ, by the stub of a service; h2load's are all the same."""

    def __init__(self, call: Callable[[int], "grpc.Future[Any]"]) -> None:
        """`call` begins the call of a number, which is never the same."""
        self._call = call
        self._numbers = itertools.count()

    def __call__(self, count: int) -> Ran:
        """Do that many calls, as many at once as other loads do."""
        room = threading.Semaphore(IN_FLIGHT)
        started, calls = time.perf_counter(), []
        for _ in range(max(count, IN_FLIGHT)):
            room.acquire()
            calls.append(self._call(next(self._numbers)))
            calls[-1].add_done_callback(lambda _: room.release())
        for call in calls:
            call.result()
        seconds = time.perf_counter() - started
        return Ran(seconds, seconds * IN_FLIGHT / len(calls))


class CreateLoad:
    """Creates pages over HTTP/1.1, each with a slug of its own, which h2load cannot: its body is constant."""

    def __init__(
        self, port: int, path: str, token: str, counted: Callable[[], dict[str, int]], *, keys: bool = False
    ) -> None:
        """`counted` counts rows by what they are, one of each per page; with `keys` each request has its own."""
        self._port, self._path, self._token, self._counted, self._keys = port, path, token, counted, keys
        self._round = 0

    def __call__(self, count: int) -> Ran:
        """Create that many pages, and count in the database that each has its row and all that goes with it."""
        self._round += 1
        before = self._counted()
        arguments = [self._port, self._path, count, IN_FLIGHT, f"bench-{os.getpid()}-{self._round}"]
        arguments += ["--keys"] if self._keys else []
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.writer", *map(str, arguments)],
            env={**os.environ, "BENCH_TOKEN": self._token},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise WrongAnswerError(done.stderr.strip()[-2000:])
        made = {what: now - before[what] for what, now in self._counted().items()}
        if any(number != count for number in made.values()):
            raise WrongAnswerError(f"{count} pages were created, but there came to be {made}")
        told = json.loads(done.stdout)
        return Ran(told["seconds"], told["latency"])


@dataclass(frozen=True, slots=True)
class Bodies:
    """Requests that differ in their bodies alone."""

    method: str
    path: str
    bodies: Sequence[bytes]
    """Sent in turn. NUMBER in one is another one each time."""
    kind: str = "application/json"


class BodiesLoad:
    """Sends bodies in turn over HTTP/1.1, which h2load cannot."""

    def __init__(self, port: int, token: str, sent: Bodies) -> None:
        self._folder = TemporaryDirectory()
        self._port, self._path, self._token = port, sent.path, token
        self._options = [f"--method={sent.method}", f"--type={sent.kind}"]
        for number, body in enumerate(sent.bodies):
            file = Path(self._folder.name) / str(number)
            file.write_bytes(body)
            self._options.append(f"--body={file}")
        self._sent = 0

    def __call__(self, count: int) -> Ran:
        """Send that many."""
        count = max(count, IN_FLIGHT)
        self._sent += 1
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.bench.writer"),
                *(str(self._port), self._path, str(count), str(CONNECTIONS), str(self._sent)),
                *self._options,
            ],
            env={**os.environ, "BENCH_TOKEN": self._token},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise WrongAnswerError(done.stderr.strip()[-2000:])
        told = json.loads(done.stdout)
        return Ran(told["seconds"], told["latency"])


def one_by_one(call: Callable[[], Any], is_right: Callable[[Any], bool]) -> Load:
    """Make a load of calls that wait for each other, for its latency."""

    def load(count: int) -> Ran:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            answer = call()
            times.append(time.perf_counter() - started)
            if not is_right(answer):
                raise WrongAnswerError(f"not the expected answer: {str(answer)[:500]}")
        return Ran(sum(times), median(times))

    return load


def send(port: int, method: str, path: str, token: str = "", body: object = None) -> bytes:
    """Do one request over a connection of its own; answer the body."""
    return ask(port, method, path, token, body)[1]


def ask(port: int, method: str, path: str, token: str = "", body: object = None) -> tuple[HTTPMessage, bytes]:
    """Do one request over a connection of its own; answer the headers and the body."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    text = None
    if body is not None:
        headers["content-type"], text = "application/json", json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        received = answer.read()
    finally:
        connection.close()
    if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.CREATED}:
        raise WrongAnswerError(f"{method} {path}: {answer.status} {received[:500]!r}")
    return answer.headers, received


def _frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def _h2load(arguments: Sequence[str], count: int, expected: int) -> Ran:
    done = subprocess.run(
        ["h2load", f"--requests={max(count, IN_FLIGHT)}", *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return read_h2load(done.stdout, max(count, IN_FLIGHT), expected)


def read_h2load(report: str, count: int, expected: int) -> Ran:
    """Read h2load's report; refuse it unless every answer was a 2xx with as many bytes as expected."""
    succeeded = re.search(r"status codes: (\d+) 2xx", report)
    data = re.search(r"\((\d+)\) data", report)
    finished = re.search(r"finished in ([0-9.]+)(us|ms|s|m)\b", report)
    if succeeded is None or data is None or finished is None:
        raise WrongAnswerError(f"h2load reported nothing that can be read:\n{report}")
    if int(succeeded[1]) != count or int(data[1]) != count * expected:
        raise WrongAnswerError(
            f"{count} requests of {expected} bytes each expected; h2load saw {data[1]} bytes and:\n{report}"
        )
    seconds = float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[finished[2]]
    return Ran(seconds, seconds * IN_FLIGHT / count)
