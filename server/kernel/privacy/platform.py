"""What becomes of the tables that belong to no domain."""

from server.data.canary import secret_canaries
from server.data.counters import counters
from server.data.cursors import event_cursors
from server.data.epochs import log_epochs
from server.data.events import events
from server.data.idempotency import idempotency_records
from server.data.inbound_routes import inbound_routes
from server.data.moves import moves
from server.kernel.privacy.declaration import Decision, Erase, NotPersonal
from server.kernel.privacy.log import COUNT, blank_events

_ID = "an id, which is a pseudonym once the account is erased"
_QUEUE = "a name of Plinth's own"

DECISIONS: tuple[Decision, ...] = (
    Erase(table=events, columns=("payload",), run=blank_events, count=COUNT, without_tenant=True),
    NotPersonal(events, "type", "message_type", why="a name of the contract"),
    NotPersonal(events, "resource_id", "actor_id", "audience", why=_ID),
    NotPersonal(events, "request_id", why="names a request"),
    NotPersonal(
        idempotency_records,
        *("id", "request_hash", "answer"),
        why="a keyed hash, and an encrypted answer, which only a call with the same key and credentials finds; "
        "gone after a day",
    ),
    NotPersonal(inbound_routes, "adapter", why="a name of a domain's"),
    NotPersonal(inbound_routes, "route_hash", why="a hash of what a tenant made for a provider"),
    NotPersonal(moves, "name", "code", why="a name of a provider's or a domain's"),
    NotPersonal(moves, "arguments", "result", why="ids rather than personal data, as server/data/moves.py asks"),
    NotPersonal(counters, "name", why="a name of a domain's"),
    NotPersonal(event_cursors, "name", why=_QUEUE),
    NotPersonal(log_epochs, "cluster", why="names a cluster of PostgreSQL"),
    NotPersonal(secret_canaries, "sealed", why="a sealed constant"),
    NotPersonal("alembic_version", "version_num", why="the number of a migration"),
    NotPersonal("procrastinate_jobs", "queue_name", "task_name", "lock", "queueing_lock", "status", why=_QUEUE),
    NotPersonal("procrastinate_jobs", "args", why="ids rather than personal data, as server/kernel/call.py asks"),
    NotPersonal("procrastinate_periodic_defers", "task_name", "periodic_id", why=_QUEUE),
    NotPersonal("procrastinate_events", "type", why=_QUEUE),
)
