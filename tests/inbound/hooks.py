"""A domain that the product does not have: it takes what others send in forms of their own.

tests/composing.py has the plinth command with this domain among the others.
"""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

from server.gateway import render
from server.kernel import live
from server.kernel.call import Call
from server.kernel.ids import new_id
from server.kernel.inbound import (
    InboundCall,
    InboundRoutes,
    InboundSignature,
    Sender,
    add_route,
    check_timestamped,
    new_token,
)
from server.kernel.live import LiveEvents
from server.kernel.module import Foundation, Module, Platform, Serve
from server.kernel.problems import Denied, StateForbids
from server.kernel.resources import EventFacts, Service
from server.kernel.sinks import Begin
from tests import composing
from tests.inbound import contract

ADAPTER = "acme"
FOLDER = "HOOKS_FOLDER"
VERIFY_TOKEN = "s3cret"
Run: Any = contract.message("Run")
File: Any = contract.message("File")
Report, Receipt, Hook = contract.message("Report"), contract.message("Receipt"), contract.message("Hook")


def secret_of(key_id: str) -> bytes:
    """The secret that a provider shares with a key."""
    return hashlib.sha256(f"secret of {key_id}".encode()).digest()


def signature(key_id: str, body: bytes, time: int) -> str:
    """The header of a signed body."""
    return f"t={time},v1={hmac.digest(secret_of(key_id), f'{time}.'.encode() + body, 'sha256').hex()}"


class FileSink:
    """A file in a folder, which has another name until it is whole."""

    def __init__(self) -> None:
        self.id = new_id()
        folder = Path(os.environ[FOLDER])
        self._path, self._part = folder / self.id, folder / f"{self.id}.part"
        self._file = self._part.open("wb")

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)

    def finish(self, sha256: bytes) -> None:
        """Name it."""
        del sha256
        self._file.close()
        self._part.rename(self._path)

    def settle(self) -> None:
        """It stays."""

    def abort(self) -> None:
        """Remove it."""
        self._file.close()
        self._part.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


class HookService(Service):
    """Takes reports, images and hooks."""

    descriptor = contract.SERVICE
    uploads: Mapping[str, Begin] = {"PutFile": lambda _call, _request, _name: FileSink()}

    def take_report(self, call: Call, request: Any) -> Message:
        """What was in it."""
        call.headers.append(("x-report-limits", "60:error:key"))
        return _report(request.body, request.report_key)

    def take_image(self, call: Call, request: Any) -> Message:
        """What was in it."""
        del call
        return _report(request.image)

    def put_file(self, call: Call, request: Any) -> Message:
        """What has arrived."""
        [upload] = call.uploads
        if request.label == "refused":
            raise StateForbids("Not this one.")
        found: Message = File(
            id=cast("FileSink", upload.sink).id,
            folder=request.folder,
            label=request.label,
            size=upload.size,
            sha256=upload.sha256.hex(),
            content_type=upload.content_type,
            file_name=upload.file_name,
        )
        return found

    def check_hook(self, call: Call, request: Any) -> Message:
        """The bare challenge, for who knows the token."""
        del call
        hub = request.hub
        if hub.mode != "subscribe" or not hmac.compare_digest(hub.verify_token.encode(), VERIFY_TOKEN.encode()):
            raise Denied("This is another token.")
        challenge: Message = HttpBody(content_type="text/plain", data=hub.challenge.encode())
        return challenge

    def make_hook(self, call: Call, request: Any) -> Message:
        """An address that a provider may call."""
        del request
        hook: Any = Hook(id=new_id(), route=new_token())
        add_route(call.writes, ADAPTER, hook.route, Sender(str(call.tenant_id), hook.id))
        return cast("Message", hook)

    def receive_hook(self, call: Call, request: Any) -> Message:
        """What came, and for whom."""
        size = len(request.body.data)
        return cast("Message", Receipt(id=new_id(), tenant_id=call.tenant_id, version=request.version, size=size))


class RunService(Service):
    """Runs, which nobody stores: what is asked of them is told as their events."""

    descriptor = contract.RUNS
    events: ClassVar[Mapping[str, EventFacts]] = {"run.finished": EventFacts(payload=Run, description="It is over.")}

    def __init__(self, live: LiveEvents | None) -> None:
        super().__init__()
        self._live = live

    def start_run(self, call: Call, request: Any) -> Message:
        """A new one."""
        del call
        if request.prompt == "forbidden":
            raise StateForbids("Not this one.")
        return cast("Message", Run(id=new_id(), text=request.prompt))

    def stream_run(self, call: Call, request: Any) -> AsyncIterator[Message]:
        """The events after one that was seen."""
        run = live.Run("run", request.run_id, ("run.finished",))
        return live.run_frames(self._live, call, run, request.last_event_id)

    def watch_run(self, call: Call, request: Any) -> AsyncIterator[Message]:
        """The same as messages."""
        run = live.Run("run", request.run_id, ("run.finished",))
        return live.run_events(self._live, call, run, request.last_event_id)

    def advance_run(self, call: Call, request: Any) -> Message:
        """Tell what was made."""
        run: Message = Run(id=request.run_id, text=request.text)
        if request.is_last:
            call.emits = "run.finished"
        return run


def _report(body: HttpBody, key: str = "") -> Message:
    digest = hashlib.sha256(body.data).hexdigest()
    found = Report(id=new_id(), content_type=body.content_type, size=len(body.data), sha256=digest, report_key=key)
    return cast("Message", found)


def _inbound(foundation: Foundation) -> tuple[InboundSignature, ...]:
    routes = InboundRoutes(foundation.database)

    def verify(call: InboundCall) -> Sender:
        route = cast("Any", call.request).route
        sender = routes.find(ADAPTER, route)
        check_timestamped(call.body, call.header("acme-signature"), [secret_of(sender.key_id)], call.now)
        return sender

    return (InboundSignature(ADAPTER, verify),)


def _runs(platform: Platform) -> RunService:
    return RunService(platform.live)


MODULE = Module("hooks", services=(HookService, Serve(RunService, _runs)), inbound=_inbound)


def compose() -> None:
    """Name this domain among those of the product, before anything asks for them."""
    composing.add(MODULE)
    write: Callable[..., Any] = render.write
    write.__defaults__ = (contract.descriptors(),)
