"""Every mutating RPC, done once in a house where it can be done; and right before, once so that it fails at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server import app
from server.kernel.chain import Route
from server.kernel.policy import Access, MethodPolicy
from server.kernel.steps import audit
from tests.clients import Tenant, unique
from tests.contract import doors, wall
from tests.contract.instances import mutations
from tests.contract.wall import House
from tests.kernel.calls import Aborted, Context
from tests.stack import Stack

MUTATIONS = mutations()
METHODS = {path: method for path, method in app.policies().items() if not method.read_only}


class Planted(Exception):
    """A failure on purpose."""


@dataclass(frozen=True)
class Made:
    """A call that was made: of what, under which request id, by whom, and what went over the wire."""

    method: MethodPolicy
    request_id: str
    token: str
    request: Message
    answer: Message | None = None


@dataclass
class Sweep:
    """Everything that was done, and what failed right before."""

    house: House
    platform: str
    done: list[Made] = field(default_factory=list)
    failed: list[Made] = field(default_factory=list)
    tried: list[Made] = field(default_factory=list)
    """What was called right before, only to learn what would be answered."""
    answers: dict[str, Any] = field(default_factory=dict)
    """By the paths of the RPCs."""

    @property
    def tenant(self) -> Tenant:
        """The house's."""
        return self.house.tenant

    def token(self, method: MethodPolicy) -> str:
        """Whose credentials an RPC is called with."""
        if method.access in (Access.PUBLIC, Access.PROVIDER_SIGNATURE):
            return ""
        if method.access is Access.PLATFORM:
            return self.platform
        session = MUTATIONS[method.path].session
        if session:
            return str(self.answers[session].access_token)
        return self.tenant.access_token

    def request(self, method: MethodPolicy) -> Message:
        """A request that can be fulfilled."""
        named = {
            name: value
            for name, value in self.house.named(method).items()
            if name.rpartition(".")[2] not in ("etag", "slug")
        }
        fields = MUTATIONS[method.path].fields
        return json_format.ParseDict(fields(self) if fields else {}, self.house.request(method, named))


def idempotency_key(request_id: str) -> str:
    """The key that a call brings: a secret of its caller."""
    return f"key-of-{request_id}"


def everything_done(stack: Stack, house: House, platform: str) -> Sweep:
    """Do it, as the owner of a house and with the token of a platform administrator."""
    sweep = Sweep(house, platform)
    with doors.channel(stack) as channel, failing(stack) as fail:
        for path in MUTATIONS:
            method = METHODS[path]
            request, token, request_id = sweep.request(method), sweep.token(method), unique(method.name)
            first = Made(method, f"{request_id}-first", token, request)
            if can_fail(path):
                fail(first)
                sweep.failed.append(first)
            sweep.tried.append(trial(doors.Grpc(channel, token), Made(method, f"{request_id}-trial", token, request)))
            outcome = doors.Grpc(channel, token).call(method, request, **metadata_of(request_id), **headers_of(method))
            assert outcome.problem is None, f"{path} answers its owner {outcome.problem}: {wall.remedy(method)}"
            answer = GetMessageClass(method.descriptor.output_type).FromString(outcome.content)
            sweep.answers[path] = answer
            sweep.done.append(Made(method, request_id, token, request, answer))
    return sweep


def trial(door: doors.Grpc, made: Made) -> Made:
    """Try a call without effect: it answers as it would, or says that it cannot be tried."""
    headers = metadata_of(made.request_id) | headers_of(made.method)
    outcome = door.call(made.method, made.request, **headers, x_validate_only="true")
    if not made.method.can_be_tried:
        assert outcome.problem is not None, made.method.path
        assert outcome.problem.reason == "TRIAL_IMPOSSIBLE", made.method.path
        return made
    assert outcome.problem is None, f"{made.method.path} cannot be tried: {outcome.problem}"
    answer = GetMessageClass(made.method.descriptor.output_type).FromString(outcome.content)
    return replace(made, answer=answer)


def can_fail(path: str) -> bool:
    """Whether it is made to fail at its end. Uploads have no handler for threads; tests/inbound has them."""
    return is_audited(path) and METHODS[path].upload is None


def is_audited(path: str) -> bool:
    """Whether an RPC leaves an audit entry, which is where it is made to fail. Telemetry leaves none."""
    return not METHODS[path].is_telemetry


def metadata_of(request_id: str) -> dict[str, str]:
    """What a call brings along. One that failed, or was a trial, brings the key of the one that is done.

    Nothing of it may be left.
    """
    key = idempotency_key(request_id.removesuffix("-first").removesuffix("-trial"))
    return {"x_request_id": request_id, "idempotency_key": key}


def headers_of(method: MethodPolicy) -> dict[str, str]:
    """What a domain says that calls of an RPC bring along."""
    return dict(MUTATIONS[method.path].headers)


@contextmanager
def failing(stack: Stack) -> Iterator[Callable[[Made], None]]:
    """Makes a call in this process that does everything, and fails right before its commit."""
    application = app.build(stack.settings, "failing", streams=False)
    application.open()
    append = audit.append

    def append_and_fail(*arguments: Any) -> None:
        append(*arguments)
        raise Planted

    def fail(made: Made) -> None:
        with patch.object(audit, "append", append_and_fail):
            call(application.routes[made.method.path], made)

    try:
        yield fail
    finally:
        application.close()


def call(route: Route, made: Made) -> None:
    """Call a handler in this process; it has to fail."""
    serve: Any = route.handler.unary_unary
    credentials = {"authorization": f"Bearer {made.token}"} if made.token else {}
    context = Context(**metadata_of(made.request_id), **headers_of(made.method), **credentials)
    try:
        serve(made.request, context)
    except Aborted:
        assert context.code is grpc.StatusCode.INTERNAL, (made.method.name, context.code)
    else:
        raise AssertionError(f"{made.method.name} did not fail")
