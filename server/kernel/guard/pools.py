"""Thread pools: a call gets a thread once its message has arrived. If too many wait, the least critical are refused.

grpc.server gives a call its thread as soon as the headers have arrived; the thread then waits for the message, on a
condition that the dispatch thread notifies. Here the message is awaited first, without a thread. No thread waits for a
slow sender, and two hand-overs between threads are saved. Measured with a handler of 10 us: 95 us of CPU per call
instead of 152 (a bare hello-world: 131).

grpc.server also sends initial metadata in an operation of its own, which cost 15 % of a call. Here it goes out in the
one operation that sends the answer.

It uses internals of grpc/_server.py (grpcio is pinned; tests/kernel/test_pools.py fails when they change).
"""
# ruff: noqa: SLF001 - see above

import logging
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, thread
from typing import Any

from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from server.kernel.policy import Criticality

log = logging.getLogger("plinth.threads")
NO_FLAGS = 0
HEADERS = "plinth_headers"
"""The attribute of a call's state that holds its initial metadata."""


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
        run, (_, event, state, behavior, _, deserializer, serializer) = fn, args
        receive = _server._receive_message(state, event.call, deserializer)

        def received(message_event: Any) -> Any:
            finished = receive(message_event)
            super(CallThreads, self).submit(run, _respond, event, state, behavior, deserializer, serializer)
            return finished

        # The caller holds the lock of `state`.
        event.call.start_server_batch((cygrpc.ReceiveMessageOperation(NO_FLAGS),), received)
        state.due.add(_server._RECEIVE_MESSAGE_TOKEN)
        return _submitted()


def set_headers(context: Any, headers: tuple[tuple[str, str], ...]) -> None:
    """Have the answer of a unary call begin with this metadata. Where that is not possible, the metadata follows it."""
    state = getattr(context, "_state", None)
    if state is None:
        context.set_trailing_metadata(headers)
    else:
        setattr(state, HEADERS, headers)


def _respond(event: Any, state: Any, behavior: Any, deserializer: Any, serializer: Any) -> None:
    """Serve a call whose message is there, as `_server._unary_response_in_pool` does."""
    cygrpc.install_context_from_request_call_event(event)
    try:
        argument = _argument(event, state)
        if argument is None:
            return
        response: Any
        response, proceed = _server._call_behavior(event, state, behavior, argument, deserializer)
        answer = _server._serialize_response(event, state, response, serializer) if proceed else None
        if answer is not None:
            _answer(event, state, answer)
    except Exception:
        log.exception("a call could not be answered")
    finally:
        cygrpc.uninstall_context()


def _argument(event: Any, state: Any) -> Any:
    """The received message, as `_server._unary_request` gives it; None if the call has ended."""
    with state.condition:
        request, state.request = state.request, None
        if request is None and state.client is _server._CLOSED:
            details = f'"{event.call_details.method.decode()}" requires exactly one request message.'
            _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, details.encode())
        return request


def _answer(event: Any, state: Any, answer: bytes) -> None:
    """Send headers, answer and status at once, as `_server._status` does without the headers."""
    with state.condition:
        if state.client is _server._CANCELLED:
            return
        status = (state.trailing_metadata, _server._completion_code(state), _server._details(state), NO_FLAGS)
        flags = _server._get_send_message_op_flags_from_state(state)
        operations = [cygrpc.SendStatusFromServerOperation(*status), cygrpc.SendMessageOperation(answer, flags)]
        if state.initial_metadata_allowed:
            operations.append(_server._get_initial_metadata_operation(state, getattr(state, HEADERS, None)))
        token = _server._SEND_STATUS_FROM_SERVER_TOKEN
        event.call.start_server_batch(operations, _server._send_status_from_server(state, token))
        state.statused = True
        _server._reset_per_message_state(state)
        state.due.add(token)


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
