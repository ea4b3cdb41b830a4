"""The routes of a serving process: RPCs on threads in api workers, and on an event loop in the realtime role."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from server.kernel.chain import Route, Step, stream_route, unary_route, waiting_route
from server.kernel.live import LiveEvents
from server.kernel.policy import MethodPolicy
from server.kernel.resources.standard import ServiceHandlers
from server.kernel.steps.opening import opened_route
from server.kernel.steps.upload import upload_route
from server.kernel.transfers import Uploads
from server.kernel.warm import Warmer

Methods = Mapping[str, MethodPolicy]
"""All RPCs by path."""


def api_routes(
    methods: Methods,
    handlers: ServiceHandlers,
    steps: Sequence[Step],
    slow: ThreadPoolExecutor | None = None,
    warmer: Warmer | None = None,
) -> dict[str, Route]:
    """The routes of an api worker by path. Raises MissingHandler for a declared RPC without a handler."""
    routes = {}
    for path, method in methods.items():
        if method.on_loop:
            continue
        handler = handlers.unary(method)
        routes[path] = unary_route(method, steps, handler, slow if method.is_slow else None)
        if warmer is not None:
            warmer.add(method, steps, handler)
    return routes


def realtime_routes(
    methods: Methods, handlers: ServiceHandlers, steps: Sequence[Step], live: LiveEvents | None = None
) -> dict[str, Route]:
    """The routes of the realtime role by path: streams of each kind, and RPCs that wait. Raises MissingHandler."""
    # Counts the uploads of this process, of all RPCs together.
    uploads = Uploads()

    def route_of(method: MethodPolicy) -> Route:
        if method.opening is not None:
            first = methods[method.opening.path]
            return opened_route(method, first, steps, handlers.unary(first), live)
        if method.upload is not None:
            return upload_route(method, method.upload, steps, handlers.unary(method), (handlers.begin(method), uploads))
        make = waiting_route if method.waits else stream_route
        return make(method, steps, handlers.stream(method))

    return {path: route_of(method) for path, method in methods.items() if method.on_loop}
