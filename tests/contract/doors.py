"""Any RPC by its descriptor, through both doors of a running stack: gRPC, and each of its REST bindings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from server.kernel.policy import VARIABLE, Binding, MethodPolicy
from tests.clients import Problem, Rest, rpc_problem
from tests.stack import Stack

ZERO_ID = "00000000-0000-7000-8000-000000000000"
RAW = "google.api.HttpBody"
TIMEOUT = 30.0
# A stream that was let in by mistake may have nothing to say.
STREAM_TIMEOUT = 20.0


@dataclass(frozen=True)
class Outcome:
    """What a door answered: a problem, or the bytes of a success."""

    problem: Problem | None
    content: bytes
    http_status: int = 0


class Grpc:
    """Calls RPCs by their policy."""

    def __init__(self, channel: grpc.Channel, token: str = "") -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def call(self, method: MethodPolicy, request: Message, **metadata: str) -> Outcome:
        """One call; of a stream the first message, or an empty one while nothing has happened; an upload at once."""
        unary = self._channel.stream_unary if method.upload else self._channel.unary_unary
        make: Any = self._channel.unary_stream if method.streaming else unary
        stub = make(method.path, request_serializer=lambda message: message.SerializeToString())
        pairs = (*self._metadata, *((name.replace("_", "-"), value) for name, value in metadata.items()))
        try:
            return Outcome(None, self._answer(stub, method, request, pairs))
        except grpc.RpcError as error:
            return Outcome(rpc_problem(error), b"")

    def _answer(self, stub: Any, method: MethodPolicy, request: Message, metadata: Any) -> bytes:
        if method.upload:
            return bytes(stub(iter([request]), timeout=TIMEOUT, metadata=metadata))
        if not method.streaming:
            return bytes(stub(request, timeout=TIMEOUT, metadata=metadata))
        stream = stub(request, timeout=STREAM_TIMEOUT, metadata=metadata)
        try:
            return bytes(next(stream, b""))
        finally:
            stream.cancel()


def answer_of(method: MethodPolicy, outcome: Outcome) -> Any:
    """The message that was answered, through either door."""
    answer = GetMessageClass(method.descriptor.output_type)()
    if outcome.http_status:
        return json_format.Parse(outcome.content or b"{}", answer)
    answer.MergeFromString(outcome.content)
    return answer


def over_rest(rest: Rest, binding: Binding, request: Message, headers: Mapping[str, str] | None = None) -> Outcome:
    """The same request at a REST binding."""
    path, query, body = rest_parts(binding, request)
    given: dict[str, Any] = {"json": body}
    raw = request.DESCRIPTOR.fields_by_name.get(binding.body)
    if raw is not None and raw.message_type is not None and raw.message_type.full_name == RAW:
        content = getattr(request, binding.body)
        given = {"content": content.data}
        headers = {**(headers or {}), "content-type": content.content_type}
    response = rest.request(binding.verb, path, params=query, headers=headers, **given)
    problem = None
    if response.status_code >= 400:
        assert response.headers["content-type"].startswith("application/json"), response.text
        problem = Problem.of(json_format.Parse(response.content, status_pb2.Status()))
    return Outcome(problem, response.content, response.status_code)


def rest_parts(binding: Binding, request: Message) -> tuple[str, dict[str, Any], Any]:
    """Path, query and JSON body that a request amounts to at a binding."""
    left: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    path = VARIABLE.sub(lambda match: str(left.pop(_name(match), "") or ZERO_ID), binding.path)
    if binding.body == "*":
        return path, {}, left
    body = left.pop(binding.body, {}) if binding.body else None
    left.pop("update_mask", None)
    return path, left, body


def _name(match: re.Match[str]) -> str:
    return match[0].strip("{}").partition("=")[0]


def empty_request(method: MethodPolicy) -> Message:
    """A request of this RPC with nothing set."""
    return GetMessageClass(method.descriptor.input_type)()


def channel(stack: Stack) -> grpc.Channel:
    """A channel to the stack's gateway."""
    return grpc.insecure_channel(stack.target)
