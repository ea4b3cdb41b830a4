"""Traces: a span per request and one per attempt at the server, sent over OTLP. Nothing without an endpoint.

The trace of a caller (`traceparent`) is continued. Whether it is recorded is decided here by its id, because any caller
could ask for it.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from server.gateway.pieces import Config, extension, seconds, typed
from server.settings import Settings

SERVICE = "plinth-gateway"
COLLECTOR = "collector"
TIMEOUT = 5.0
MILLION = 1_000_000
PORTS = {"http": 80, "https": 443}
METHOD = "%REQ(x-envoy-original-method?:method)%"
# The RPC, if the request was transcoded or the server knew it; the number of names must be bounded.
NAME = (
    "%CEL('x-envoy-original-path' in request.headers || "
    "(response.code_details == 'via_upstream' && response.grpc_status != 12) ? request.url_path : request.method)%"
)
# They replace Envoy's own tags, which contain the method after transcoding, and the query: streams of browsers carry an
# access token in it.
TAGS = {
    "http.method": METHOD,
    "url.path": "%PATH(NQ:ORIG_OR_PATH):256%",
    "grpc.path": "%PATH(NQ:PATH):256%",
}


def tracing(settings: Settings) -> Config:
    """The tracing field of the connection manager, or nothing."""
    if settings.otlp_endpoint is None:
        return {}
    return {
        "tracing": {
            "provider": _tracer(settings.trace_sample_rate),
            "spawn_upstream_span": True,
            # Envoy's own tag of the URL would include the query. It is cut to nothing; the tag above has the path.
            "max_path_tag_length": 0,
            "operation": NAME,
            "custom_tags": [{"tag": tag, "value": value} for tag, value in TAGS.items()],
        }
    }


def trace_headers(settings: Settings) -> tuple[str, ...]:
    """The headers in which a caller names its trace, if traces are exported."""
    return ("traceparent", "tracestate") if settings.otlp_endpoint else ()


def _tracer(rate: float) -> Config:
    share = {"numerator": round(rate * MILLION), "denominator": "MILLION"}
    return {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": typed(
            "config.trace.v3.OpenTelemetryConfig",
            service_name=SERVICE,
            grpc_service={"envoy_grpc": {"cluster_name": COLLECTOR}, "timeout": seconds(TIMEOUT)},
            sampler=extension(
                "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
                "extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
                sampling_percentage=share,
            ),
        ),
    }


def collector(settings: Settings) -> list[Config]:
    """The cluster of the collector, if there is one."""
    if settings.otlp_endpoint is None:
        return []
    url = urlsplit(settings.otlp_endpoint)
    address = {"address": url.hostname, "port_value": url.port or PORTS[url.scheme]}
    endpoint = {"endpoint": {"address": {"socket_address": address}}}
    cluster: Config = {
        "name": COLLECTOR,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": COLLECTOR, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                explicit_http_config={"http2_protocol_options": {}},
            )
        },
    }
    if url.scheme == "https":
        cluster["transport_socket"] = _tls(str(url.hostname), settings)
    return [cluster]


def _tls(host: str, settings: Settings) -> Config:
    """TLS to a peer with a certificate for this name or address that the system trusts."""
    by_name = not _is_address(host)
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        **({"sni": host} if by_name else {}),
        common_tls_context={
            "alpn_protocols": ["h2"],
            "validation_context": {
                "trusted_ca": {"filename": settings.trusted_certificates},
                "match_typed_subject_alt_names": [
                    {"san_type": "DNS" if by_name else "IP_ADDRESS", "matcher": {"exact": host}}
                ],
            },
        },
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
