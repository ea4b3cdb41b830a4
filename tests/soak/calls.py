"""Calls of any RPC, made from its descriptor, in every way in which callers call."""
# ruff: noqa: S311 - a mix of calls is no secret

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import httpx
from google.protobuf.message import Message

from server import app
from server.kernel.ids import new_id
from server.kernel.policy import Access, MethodPolicy
from tests.clients import Rest, log_in
from tests.contract.doors import TIMEOUT, Grpc, channel, empty_request, over_rest, rest_parts
from tests.contract.wall import House, furnished, identifying
from tests.domains.platform import new_platform_admin
from tests.stack import Stack
from tests.streams.sse import NO_TLS

# What ends the house or its owner's session is asked of things that are not there.
ENDINGS = ("Delete", "Revoke", "Remove", "Erase", "LogOut", "Rotate")
CHANNELS = 4
# Seconds: some calls end before, some within, and some after.
SOON = 0.02
STREAM_SECONDS = 0.3
Way = Callable[[MethodPolicy, Message, str], str]


class Caller:
    """Makes calls from so many threads at once, in a house of its own."""

    def __init__(self, stack: Stack, threads: int) -> None:
        self._stack = stack
        self._threads = threads
        self._house: House = furnished(stack)
        self._platform = new_platform_admin(stack).access_token
        self._methods = list(app.policies().values())
        self._channels = [channel(stack) for _ in range(CHANNELS)]
        self._codes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ways: tuple[Way, ...] = (self._call, self._call, self._rest, self._cancel, self._hurry, self._hang_up)

    def run(self, calls: int) -> "Counter[str]":
        """Make so many calls; how often each code was answered."""
        shares = [calls // self._threads + (number < calls % self._threads) for number in range(self._threads)]
        with ThreadPoolExecutor(self._threads) as pool:
            for future in [pool.submit(self._run, share) for share in shares]:
                future.result()
        for one in self._channels:
            one.close()
        return self._codes

    def _run(self, calls: int) -> None:
        codes: Counter[str] = Counter()
        for _ in range(calls):
            method = random.choice(self._methods)
            way = random.choice(self._ways)
            codes[way(method, self._request(method), self._token(method))] += 1
        with self._lock:
            self._codes += codes

    def _token(self, method: MethodPolicy) -> str:
        if random.random() < 0.05:
            return ""
        if method.name == "LogOut":
            # It would end the session that all others call with.
            return log_in(self._stack, self._house.tenant.owner).access_token
        return self._platform if method.access is Access.PLATFORM else self._house.tenant.access_token

    def _request(self, method: MethodPolicy) -> Message:
        """One that can be fulfilled, one about what is not there, or an empty one."""
        chance = random.random()
        if chance < 0.1:
            return empty_request(method)
        named = {
            name: value
            for name, value in self._house.named(method).items()
            if name.rpartition(".")[2] not in ("etag", "slug")
        }
        if chance < 0.3 or method.name.startswith(ENDINGS):
            strangers = {name: [new_id()] if name == "ids" else new_id() for name in identifying(method)}
            return self._house.request(method, named | strangers, new_id() if method.name == "DeleteTenant" else "")
        return self._house.request(method, named)

    # Ways to call. Each gives the code that was answered.

    def _grpc(self, method: MethodPolicy) -> Any:
        chosen = random.choice(self._channels)
        make: Any = chosen.unary_stream if method.streaming else chosen.unary_unary
        return make(method.path, request_serializer=lambda message: message.SerializeToString())

    def _call(self, method: MethodPolicy, request: Message, token: str) -> str:
        if method.streaming:
            return self._listen(method, request, token, STREAM_SECONDS)
        outcome = Grpc(random.choice(self._channels), token).call(method, request)
        return "OK" if outcome.problem is None else _name(outcome.problem.code)

    def _rest(self, method: MethodPolicy, request: Message, token: str) -> str:
        if method.streaming or not method.bindings:
            return self._call(method, request, token)
        with suppress(httpx.TransportError):
            outcome = over_rest(Rest(self._stack, token), random.choice(method.bindings), request)
            return f"HTTP {outcome.http_status}"
        return "HTTP cut"

    def _cancel(self, method: MethodPolicy, request: Message, token: str) -> str:
        if method.streaming:
            return self._listen(method, request, token, random.uniform(0, SOON))
        future = self._grpc(method).future(request, metadata=_metadata(token), timeout=TIMEOUT)
        try:
            future.result(timeout=random.uniform(0, SOON))
        except grpc.FutureTimeoutError:
            future.cancel()
        except grpc.FutureCancelledError:
            return grpc.StatusCode.CANCELLED.name
        except grpc.RpcError:
            pass
        return str(future.code().name)

    def _hurry(self, method: MethodPolicy, request: Message, token: str) -> str:
        seconds = random.uniform(0.001, SOON)
        if method.streaming:
            return self._listen(method, request, token, seconds)
        try:
            self._grpc(method)(request, metadata=_metadata(token), timeout=seconds)
        except grpc.RpcError as error:
            return _code(error)
        return "OK"

    def _hang_up(self, method: MethodPolicy, request: Message, token: str) -> str:
        if method.streaming or not method.bindings:
            return self._cancel(method, request, token)
        binding = random.choice(method.bindings)
        path, query, body = rest_parts(binding, request)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with suppress(httpx.TransportError):
            url = f"{self._stack.url}{path}"
            response = httpx.request(
                binding.verb,
                url,
                params=query,
                json=body,
                headers=headers,
                timeout=random.uniform(0.001, SOON),
                # Reading the certificates of the machine took a third of the soak's own time.
                verify=NO_TLS,
                trust_env=False,
            )
            return f"HTTP {response.status_code}"
        return "HTTP hung up"

    def _listen(self, method: MethodPolicy, request: Message, token: str, seconds: float) -> str:
        stream = self._grpc(method)(request, metadata=_metadata(token), timeout=STREAM_SECONDS)
        ending = threading.Timer(seconds, stream.cancel)
        ending.start()
        try:
            for _ in stream:
                pass
        except grpc.RpcError as error:
            return _code(error)
        finally:
            ending.cancel()
        return "OK"


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


def _name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def _code(error: Any) -> str:
    return str(error.code().name)
