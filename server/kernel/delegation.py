"""Delegation: RPCs that a job calls on behalf of who has started its operation.

Such a call goes through the chain from `authorize` on, as any other: it may do what that caller may do now, its rules,
quotas, event and audit entry are those of the RPC. What comes before concerns a connection, which it has none of: no
token is verified and no limit counts it, as the call that started the operation was counted. What asks for a fresh
proof of who somebody is (`step_up`) is refused.

Each call has the key of its operation and its own as idempotency key, so that an attempt that goes on after a lost one
calls everything again and nothing happens twice. A call has a transaction of its own: none is made within a batch.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.call import AGENT, REQUEST_ID, Call, Principal
from server.kernel.chain import Answer, Chain, Step, Unary, compose_unary, serialise
from server.kernel.messages.fields import value_of
from server.kernel.policy import MethodPolicy
from server.kernel.sinks import CONCLUDING, Begin, Sink, Upload, for_each, may_be_committed

M = TypeVar("M", bound=Message)
KEY = "idempotency-key"


class Handlers(Protocol):
    """The handlers of RPCs."""

    def unary(self, method: MethodPolicy) -> Unary:
        """The handler of a unary RPC. Raises MissingHandler."""

    def begin(self, method: MethodPolicy) -> Begin:
        """What begins to store an upload. Raises MissingHandler."""


class Started(Protocol):
    """An operation that somebody has started: its Work."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def tenant_id(self) -> str:
        """Its tenant."""

    @property
    def owner_id(self) -> str:
        """Who has started it."""

    @property
    def request_id(self) -> str:
        """The id of the request that has started it."""


class File(NamedTuple):
    """A file to upload."""

    name: str
    content_type: str
    pieces: Iterable[bytes]


class Delegation:
    """Makes such calls, in one process."""

    def __init__(
        self,
        methods: Mapping[str, MethodPolicy],
        handlers: Handlers,
        steps: Sequence[Step],
        principal_of: Callable[[str, str], Principal],
    ) -> None:
        """`methods` are by path. `principal_of` takes a tenant and the id of a user or API key.

        It raises Unauthenticated if there is no such caller any more.
        """
        self._methods = methods
        self._handlers = handlers
        self._steps = steps
        self._principal_of = principal_of
        self._chains: dict[str, Chain[Unary]] = {}

    def of(self, started: Started) -> "Delegate":
        """Who calls on behalf of the owner of an operation. Raises LookupError if the platform has started it."""
        if not started.owner_id:
            raise LookupError(f"operation {started.id} belongs to nobody, on whose behalf nothing can be called")
        return Delegate(self, started)

    def call(self, started: Started, path: str, request: Message, key: str, file: File | None) -> Message:
        """Make a call. Raises its problem."""
        method = self._methods[path]
        call = Call(method, Unconnected(_metadata(started, key)))
        call.principal = self._principal_of(started.tenant_id, started.owner_id)
        chain = self._chain(method)
        if file is None:
            return _message(method, chain.handle(call, request))
        return _message(method, self._upload(method, call, request, chain, file))

    def _upload(self, method: MethodPolicy, call: Call, request: Message, chain: Chain[Unary], file: File) -> Answer:
        """As an upload that comes from a connection: nothing is stored before the call is allowed and valid."""
        if method.upload is None:
            raise TypeError(f"{method.path} takes no file")
        admitting = [step for step in self._steps if step.name not in CONCLUDING]
        compose_unary(method, admitting, lambda _call, _request: b"")[0](call, request)
        upload = _received(self._handlers.begin(method)(call, request, file.name), file)
        call.uploads = (upload,)
        # What an idempotency key is bound to.
        value_of(request, method.upload.field).data = upload.sha256
        try:
            answer = chain.handle(call, request)
        except BaseException as error:
            if not may_be_committed(error):
                for_each([upload.sink], lambda sink: sink.abort())
            raise
        for_each([upload.sink], (lambda sink: sink.abort()) if call.is_replay else (lambda sink: sink.settle()))
        return answer

    def _chain(self, method: MethodPolicy) -> Chain[Unary]:
        if method.path not in self._chains:
            handler = self._handlers.unary(method)
            self._chains[method.path] = Chain(lambda: compose_unary(method, self._steps, handler))
        return self._chains[method.path]


class Delegate:
    """Calls on behalf of the owner of one operation. Every method blocks."""

    def __init__(self, delegation: Delegation, started: Started) -> None:
        self._delegation = delegation
        self._started = started

    def call(self, path: str, request: Message, answer: type[M], key: str = "") -> M:
        """Call a unary RPC, such as `/plinth.sites.v1.PageService/CreatePage`. Raises its problem.

        `key` is unique among the mutations of the operation, and the same in each of its attempts.
        """
        return self._cast(self._delegation.call(self._started, path, request, key, None), answer)

    def upload(self, path: str, request: Message, file: File, answer: type[M], key: str) -> M:
        """The same with the bytes of one file."""
        return self._cast(self._delegation.call(self._started, path, request, key, file), answer)

    def _cast(self, given: Message, answer: type[M]) -> M:
        if not isinstance(given, answer):
            raise TypeError(f"the answer is {given.DESCRIPTOR.full_name}, not {answer.DESCRIPTOR.full_name}")
        return given


class Unconnected:
    """The context of a call that no connection has brought."""

    def __init__(self, metadata: "Sequence[tuple[str, str | bytes]]") -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> "Iterable[tuple[str, str | bytes]]":
        """What the job tells of the call."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """None: the timeout of the job bounds it."""
        return None

    def is_active(self) -> bool:
        """Yes: the job waits."""
        return True


def _metadata(started: Started, key: str) -> "list[tuple[str, str | bytes]]":
    told: list[tuple[str, str | bytes]] = [(AGENT, f"operation {started.id}")]
    if started.request_id:
        told.append((REQUEST_ID, started.request_id))
    if key:
        told.append((KEY, f"{started.id} {key}"))
    return told


def _received(sink: Sink, file: File) -> Upload:
    size, digest = 0, hashlib.sha256()
    try:
        for piece in file.pieces:
            size += len(piece)
            digest.update(piece)
            sink.write(piece)
        sink.finish(digest.digest())
    except BaseException:
        for_each([sink], lambda each: each.abort())
        raise
    return Upload(sink, size, digest.digest(), file.content_type, file.name)


def _message(method: MethodPolicy, answer: Answer) -> Message:
    """The answer as a message. A replayed one is bytes that are read like one."""
    kind = GetMessageClass(method.descriptor.output_type)
    return answer if isinstance(answer, kind) else kind.FromString(serialise(answer))
