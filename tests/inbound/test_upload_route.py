"""The chain of an upload, without a server: what runs before its bytes are taken, and what when all are there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from server.kernel.call import Call
from server.kernel.chain import Answer, GuardStep, Request
from server.kernel.chain import Guard as Check
from server.kernel.policy import MethodPolicy, read_policies
from server.kernel.problems import Malformed, StateForbids
from server.kernel.sinks import Upload
from server.kernel.steps.parse import Parse
from server.kernel.steps.upload import upload_route
from server.kernel.transfers import Uploads
from tests.inbound import contract
from tests.kernel.calls import AsyncContext

PUT = read_policies([contract.SERVICE])[f"/{contract.SERVICE.full_name}/PutFile"]
Request_: Any = contract.message("PutFileRequest")


class Sink:
    """Writes down what becomes of it."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def write(self, data: bytes) -> None:
        self.notes.append(f"write {len(data)}")

    def finish(self, sha256: bytes) -> None:
        del sha256
        self.notes.append("finish")

    def settle(self) -> None:
        self.notes.append("settle")

    def abort(self) -> None:
        self.notes.append("abort")


class Noting(GuardStep):
    """Writes down that it ran."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self._notes = name, notes

    def guard(self, method: MethodPolicy) -> Check | None:
        del method
        return lambda _call, _request: self._notes.append(self.name)


def put(*pieces: bytes, refusal: Exception | None = None, replays: bool = False) -> tuple[list[str], Any]:
    """What happened in which order, and the answer."""
    notes: list[str] = []

    def handle(call: Call, request: Request) -> Answer:
        notes.append("handle")
        [upload] = call.uploads
        assert isinstance(upload, Upload)
        assert request.content.data == upload.sha256
        assert call.is_active
        if refusal is not None:
            raise refusal
        call.is_replay = replays
        answer: Answer = contract.message("File")(size=upload.size, sha256=upload.sha256.hex())
        return answer

    steps = [Parse(), Noting("authorize", notes), Noting("validate", notes), Noting("transaction", notes)]
    assert PUT.upload is not None
    route = upload_route(PUT, PUT.upload, steps, handle, (lambda _call, _request, _name: Sink(notes), Uploads()))
    assert route.steps == ("parse", "authorize", "validate", "authorize", "transaction")

    async def requests() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    serve: Any = route.handler.stream_unary
    try:
        return notes, asyncio.run(serve(requests(), AsyncContext()))
    except (StateForbids, Malformed, psycopg.Error) as problem:
        return notes, problem


def piece(data: bytes) -> bytes:
    sent: bytes = Request_(folder="x", content={"content_type": "image/png", "data": data}).SerializeToString()
    return sent


def test_the_bytes_are_taken_once_the_caller_may_and_the_transaction_begins_when_all_are_there() -> None:
    notes, answer = put(piece(b"a" * 3), piece(b"b" * 4))
    assert notes == [
        *("authorize", "validate"),
        *("write 3", "write 4", "finish"),
        *("authorize", "transaction", "handle", "settle"),
    ]
    assert (answer.size, answer.sha256) == (7, hashlib.sha256(b"aaabbbb").hexdigest())


@pytest.mark.parametrize("ending", [{"refusal": StateForbids()}, {"replays": True}])
def test_what_is_refused_or_repeated_leaves_no_bytes(ending: dict[str, Any]) -> None:
    notes, answer = put(piece(b"a"), **ending)
    assert notes[-2:] == ["handle", "abort"]
    assert isinstance(answer, StateForbids) is ("refusal" in ending)


class Shutdown(psycopg.OperationalError):
    sqlstate = "57P01"


class LockTimeout(psycopg.OperationalError):
    sqlstate = "55P03"


@pytest.mark.parametrize("error", [psycopg.OperationalError("the connection was lost"), Shutdown()])
def test_bytes_that_a_row_may_name_are_left(error: Exception) -> None:
    notes, answer = put(piece(b"a"), refusal=error)
    assert (notes[-1], answer) == ("handle", error)


def test_bytes_that_cannot_be_removed_fail_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: Sink) -> None:
        raise OSError("the store is away")

    monkeypatch.setattr(Sink, "settle", away)
    _, answer = put(piece(b"a"))
    assert answer.size == 1
    assert "the bytes of an upload are left" in caplog.text


def test_an_error_that_rolled_back_leaves_no_bytes() -> None:
    assert put(piece(b"a"), refusal=LockTimeout())[0][-1] == "abort"


def test_pieces_that_are_none_are_refused() -> None:
    notes, problem = put(piece(b"a"), b"\xff")
    assert isinstance(problem, Malformed)
    assert "handle" not in notes
    notes, problem = put(b"\xff")
    assert isinstance(problem, Malformed)
    assert notes == []
