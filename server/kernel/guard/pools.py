"""Thread pools: a call gets a thread once its message has arrived. If too many wait, the least critical are refused.

grpc.server gives a call its thread as soon as the headers have arrived; the thread then waits for the message, on a
condition that the dispatch thread notifies. Here the message is awaited first, without a thread. No thread waits for a
slow sender, and two hand-overs between threads are saved. Measured with a handler of 10 us: 95 us of CPU per call
instead of 152 (a bare hello-world: 131).

It uses internals of grpc/_server.py (grpcio is pinned; tests/kernel/test_pools.py fails when they change).
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
        """Number of calls that wait for a thread."""
        return self._work_queue.qsize()

    @property
    def size(self) -> int:
        """Largest number of threads."""
        return self._max_workers

    @property
    def busy(self) -> int:
        """Number of threads that serve a call: those whose innermost frame is not the one that waits for work.

        A look costs about 20 us; counting would cost every call.
        """
        frames = sys._current_frames()
        ours = [frames.get(one.ident) for one in list(self._threads) if one.ident is not None]
        return sum(frame is not None and frame.f_code is not thread._worker.__code__ for frame in ours)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a function.

        For the function by which grpc.server runs a unary call, receive the message of the call first.
        """
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
    """Returns the received message, as `_server._unary_request` does; None if the call has ended."""

    def argument() -> Any:
        with state.condition:
            request, state.request = state.request, None
            if request is None and state.client is _server._CLOSED:
                details = f'"{event.call_details.method.decode()}" requires exactly one request message.'
                _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, details.encode())
            return request

    return argument


def _submitted() -> "Future[None]":
    """The future by which grpc.server counts running calls.

    Only a limit of concurrent calls needs it; Plinth sets none.
    """
    future: Future[None] = Future()
    future.set_result(None)
    return future


def queue_bounds(bound: int) -> Mapping[Criticality, int]:
    """For each criticality: the number of waiting calls above which such a call is refused."""
    return {Criticality.SHEDDABLE: bound, Criticality.NORMAL: 2 * bound, Criticality.CRITICAL: 4 * bound}
