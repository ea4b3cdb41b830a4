"""Routes: the process that answers a method, and the time that the gateway waits for it.

After transcoding a route matches `/package.Service/Method`, so one table serves gRPC and REST (envoy#2847).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from server.gateway import agents, connect
from server.gateway.body_limits import READ_BYTES, largest_body
from server.gateway.clusters import API, REALTIME
from server.gateway.contract import HTTP_BODY, Contract, Method
from server.gateway.cors import cors_policy
from server.gateway.filters import MAX_RESPONSE_BYTES
from server.gateway.pieces import ADD_IF_ABSENT, Config, header, seconds
from server.gateway.put_aside import PUT_ASIDE
from server.gateway.raw_bodies import is_open, open_filters, open_routes
from server.gateway.static_files import StaticFile, largest, static_routes
from server.settings import Settings
from server.upload_limits import LONGEST_UPLOAD

# Number of keep-alive comments that a browser's stream may miss before it counts as dead.
MISSED_KEEPALIVES = 4
# Typed streams have no keep-alive of their own; HTTP/2 PINGs find dead peers (listener.py).
TYPED_STREAM_IDLE = 3600.0
# The server gets a deadline slightly after the gateway's, so that the gateway answers first: its answer has the details
# that the gRPC core's own "Deadline Exceeded" lacks. A deadline of the caller reaches the server, which enforces it.
# Envoy's max_stream_duration would enforce it too, but then ignores the timeout of calls without a deadline.
DEADLINE_SLACK = 0.25
# A process that has ended has no calls, so LEAST_REQUEST prefers it until its health is noticed: of two, it is picked
# three times in four. With 5 attempts, one of 36 runs of the test ended with a call that had come back to it each time.
OTHER_HOST_ATTEMPTS = 50
# The message of gRPC's core for a call that no handler had started when its server stopped (grpc#41785). No other
# answer has it: the server's problems have a sentence as message, and a call that a handler has started ends with a
# reset of its connection.
NEVER_STARTED = {"name": "grpc-message", "string_match": {"exact": "CANCELLED"}}

# How the paths of nearly all calls begin, over REST and over gRPC.
CALLS = ("/api/", "/plinth.")
# Envoy's default.
DIRECT_RESPONSE_BYTES = 4096


def route_configuration(
    settings: Settings, contract: Contract, folder: Path, files: Sequence[StaticFile] = ()
) -> Config:
    """The only route table, with CORS for all routes. `folder` is that of the gateway, where the files are."""
    return {
        "name": "plinth",
        "max_direct_response_body_size_bytes": max(DIRECT_RESPONSE_BYTES, largest(files)),
        "virtual_hosts": [
            {
                "name": "plinth",
                "domains": ["*"],
                "routes": _routes(settings, contract, static_routes(files, folder)),
                # gRPC's core parses it, and accepts no other value.
                "request_headers_to_add": [header("te", "trailers")],
                "request_headers_to_remove": list(PUT_ASIDE),
                "typed_per_filter_config": {"envoy.filters.http.cors": cors_policy(settings)},
                # Lua reads JSON bodies whole, before the transcoder could raise the limit.
                "request_body_buffer_limit": max(READ_BYTES, largest_body(contract, settings.max_request_bytes)),
            }
        ],
    }


def _routes(settings: Settings, contract: Contract, static: list[Config]) -> list[Config]:
    streams = [_stream(settings, method) for method in contract.methods if method.server_streaming]
    timed = [_own(settings, method) for method in contract.methods if _has_own(method)]
    # REST paths match the last route before they are transcoded. Without it the cors filter finds no policy
    # (envoy#17148).
    rest = _unary({"prefix": "/"}, settings.gateway_timeout)
    # Envoy asks the routes in turn. Calls, as they come and once they are transcoded, do not ask those of the files.
    calls = [rest | {"match": {"prefix": prefix}} for prefix in CALLS] if static else []
    return [
        *connect.arriving(rest),
        *streams,
        *timed,
        *open_routes(settings, contract, rest),
        connect.read(rest, MAX_RESPONSE_BYTES),
        *calls,
        *agents.routes(settings),
        *([rest | {"match": _at_sites(settings)}] if static else []),
        *static,
        rest,
    ]


def _at_sites(settings: Settings) -> Config:
    """What is asked at the host of a tenant's site, where nothing is that the gateway answers itself."""
    # Where the gateway knows its own name, others are those of sites. An address has no letter after its last dot.
    domain = r"[a-z][a-z0-9-]*" if settings.public_url else re.escape(settings.sites_domain)
    host = rf"(?i).+\.{domain}(:[0-9]+)?"
    at_host: Config = {"name": ":authority", "string_match": {"safe_regex": {"regex": host}}}
    own = rf"(?i){re.escape(settings.own_host)}(:[0-9]+)?"
    elsewhere: Config = {
        "name": ":authority",
        "string_match": {"safe_regex": {"regex": own}},
        "invert_match": True,
    }
    return {"prefix": "/", "headers": [at_host, elsewhere]}


def _has_own(method: Method) -> bool:
    """Whether a unary RPC needs a route of its own."""
    if method.server_streaming:
        return False
    return method.timeout is not None or method.waits or method.client_streaming or is_open(method)


def _own(settings: Settings, method: Method) -> Config:
    timeout = method.timeout or (LONGEST_UPLOAD if method.client_streaming else settings.gateway_timeout)
    on_loop = method.waits or method.client_streaming
    route = _unary({"path": method.path}, timeout, REALTIME if on_loop else API)
    return route | ({"typed_per_filter_config": open_filters(settings, method)} if is_open(method) else {})


def _unary(match: Config, timeout: float, cluster: str = API) -> Config:
    return {
        "match": match,
        "route": {
            "cluster": cluster,
            "timeout": seconds(timeout),
            "retry_policy": _retries(),
        },
        "request_headers_to_add": [
            header("grpc-timeout", f"{round((timeout + DEADLINE_SLACK) * 1000)}m", ADD_IF_ABSENT)
        ],
    }


def _stream(settings: Settings, method: Method) -> Config:
    idle = settings.stream_keepalive * MISSED_KEEPALIVES if method.response == HTTP_BODY else TYPED_STREAM_IDLE
    return {
        "match": {"path": method.path},
        "route": {
            "cluster": REALTIME,
            "timeout": "0s",
            "idle_timeout": seconds(idle),
            "retry_policy": _retries(),
        },
    }


def _retries() -> Config:
    # Only calls that no handler has started: there was no connection, the connection was reset before the request was
    # sent, or the server refused the call or stopped before it started it.
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-headers",
        "retriable_headers": [NEVER_STARTED],
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": OTHER_HOST_ATTEMPTS,
    }
