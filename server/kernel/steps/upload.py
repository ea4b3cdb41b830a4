"""Uploads: a call of several messages, of which the first is the request, and all carry bytes.

The caller is known, counted and allowed, and the request valid, before any byte is stored. The transaction begins when
all are: the call is authorized again, writes, and leaves its event and its audit entry, as any other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import Call, ServerContext
from server.kernel.chain import (
    Answer,
    Chain,
    Request,
    Route,
    Step,
    Stream,
    Unary,
    compose_stream,
    compose_unary,
    serialise,
)
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Malformed
from server.kernel.raw_bodies import RawBody
from server.kernel.sinks import CONCLUDING, Begin, Upload, for_each, may_be_committed
from server.kernel.transfers.uploads import IDLE, Uploads

AGAIN = "authorize"
CONCLUDERS = 4


class UploadCall(Call):
    """A call whose body arrives in pieces."""

    pieces: AsyncIterator[Message]

    @property
    def is_active(self) -> bool:
        """Yes: what has arrived whole is not given up."""
        return True


class UploadHandler:
    """Receives the bytes, and then runs the rest of the chain in a thread."""

    def __init__(self, raw: RawBody, begin: Begin, chain: Chain[Unary], uploads: Uploads) -> None:
        """`chain` is the part of the chain that concludes an upload."""
        self._raw, self._begin, self._chain, self._uploads = raw, begin, chain, uploads
        self._threads = ThreadPoolExecutor(CONCLUDERS, thread_name_prefix="uploaded")

    async def handle(self, call: Call, request: Request) -> AsyncIterator[Message]:
        """The one answer of the call."""
        uploads = await self._uploads.receive(call, self._raw, self._begin, cast("UploadCall", call).pieces)
        # An idempotency key is bound to the files: their bytes by their hashes. A form has another boundary each time.
        body = getattr(request, self._raw.field)
        body.data = b"".join(each.sha256 for each in uploads)
        body.content_type = "\n".join(f"{each.content_type} {each.file_name}" for each in uploads)
        call.uploads = uploads
        # Once it runs, the thread alone decides whether the bytes stay.
        concluding = asyncio.get_running_loop().run_in_executor(self._threads, self._conclude, call, request, uploads)
        yield cast("Message", await asyncio.shield(concluding))

    def _conclude(self, call: Call, request: Request, uploads: Sequence[Upload]) -> Answer:
        sinks = [upload.sink for upload in uploads]
        try:
            answer = self._chain.handle(call, request)
        except BaseException as error:
            if not may_be_committed(error):
                for_each(sinks, lambda sink: sink.abort())
            raise
        # Of a replay, the first call has stored the same bytes.
        for_each(sinks, (lambda sink: sink.abort()) if call.is_replay else (lambda sink: sink.settle()))
        return answer


def upload_route(
    method: MethodPolicy, raw: RawBody, steps: Sequence[Step], handler: Unary, receiving: tuple[Begin, Uploads]
) -> Route:
    """The route of an upload: of several messages on asyncio, with one answer."""
    concluding = [step for step in steps if step.name in (AGAIN, *CONCLUDING)]
    admitting = [step for step in steps if step.name not in CONCLUDING]
    chain: Chain[Unary] = Chain(lambda: compose_unary(method, concluding, handler))
    receiver = UploadHandler(raw, receiving[0], chain, receiving[1])
    whole: Chain[Stream] = Chain(lambda: _composed(method, admitting, receiver, chain))
    parse = GetMessageClass(method.descriptor.input_type).FromString

    async def serve(requests: AsyncIterator[bytes], context: ServerContext) -> Answer:
        call, first = UploadCall(method, context), b""
        # Who sends nothing has sent an empty request, whose rules say what is missing.
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE):
                first = await anext(requests, b"")
        call.pieces = _parsed(requests, parse)
        *_, answer = [message async for message in whole.handle(call, first)]
        return answer

    return Route(method, whole, grpc.stream_unary_rpc_method_handler(serve, None, serialise))


def _composed(
    method: MethodPolicy, steps: Sequence[Step], receiver: UploadHandler, chain: Chain[Unary]
) -> tuple[Stream, tuple[str, ...]]:
    handle, names = compose_stream(method, steps, receiver.handle)
    return handle, (*names, *chain.steps)


async def _parsed(requests: AsyncIterator[bytes], parse: Callable[[bytes], Message]) -> AsyncIterator[Message]:
    async for raw in requests:
        try:
            yield parse(raw)
        except DecodeError as error:
            raise Malformed("A piece of the upload does not parse.") from error
