"""Live events without a server: events, calls, subscriptions to them, and the metrics of this process."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from plinth.sites.v1.page_pb2 import Page
from prometheus_client import REGISTRY

from server.app import SERVICES
from server.data.events import Event, Position
from server.kernel.call import Access, Call, Principal
from server.kernel.live.stream_places import StreamPlaces
from server.kernel.live.subscriptions import LiveEvent, Subscription, Subscriptions
from server.kernel.live.visibility import Visibility
from server.kernel.resources.service import readable_by, revealed_by
from tests.kernel.calls import STREAM, AsyncContext

ACME = "018f0000-0000-7000-8000-00000000000a"
OTHER = "018f0000-0000-7000-8000-00000000000b"
BEGINNING = Position(0, 0)
VISIBILITY = Visibility(readable_by(SERVICES), revealed_by(SERVICES))
_numbers = count(1)


def event(number: int, kind: str = "page.created", tenant_id: str = ACME, size: int = 0) -> LiveEvent:
    """The event at this place of the log; `size` is about the bytes of its payload."""
    page = Page(id=f"page-{number}", description="x" * size)
    payload = page.SerializeToString()
    return LiveEvent(
        Event(
            tenant_id,
            Position(number, 1),
            f"{number}",
            kind,
            page.id,
            "plinth.sites.v1.Page",
            payload,
            datetime.now(UTC),
        )
    )


def call(tenant_id: str = ACME, session_id: str = "") -> Call:
    """A call that was let in."""
    made, number = Call(STREAM, AsyncContext()), next(_numbers)
    session = session_id or f"session-{number}"
    made.principal = Principal(f"user-{number}", session, tenant_id, (), is_platform=False, expires_at=9e9)
    made.tenant_id = tenant_id
    made.access = Access(tenant_id, frozenset({STREAM.permission}), (), 1)
    return made


def nobody() -> Subscriptions:
    """Subscriptions without any yet."""
    return Subscriptions(StreamPlaces(per_caller=100, per_tenant=100))


def subscribe(
    subscriptions: Subscriptions, family: str = "page.*", *, after: Position | None = None, size: int = 100
) -> Subscription:
    """A new subscription to events of ACME, from the beginning of the log."""
    made = Subscription(call(), (family,), BEGINNING, after, size=size, visibility=VISIBILITY)
    subscriptions.add(made)
    return made


def numbers(events: list[LiveEvent]) -> list[int]:
    """Their places in the log."""
    return [one.position.transaction_id for one in events]


def growth(name: str, **labels: str) -> Callable[[], float]:
    """What tells by how much a metric of this process has grown since."""

    def read() -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = read()
    return lambda: read() - before
