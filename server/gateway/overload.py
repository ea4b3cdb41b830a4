"""Protection of Envoy itself: bounds on connections and memory, and a private admin interface."""

from server.gateway.pieces import Config, extension, pipe
from server.run.open_files import connections_within
from server.settings import Settings

# Within the limit of open files. Above that limit Envoy would let connections hang.
MAX_CONNECTIONS = 10_000
# Envoy itself takes 17 MB. Bodies add to it: requests up to max_request_bytes, answers up to MAX_RESPONSE_BYTES.
MAX_HEAP_BYTES = 512 * 1024 * 1024
RELEASE_BYTES = 16 * 1024 * 1024
HEAP = "envoy.resource_monitors.fixed_heap"


def overload_manager() -> Config:
    """Release memory at 90 % of the heap, refuse requests at 95 %, and accept no connection above the maximum."""
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            extension(HEAP, "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                      max_heap_size_bytes=MAX_HEAP_BYTES),
            extension("envoy.resource_monitors.global_downstream_max_connections",
                      "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                      max_active_downstream_connections=connections_within(MAX_CONNECTIONS)),
        ],
        "actions": [
            _action("shrink_heap", 0.90),
            _action("stop_accepting_requests", 0.95),
            _action("disable_http_keepalive", 0.95),
            _action("stop_accepting_connections", 0.98),
        ],
    }  # fmt: skip


def memory_allocator() -> Config:
    """Release the memory of large bodies within seconds. Otherwise Envoy keeps it permanently."""
    return {"bytes_to_release": RELEASE_BYTES, "memory_release_interval": "1s"}


def admin(settings: Settings) -> Config:
    """The admin interface: a unix socket that only the user who runs Envoy can open."""
    return {"address": pipe(settings.socket("envoy-admin"), mode=0o600)}


def _action(name: str, threshold: float) -> Config:
    return {
        "name": f"envoy.overload_actions.{name}",
        "triggers": [{"name": HEAP, "threshold": {"value": threshold}}],
    }
