"""The table that `plinth policy` prints: a row per RPC with its decision and its chain."""

from server import app
from server.kernel.chain import Route
from server.settings import Settings

HEAD = ("rpc", "access", "permission", "rate class", "cache", "event", "chain")


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
        method.permission or "-",
        method.rate_class,
        f"{method.cache_seconds:.0f}s" if method.cache_seconds else "-",
        method.emits or "-",
        " > ".join((*route.steps, "handler")),
    )
