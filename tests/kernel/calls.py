"""Calls without a server: contexts of threads and asyncio that remember what was sent."""

from typing import Any

import grpc

from server import app
from server.kernel.call import Call
from server.kernel.policy import MethodPolicy

POLICIES = app.policies()
GET = POLICIES["/plinth.sites.v1.PageService/GetPage"]
CREATE = POLICIES["/plinth.sites.v1.PageService/CreatePage"]
SIGN_UP = POLICIES["/plinth.identity.v1.AuthService/SignUp"]
HEALTH = POLICIES["/plinth.operations.v1.HealthService/GetHealth"]
WATCH = POLICIES["/plinth.sites.v1.PageService/WatchPages"]
STREAM = POLICIES["/plinth.sites.v1.PageService/StreamPages"]
EXPORT = POLICIES["/plinth.audit.v1.AuditService/ExportAuditEntries"]


class Aborted(Exception):
    """What gRPC raises when a call is aborted."""


class Context:
    """A gRPC context of a thread."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        self.initial: dict[str, Any] = {}
        self.trailing: dict[str, Any] = {}
        self.code: grpc.StatusCode | None = None
        self.details = ""

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None

    def is_active(self) -> bool:
        return True

    def send_initial_metadata(self, metadata: Any) -> None:
        self.initial = dict(metadata)

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.trailing = dict(metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details
        raise Aborted


class AsyncContext(Context):
    """A gRPC context of asyncio."""

    async def send_initial_metadata(self, metadata: Any) -> None:  # type: ignore[override]
        self.initial = dict(metadata)

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:  # type: ignore[override]
        self.code, self.details, self.trailing = code, details, dict(trailing)
        raise Aborted


def call(method: MethodPolicy, context: Context | None = None) -> Call:
    """A call of this RPC."""
    return Call(method, context or Context())
