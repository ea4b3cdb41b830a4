"""The table of `plinth policy`: a row per RPC with its access, its guards, and its chain."""

from server import app
from server.kernel.chain import Route
from server.kernel.guard.access import access_tag
from server.kernel.policy import MethodPolicy
from server.settings import Settings

HEAD = (
    *("rpc", "access", "permission", "rate class", "pool", "criticality"),
    *("cache", "invalidates", "event", "chain"),
)
NOTHING = "-"


def rows(settings: Settings) -> list[tuple[str, ...]]:
    """The head, then a row per RPC in the order of the services."""
    built = [app.build(settings, "policy", streams=streams).routes for streams in (False, True)]
    routes = built[0] | built[1]
    return [HEAD, *(_row(routes[path]) for path in app.policies())]


def _row(route: Route) -> tuple[str, ...]:
    method = route.method
    return (
        method.path.removeprefix("/plinth."),
        method.access.value,
        method.permission or NOTHING,
        method.rate_class,
        *_threads(method),
        _cache(method),
        " ".join(_invalidates(method)) or NOTHING,
        method.emits or NOTHING,
        " > ".join((*route.steps, "handler")),
    )


def _threads(method: MethodPolicy) -> tuple[str, str]:
    """The pool, and the criticality for load shedding. What the event loop serves waits for no thread."""
    if method.on_loop:
        return NOTHING, NOTHING
    return "slow" if method.is_slow else "fast", method.criticality.name.lower()


def _cache(method: MethodPolicy) -> str:
    """The time that an answer is cached, and whether it is cached per caller."""
    if not method.cache_seconds:
        return NOTHING
    return f"{method.cache_seconds:.0f}s{' per caller' if method.per_caller else ''}"


def _invalidates(method: MethodPolicy) -> tuple[str, ...]:
    """The tags that it invalidates, including that of access."""
    return (*method.invalidates, *([access_tag("{tenant_id}")] if method.changes_access else ()))
