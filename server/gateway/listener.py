"""The single port: gRPC, gRPC-Web, REST/JSON and server-sent events over HTTP/1.1 and HTTP/2.

Limits follow Envoy's guide for proxies at the edge (best_practices/edge).
"""

from collections.abc import Sequence
from pathlib import Path

from server.gateway.access_log import access_log
from server.gateway.body_limits import largest_body
from server.gateway.contract import Contract
from server.gateway.filters import http_filters
from server.gateway.local_reply import local_reply_config
from server.gateway.pieces import Config, extension, header, seconds, typed
from server.gateway.put_aside import CALLERS, HEADER_BYTES
from server.gateway.routes import route_configuration
from server.gateway.scripts import Scripts
from server.gateway.static_files import StaticFile
from server.gateway.tls import transport_socket
from server.gateway.tracing import tracing
from server.settings import Settings
from server.upload_limits import LONGEST_UPLOAD

# Envoy's own limits, at which it resets an HTTP/2 stream without an answer. Lua refuses with one, by the setting.
MAX_HEADERS = 1000
HEADER_SLACK = 2
CONCURRENT_STREAMS = 100
STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 1024 * 1024
CONNECTION_IDLE = 300.0
HEADERS_TIMEOUT = 10.0
STREAM_IDLE_AT_LEAST = 60.0

# Headers that only the gateway may set, headers of load balancers for gRPC's core, binary metadata, and names that HTTP
# allows but gRPC does not: no service reads any, and invalid base64 or such a name makes the server answer 500.
RESERVED = (
    {"prefix": "x-plinth-"},
    {"prefix": "x-envoy-"},
    {"prefix": "x-http-status"},
    {"prefix": "lb-"},
    {"suffix": "-bin"},
    {"safe_regex": {"regex": ".*[^:a-z0-9_.-].*"}},
)


def listener(
    settings: Settings, contract: Contract, descriptors: Path, scripts: Scripts, files: Sequence[StaticFile] = ()
) -> Config:
    """The listener with its one filter chain. The files are in the folder of the scripts."""
    chain: Config = {"filters": [_connection_manager(settings, contract, descriptors, scripts, files)]}
    tls = transport_socket(settings)
    if tls:
        chain["transport_socket"] = tls
    return {
        "name": "plinth",
        "address": {"socket_address": _address(settings)},
        "per_connection_buffer_limit_bytes": CONNECTION_WINDOW,
        "listener_filters": [_tls_inspector()] if tls else [],
        "filter_chains": [chain],
    }


def _address(settings: Settings) -> Config:
    # Envoy resolves no names here.
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    return {"address": host, "port_value": settings.port, "ipv4_compat": host == "::"}


def _tls_inspector() -> Config:
    return extension(
        "envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )


def _connection_manager(
    settings: Settings, contract: Contract, descriptors: Path, scripts: Scripts, files: Sequence[StaticFile]
) -> Config:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="plinth",
        codec_type="AUTO",
        route_config=route_configuration(settings, contract, scripts.edge.parent, files),
        http_filters=http_filters(settings, contract, descriptors, scripts),
        local_reply_config=local_reply_config(settings, largest_body(contract, settings.max_request_bytes)),
        access_log=[access_log()],
        **_limits(settings),
        **_identity(settings),
        **_paths(),
        **tracing(settings),
    )


def _limits(settings: Settings) -> Config:
    return {
        "max_request_headers_kb": settings.max_header_kilobytes * HEADER_SLACK,
        # For every whole request, because slow senders hold memory.
        "request_timeout": seconds(LONGEST_UPLOAD),
        "request_headers_timeout": seconds(HEADERS_TIMEOUT),
        "stream_idle_timeout": seconds(max(STREAM_IDLE_AT_LEAST, 2 * settings.gateway_timeout)),
        "delayed_close_timeout": "1s",
        "common_http_protocol_options": {
            "idle_timeout": seconds(CONNECTION_IDLE),
            "max_headers_count": MAX_HEADERS,
            # Nothing behind the gateway treats an underscore as a hyphen, which is what makes such names dangerous.
            "headers_with_underscores_action": "ALLOW",
        },
        # A malformed message is answered. It does not end the connection, which other callers may share.
        "stream_error_on_invalid_http_message": True,
        "http_protocol_options": {
            "override_stream_error_on_invalid_http_message": True,
            # Proxies that still use HTTP/1.0 send no Host.
            "accept_http_10": True,
            "default_host_for_http_10": "plinth",
        },
        "http2_protocol_options": {
            "override_stream_error_on_invalid_http_message": True,
            "max_concurrent_streams": CONCURRENT_STREAMS,
            "initial_stream_window_size": STREAM_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
            # Finds peers that disappeared silently, which nothing else does on an idle stream.
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
    }


def _identity(settings: Settings) -> Config:
    """The identity of the caller: what the network shows, not what headers claim."""
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_proxies,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": typed(
                    "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    mutations=_early_mutations(settings),
                ),
            }
        ],
    }


def _early_mutations(settings: Settings) -> list[Config]:
    removed: list[Config] = [{"remove_on_match": {"key_matcher": matcher}} for matcher in RESERVED]
    if not settings.trusted_proxies:
        removed.append({"remove": "x-forwarded-for"})
    kept: list[Config] = [{"append": header(aside, f"%REQ({name})%")} for name, aside in CALLERS.items()]
    return [
        *removed,
        *kept,
        {"append": header(HEADER_BYTES, "%REQUEST_HEADERS_BYTES%")},
        {"remove": "x-request-id"},
        {"remove_on_match": {"key_matcher": {"prefix": "grpc-"}}},
    ]


def _paths() -> Config:
    """Keep paths as they were sent. Lua refuses those that would need normalising, and says why."""
    return {
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    }
