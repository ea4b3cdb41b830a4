"""The processes behind the gateway: unix sockets, HTTP/2, health checked."""

from server.gateway.pieces import Config, pipe, seconds, typed
from server.gateway.tracing import collector
from server.settings import Settings

API = "api"
REALTIME = "realtime"
AGENTS = "agents"

# The health of one process: serving unless it drains. The overall status would remove every worker while PostgreSQL
# does not answer, and callers would not get the server's own answer to that.
HEALTH_SERVICE = "plinth.process"
CHECK_INTERVAL = 0.5
# A worker answers checks after the calls that wait for it. A short timeout would remove busy workers, and their load
# would then overload the others. A dead worker refuses connections, which is noticed at once.
CHECK_TIMEOUT = 3.0
CHECK_FAILURES = 2

# Calls in flight. Beyond it Envoy answers 503 at once, instead of queueing calls whose callers give up.
UNARY_REQUESTS_PER_WORKER = 2048
STREAMS_PER_WORKER = 16384

# Requests of agents at a time.
AGENT_REQUESTS = 200

# Data that a slow reader leaves unread stay in the server, which notices them (Envoy's default would buffer 16 MiB).
# And thousands of slow readers do not exhaust the window of the connection that they share with all others.
STREAM_WINDOW = 65_535
CONNECTION_WINDOW = 256 * 1024 * 1024


def clusters(settings: Settings) -> list[Config]:
    """The api workers, the realtime processes, what answers agents, and the trace collector."""
    return [
        _cluster(settings, API, settings.api_workers, UNARY_REQUESTS_PER_WORKER),
        _cluster(settings, REALTIME, settings.realtime_workers, STREAMS_PER_WORKER),
        *([_agents(settings)] if settings.agents else []),
        *collector(settings),
    ]


def _cluster(settings: Settings, name: str, workers: int, requests_per_worker: int) -> Config:
    sockets = [settings.socket(f"{name}-{number}") for number in range(workers)]
    endpoints = [{"endpoint": {"address": pipe(socket)}} for socket in sockets]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # Never panic: without a healthy worker the answer is 503 with Retry-After, not a call to a draining worker.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "health_checks": [_health_check()],
        "circuit_breakers": {"thresholds": [_limits(requests_per_worker * workers)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={
                    "http2_protocol_options": {
                        "max_concurrent_streams": requests_per_worker,
                        "initial_stream_window_size": STREAM_WINDOW,
                        "initial_connection_window_size": CONNECTION_WINDOW,
                    }
                },
            )
        },
    }


def _agents(settings: Settings) -> Config:
    """The process that answers agents, over HTTP/1.1. One that is away refuses connections."""
    endpoint: Config = {"endpoint": {"address": pipe(settings.socket(AGENTS))}}
    return {
        "name": AGENTS,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": AGENTS, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [_limits(AGENT_REQUESTS)]},
    }


def _health_check() -> Config:
    interval = seconds(CHECK_INTERVAL)
    return {
        "timeout": seconds(CHECK_TIMEOUT),
        "interval": interval,
        # Without traffic the default is a minute, for which a worker that starts late would stay unused.
        "no_traffic_interval": interval,
        "unhealthy_interval": seconds(CHECK_INTERVAL / 2),
        "unhealthy_threshold": CHECK_FAILURES,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": HEALTH_SERVICE},
    }


def _limits(requests: int) -> Config:
    return {
        "max_connections": requests,
        "max_pending_requests": requests,
        "max_requests": requests,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 10},
    }
