"""What the gateway's own work costs: Envoy as it is configured, against the same Envoy with less in it.

Behind it stands a server that answers at once what Plinth answered once, so that Envoy alone is measured.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from plinth.sites.v1 import page_pb2

from server.kernel.call import JSON_KEYS, ORIGINAL_PATH
from tests.bench import gateways
from tests.bench.cases import CREATE_PAGE, DEADLINE, GET_PAGE, Setting, Stage
from tests.bench.clocks import clock_of
from tests.bench.content import DESCRIPTION, SETTINGS
from tests.bench.engine import Case, Goal, Sample, Side
from tests.bench.gateways import Change, bare, whole, without_lua
from tests.bench.load import Load, RestLoad, WrongAnswerError, send
from tests.bench.subject import CACHED, STUBS
from tests.clients import unique

BODY_BYTES = 2048
# Microseconds of CPU that Lua may take of a request.
LUA_GET, LUA_POST = 30, 60
# Rounds are short and many, since a few microseconds are told apart here.
CALLS, MORE_ROUNDS = 1_200, 4


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request over REST, and what the server answers it."""

    rpc: str
    path: str
    token: str
    body: bytes
    answer: Message
    headers: tuple[tuple[str, str], ...]

    def load(self, port: int) -> Load:
        """This request, again and again."""
        body = json.loads(self.body) if self.body else None
        received = send(port, "POST" if self.body else "GET", self.path, self.token, body)
        _compare(received, self.answer)
        return RestLoad(port, self.path, self.token, received, self.body)


Ask = Callable[[Setting], Exchange]
Compare = Callable[[Sample, Sample], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The gateway as it is against the same Envoy with less in it, under one request."""

    name: str
    title: str
    ask: Ask
    less: Change
    most: float
    """The goal: the ratio is at most this."""
    ratio: Compare

    def __call__(self, stage: Stage, stack: ExitStack) -> Case:
        """The case."""
        exchange = self.ask(stage(CACHED))
        return Case(
            name=self.name,
            title=f"Envoy: {self.title}",
            goal=Goal(self.most, at_least=False),
            subject=_side(stack, exchange, whole),
            baseline=_side(stack, exchange, self.less),
            ratio=self.ratio,
            calls=CALLS,
            more_rounds=MORE_ROUNDS,
        )


def _times(subject: Sample, baseline: Sample) -> float:
    return subject.server_us / baseline.server_us


def _share(most: float) -> Callable[[Sample, Sample], float]:
    return lambda subject, baseline: (subject.server_us - baseline.server_us) / most


def _side(stack: ExitStack, exchange: Exchange, change: Change) -> Side:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plinth-gateway-")))
    message = exchange.answer.SerializeToString().hex()
    answers = {exchange.rpc: {"message": message, "headers": exchange.headers}}
    server = stack.enter_context(gateways.running(folder, answers, change))
    return Side(
        name=change.__name__, load=exchange.load(server.port), clocks={"server": clock_of([server.pid])}, pid=server.pid
    )


def _get(setting: Setting) -> Exchange:
    request = page_pb2.GetPageRequest(tenant_id=setting.subject.tenant_id, page_id=setting.page.id)
    return _exchange(setting, GET_PAGE, setting.page_path, request)


def _create(setting: Setting) -> Exchange:
    page: dict[str, Any] = {"slug": unique("gateway"), "title": "Opening hours", "settings": SETTINGS}
    page["description"] = (DESCRIPTION * BODY_BYTES)[: BODY_BYTES - len(json.dumps(page | {"description": ""}))]
    request = page_pb2.CreatePageRequest(
        tenant_id=setting.subject.tenant_id, page=json_format.ParseDict(page, page_pb2.Page())
    )
    return _exchange(setting, CREATE_PAGE, setting.pages_path, request, page)


def _exchange(setting: Setting, rpc: str, path: str, request: Message, body: dict[str, Any] | None = None) -> Exchange:
    """Ask Plinth as the gateway would."""
    plinth = setting.subject
    metadata = [*plinth.metadata, (ORIGINAL_PATH, path), *([(JSON_KEYS, ",".join(body))] if body else [])]
    with grpc.insecure_channel(f"unix:{plinth.api_socket}") as channel:
        call = getattr(STUBS.PageServiceStub(channel), rpc.rpartition("/")[2])
        answer, sent = call.with_call(request, metadata=metadata, timeout=DEADLINE)
    headers = tuple((name, value) for name, value in sent.initial_metadata() if not name.startswith("grpc-"))
    return Exchange(rpc, path, plinth.token, json.dumps(body).encode() if body else b"", answer, headers)


def _compare(received: bytes, answer: Message) -> None:
    found: dict[str, Any] = json.loads(received)
    wanted = json_format.MessageToDict(answer)
    if {name: found.get(name) for name in wanted} != wanted:
        raise WrongAnswerError(f"{found} is not {wanted}")


GET, POST = "GetPage, REST", "CreatePage of 2 KB, REST"
CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {
    each.name: each
    for each in (
        Comparison("gateway-get", f"{GET} / transcoder and router alone", _get, bare, 1.25, _times),
        Comparison("gateway-post", f"{POST} / transcoder and router alone", _create, bare, 1.35, _times),
        Comparison("lua-get", f"Lua's share of {GET} / {LUA_GET} us", _get, without_lua, 1.0, _share(LUA_GET)),
        Comparison("lua-post", f"Lua's share of {POST} / {LUA_POST} us", _create, without_lua, 1.0, _share(LUA_POST)),
    )
}
