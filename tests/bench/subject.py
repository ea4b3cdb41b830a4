"""Plinth's side: a real stack with one api worker, a tenant and a page to read."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import grpc
from plinth.sites.v1 import page_pb2, page_pb2_grpc

from tests.bench.clocks import SERVER_CORE, pin
from tests.bench.content import DESCRIPTION, SETTINGS
from tests.bench.load import send
from tests.clients import Account, Session, Tenant, new_member
from tests.domains.travel.instances import new_trip
from tests.observability.stack import PointStack
from tests.stack import Stack

API = "api-0"
TOLD_APART = {API, "envoy", "postgres", "redis", "supervisor"}
# The generated stubs have no types.
STUBS: Any = page_pb2_grpc
TOKEN_LIFETIME = 6 * 3600
# Every call is counted, and none is refused.
HIGH_LIMITS = dict.fromkeys(("default", "tenant", "telemetry"), "100000000/60")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a stack does for each call."""

    cached: bool = True
    limited: bool = True
    enqueueing: bool = False
    """Whether every new page has a job done (tests/bench/enqueueing.py)."""
    recording: bool = False
    """Whether points of metrics can be recorded (tests/observability)."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, beside those that all stacks have in common."""
        return {"cache_enabled": self.cached, "rate_limits_enabled": self.limited, "rate_limits": HIGH_LIMITS}


CACHED = Variant()
UNCACHED = Variant(cached=False)
UNLIMITED = Variant(limited=False)
ENQUEUEING = Variant(enqueueing=True)
RECORDING = Variant(cached=False, recording=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A running Plinth, as the cases need it."""

    api: int
    """Process id of the api worker; the others likewise."""
    realtime: int
    envoy: int
    postgres: int
    redis: int
    others: tuple[int, ...]
    api_socket: Path
    port: int
    """Of the gateway."""
    admin_dsn: str
    """Plinth's database as a superuser."""
    runtime_dsn: str
    """Plinth's database as the role that serves."""
    postgres_socket_dir: str
    redis_url: str
    tenant_id: str
    token: str
    page_id: str
    member_token: str
    trip_id: str
    """A trip of the member, which the owner of the tenant sees too."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The credentials of a gRPC call."""
        return (("authorization", f"Bearer {self.token}"),)

    def get_page(self) -> page_pb2.Page:
        """Get the page that is read."""
        with grpc.insecure_channel(f"unix:{self.api_socket}") as channel:
            request = page_pb2.GetPageRequest(tenant_id=self.tenant_id, page_id=self.page_id)
            page: page_pb2.Page = STUBS.PageServiceStub(channel).GetPage(request, metadata=self.metadata, timeout=10)
        return page


class EnqueueingStack(Stack):
    """A stack in which every new page has a job done."""

    COMMAND: ClassVar[tuple[str, ...]] = (sys.executable, str(Path(__file__).with_name("enqueueing.py")), "up")


@contextmanager
def start(variant: Variant) -> Iterator[Subject]:
    """Run a stack with one api worker, on its core, with a page published in the seeded tenant."""
    # Tokens outlive the run. What else is limited or timed stays as it is delivered.
    make = EnqueueingStack if variant.enqueueing else PointStack if variant.recording else Stack
    stack = make(api_workers=1, access_token_lifetime=TOKEN_LIFETIME, **variant.settings)
    try:
        stack.start()
        pin(stack.processes()[API], SERVER_CORE)
        yield subject_of(stack)
    finally:
        stack.remove()


def subject_of(stack: Stack) -> Subject:
    """The subject that a running stack is, with a new page published in the seeded tenant."""
    settings, processes = stack.settings, stack.processes()
    credentials = {"email": stack.email, "password": stack.password}
    session = _post(stack.port, "/api/v1/auth/login", credentials)
    token, tenant_id = session["accessToken"], session["tenantId"]
    pages = f"/api/v1/tenants/{tenant_id}/pages"
    draft = {"title": "Opening hours", "description": DESCRIPTION, "settings": SETTINGS}
    page_id = _post(stack.port, pages, draft, token)["id"]
    _post(stack.port, f"{pages}/{page_id}/publish", {}, token)
    folder = str(settings.socket_dir)
    member_token = _member_token(stack, tenant_id, session)
    return Subject(
        api=processes[API],
        realtime=processes["realtime-0"],
        envoy=processes["envoy"],
        postgres=processes["postgres"],
        redis=processes["redis"],
        others=tuple(pid for name, pid in processes.items() if name not in TOLD_APART),
        api_socket=settings.socket(API),
        port=stack.port,
        admin_dsn=f"postgresql://postgres@/plinth?host={quote(folder, safe='')}",
        runtime_dsn=settings.runtime_dsn,
        postgres_socket_dir=folder,
        redis_url=settings.redis_dsn,
        tenant_id=tenant_id,
        token=token,
        page_id=page_id,
        member_token=member_token,
        trip_id=_post(stack.port, "/api/v1/trips", new_trip(), member_token)["id"],
    )


def _member_token(stack: Stack, tenant_id: str, session: dict[str, Any]) -> str:
    """The token of a new member of the seeded tenant."""
    owner = Account(email=stack.email, password=stack.password, id="")
    own = Session(session["accessToken"], session["refreshToken"], tenant_id, ())
    return new_member(Tenant(stack, tenant_id, "", owner, own), "member")[1].access_token


def _post(port: int, path: str, body: dict[str, Any], token: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(send(port, "POST", path, token, body))
    return found
