"""Streams with an opening: a unary call runs through the whole chain of its own, and then the stream shows its run.

Whatever the opening is refused for, the caller gets as from a unary call, before the stream begins. A caller who loses
the connection resumes with the stream of the run; sending the opening again with its key opens no second run.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.data.events import Position
from server.kernel.call import HTTP_STATUS, Call, ServerContext
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
    route_of_stream,
    serialise,
)
from server.kernel.live.reader import LiveEvents
from server.kernel.live.runs import Run, follow_run, opened, resumed
from server.kernel.policy import HTTP_BODY, MethodPolicy

OUTER = ("errors", "trace", "telemetry")
"""The steps of the stream itself. The opening has all others."""
# Openings that run at the same time in a process; others wait. They only compute and write.
OPENERS = 4
# Headers of the opening's answer that are not those of a stream.
OF_THE_ANSWER = (HTTP_STATUS, "etag")


class OpeningContext:
    """The context of the stream, as the unary call of its opening sees it."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self.headers: tuple[tuple[str, str], ...] = ()
        """What the call wants to send beside its answer."""

    def invocation_metadata(self) -> "Iterable[tuple[str, str | bytes]] | None":
        """The metadata of the stream."""
        return self._context.invocation_metadata()

    def time_remaining(self) -> float | None:
        """Seconds until the deadline of the stream."""
        return self._context.time_remaining()

    def is_active(self) -> bool:
        """Yes: an opening is not given up half-way, since the key of a repeated one finds its run."""
        return True

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Keep it for the beginning of the stream."""
        self.headers = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """Only the step `errors` aborts, which is one of the stream."""
        raise AssertionError(f"an opening has no step that aborts: {code} {details}")


class OpenedStream:
    """Opens a run, and follows it."""

    def __init__(self, method: MethodPolicy, first: MethodPolicy, chain: Chain[Unary], live: LiveEvents | None) -> None:
        """`chain` is that of the opening's RPC, which is `first`."""
        self._as_frames = method.descriptor.output_type.full_name == HTTP_BODY
        self._ends_with = method.opening.ends_with if method.opening else ()
        self._first, self._chain, self._live = first, chain, live
        self._answer_class = GetMessageClass(first.descriptor.output_type)
        self._threads = ThreadPoolExecutor(OPENERS, thread_name_prefix="opening")

    async def handle(self, call: Call, request: Request) -> AsyncIterator[Message]:
        """Run the opening; then the events of its run."""
        live = self._live
        if live is None:
            raise LookupError("streams are served by the realtime role")
        await live.wait_until_ready()
        position, context = live.position, OpeningContext(call.context)
        first = Call(self._first, context)
        answer = await self._open(call, first, request)
        run = Run(self._first.emits.partition(".")[0], str(getattr(answer, "id", "")), self._ends_with)
        last = resumed(call) if first.is_replay else ""
        known = None if last else await self._start(live, first, run, position)
        items = follow_run(live, call, run, last_event_id=last, known=known)
        stream = opened(items, answer, as_frames=self._as_frames)
        # A stream that is refused, for its place or its position, is refused before anything is sent.
        message = await anext(stream)
        headers = tuple(each for each in context.headers if each[0] not in OF_THE_ANSWER)
        await call.stream_context.send_initial_metadata(headers if call.is_rest else ())
        yield message
        async for message in stream:
            yield message

    async def _open(self, call: Call, first: Call, request: Request) -> Message:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._chain.handle, first, request)
        finally:
            # The stream is the same caller's, and ends when they lose access.
            call.principal, call.tenant_id, call.access = first.principal, first.tenant_id, first.access
            call.limit, call.limit_class = first.limit, first.limit_class
        return self._answer_class.FromString(serialise(answer))

    async def _start(self, live: LiveEvents, first: Call, run: Run, position: Position) -> Position:
        """Where the run begins: before this call, or for a repeated one before its first event."""
        return await live.before(str(first.tenant_id), run.id) if first.is_replay else position


def opened_route(
    method: MethodPolicy,
    first: MethodPolicy,
    steps: Sequence[Step],
    handler: Unary,
    live: LiveEvents | None,
) -> Route:
    """The route of a stream with an opening, whose RPC is `first` and served by `handler`."""

    def handle(call: Call, request: Request) -> Answer:
        # Within the transaction, so that nothing is opened that cannot be shown.
        if live is not None:
            live.check_place(call)
        return handler(call, request)

    inner = [step for step in steps if step.name not in OUTER]
    outer = [step for step in steps if step.name in OUTER]
    chain: Chain[Unary] = Chain(lambda: compose_unary(first, inner, handle))
    stream = OpenedStream(method, first, chain, live)

    def compose() -> tuple[Stream, tuple[str, ...]]:
        composed, names = compose_stream(method, outer, stream.handle)
        return composed, (*names, *chain.steps)

    return route_of_stream(method, Chain(compose))
