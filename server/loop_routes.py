"""The routes of what the realtime role serves on its event loop: streams of each kind, and RPCs that wait."""

from collections.abc import Mapping, Sequence

from server.kernel.chain import Route, Step, stream_route, waiting_route
from server.kernel.live import LiveEvents, Uploads
from server.kernel.policy import MethodPolicy
from server.kernel.resources.standard import ServiceHandlers
from server.kernel.steps.opening import opened_route
from server.kernel.steps.upload import upload_route

# Counts the uploads of this process, of all RPCs together.
UPLOADS = Uploads()


def loop_route(
    method: MethodPolicy,
    methods: Mapping[str, MethodPolicy],
    steps: Sequence[Step],
    handlers: ServiceHandlers,
    live: LiveEvents | None,
) -> Route:
    """The route of one RPC; `methods` are all, by path. Raises MissingHandler."""
    if method.opening is not None:
        first = methods[method.opening.path]
        return opened_route(method, first, steps, handlers.unary(first), live)
    if method.upload is not None:
        return upload_route(method, method.upload, steps, handlers.unary(method), (handlers.begin(method), UPLOADS))
    make = waiting_route if method.waits else stream_route
    return make(method, steps, handlers.stream(method))
