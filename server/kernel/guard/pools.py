"""Thread pools: calls get a thread when their message is there, and the least critical are refused when too many wait.

grpc.server gives a call its thread as soon as the headers have come; the thread then waits for the message, on a
condition that the dispatch thread notifies. Here the message is awaited first, without a thread: no thread waits for a
caller who sends slowly, and two hand-overs between threads are saved. Measured with a handler of 10 us: 95 us of CPU
per call instead of 152 (a bare hello-world: 131).

It uses what grpc/_server.py is made of (grpcio is pinned; tests/kernel/test_pools.py tells when it has changed).
"""
# ruff: noqa: SLF001 - see above

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, thread
from typing import Any

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.kernel.policy import Criticality

NO_FLAGS = 0


class CallThreads(ThreadPoolExecutor):
    """The threads of one kind of call."""

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return self._work_queue.qsize()

    @property
    def size(self) -> int:
        """How many threads there may be."""
        return self._max_workers

    @property
    def busy(self) -> int:
        """How many threads serve a call: those whose innermost frame is not that of waiting for work.

        Looking costs some 20 us; counting would cost every call.
        """
        frames = sys._current_frames()
        ours = [frames.get(one.ident) for one in list(self._threads) if one.ident is not None]
        return sum(frame is not None and frame.f_code is not thread._worker.__code__ for frame in ours)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run something; if it is how grpc.server runs a unary call, receive the call's message first."""
        if not args or args[0] is not _server._unary_response_in_pool:
            return super().submit(fn, *args, **kwargs)
        respond, event, state, behavior, _, deserializer, serializer = args
        receive = _server._receive_message(state, event.call, deserializer)

        def received(message_event: Any) -> Any:
            finished = receive(message_event)
            argument = _argument(event, state)
            super(CallThreads, self).submit(fn, respond, event, state, behavior, argument, deserializer, serializer)
            return finished

        # The caller holds the lock of `state`.
        event.call.start_server_batch((cygrpc.ReceiveMessageOperation(NO_FLAGS),), received)
        state.due.add(_server._RECEIVE_MESSAGE_TOKEN)
        return _submitted()


def _argument(event: Any, state: Any) -> Callable[[], Any]:
    """Gives the message that has been received, as `_server._unary_request` does; None when nobody wants an answer."""

    def argument() -> Any:
        with state.condition:
            request, state.request = state.request, None
            if request is None and state.client is _server._CLOSED:
                details = f'"{event.call_details.method.decode()}" requires exactly one request message.'
                _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, details.encode())
            return request

    return argument


def _submitted() -> "Future[None]":
    """What grpc.server counts running calls by, which only a limit of concurrent calls needs; there is none."""
    future: Future[None] = Future()
    future.set_result(None)
    return future


def queue_bounds(bound: int) -> Mapping[Criticality, int]:
    """How many calls may wait when one of each criticality gets its thread: the least critical goes first."""
    return {Criticality.SHEDDABLE: bound, Criticality.NORMAL: 2 * bound, Criticality.CRITICAL: 4 * bound}
