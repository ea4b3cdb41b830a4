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


def gateway_get(stage: Stage, stack: ExitStack) -> Case:
    """GetPage through the gateway, against the transcoder and the router alone."""
    exchange = _get(stage(CACHED))
    return Case(
        name="gateway-get",
        title="Envoy: GetPage, REST / transcoder and router alone",
        goal=Goal(1.25, at_least=False),
        ratio=_times,
        subject=_side(stack, exchange, whole),
        baseline=_side(stack, exchange, bare),
        calls=CALLS,
        more_rounds=MORE_ROUNDS,
    )


def gateway_post(stage: Stage, stack: ExitStack) -> Case:
    """CreatePage of 2 KB through the gateway, against the transcoder and the router alone."""
    exchange = _create(stage(CACHED))
    return Case(
        name="gateway-post",
        title="Envoy: CreatePage of 2 KB, REST / transcoder and router alone",
        goal=Goal(1.35, at_least=False),
        ratio=_times,
        subject=_side(stack, exchange, whole),
        baseline=_side(stack, exchange, bare),
        calls=CALLS,
        more_rounds=MORE_ROUNDS,
    )


def lua_get(stage: Stage, stack: ExitStack) -> Case:
    """What Lua takes of a GetPage."""
    exchange = _get(stage(CACHED))
    return Case(
        name="lua-get",
        title=f"Envoy: Lua's share of GetPage, REST / {LUA_GET} us",
        goal=Goal(1.0, at_least=False),
        ratio=_share(LUA_GET),
        subject=_side(stack, exchange, whole),
        baseline=_side(stack, exchange, without_lua),
        calls=CALLS,
        more_rounds=MORE_ROUNDS,
    )


def lua_post(stage: Stage, stack: ExitStack) -> Case:
    """What Lua takes of a CreatePage of 2 KB."""
    exchange = _create(stage(CACHED))
    return Case(
        name="lua-post",
        title=f"Envoy: Lua's share of CreatePage of 2 KB, REST / {LUA_POST} us",
        goal=Goal(1.0, at_least=False),
        ratio=_share(LUA_POST),
        subject=_side(stack, exchange, whole),
        baseline=_side(stack, exchange, without_lua),
        calls=CALLS,
        more_rounds=MORE_ROUNDS,
    )


CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {
    "gateway-get": gateway_get,
    "gateway-post": gateway_post,
    "lua-get": lua_get,
    "lua-post": lua_post,
}


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
