"""Connect (connectrpc.com): unary calls with JSON or protobuf, on the paths of gRPC.

JSON is transcoded by a binding of its own (descriptors.py); protobuf is framed by Envoy's bridge. Neither passes the
details of an error on, so a Lua filter (connect_errors.lua) makes Connect's errors of the server's. These filters are
disabled unless the route that a request matches first enables them, so that no other call pays for them.

Envoy calls the bridge work in progress and supports it less than its other filters. It gets only requests that Lua has
read whole and within their limit, and only answers without errors.
"""

from server.gateway.pieces import Config, typed

BRIDGE = "envoy.filters.http.connect_grpc_bridge"
BACK = "plinth.connect"
# Set by Lua, for a call of Connect: `json` or `proto`.
CALL = "x-plinth-connect"
PATHS = "/plinth."
# connect_calls.lua asks the same.
CONTENT_TYPES = {
    "proto": {"exact": "application/proto"},
    "json": {"prefix": "application/json"},
}


def arriving(route: Config) -> list[Config]:
    """The routes that calls of Connect match first. They enable the filters, and stand before all others."""
    return [
        route
        | {
            "match": {
                "prefix": PATHS,
                "headers": [
                    {"name": "content-type", "string_match": matching},
                    {"name": CALL, "present_match": True, "invert_match": True},
                ],
            },
            "typed_per_filter_config": {name: _enabled() for name in _filters(encoding)},
        }
        for encoding, matching in CONTENT_TYPES.items()
    ]


def read(route: Config, max_response_bytes: int) -> Config:
    """The route of calls of Connect that Lua has read, unless their RPC has one of its own.

    Envoy has one limit for what it holds of a request and of its answer. Until Lua has read the body, it is that of
    requests; from then on `max_response_bytes`, because the bridge holds an answer whole.
    """
    return route | {
        "match": {"prefix": PATHS, "headers": [{"name": CALL, "present_match": True}]},
        "request_body_buffer_limit": max_response_bytes,
    }


def _filters(encoding: str) -> tuple[str, ...]:
    return (BRIDGE, BACK) if encoding == "proto" else (BACK,)


def _enabled() -> Config:
    return typed("config.route.v3.FilterConfig", config={})
