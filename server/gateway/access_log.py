"""A line on standard error for every failure of Envoy itself. The server logs all others."""

from server.gateway.pieces import Config, details_match, extension, status_is

FAILURES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")
# Paths without their query, because streams of browsers carry an access token in it.
LINE = {
    "time": "%START_TIME%",
    "level": "error",
    "event": "gateway_failure",
    "request_id": "%REQ(x-request-id)%",
    "method": "%REQ(x-envoy-original-method?:method)%",
    "path": "%REQ_WITHOUT_QUERY(x-envoy-original-path?:path)%",
    "rpc": "%REQ_WITHOUT_QUERY(:path)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "upstream": "%UPSTREAM_HOST%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "connection": "%CONNECTION_ID%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}


def access_log() -> Config:
    """JSON lines for answers of 5xx, or of the equivalent gRPC statuses, that Envoy made."""
    logger = extension(
        "envoy.access_loggers.stderr",
        "extensions.access_loggers.stream.v3.StderrAccessLog",
        log_format={
            "json_format": LINE,
            "formatters": [
                extension(
                    "envoy.formatter.req_without_query", "extensions.formatter.req_without_query.v3.ReqWithoutQuery"
                )
            ],
        },
    )
    failed = {"or_filter": {"filters": [status_is("GE", 500), {"grpc_status_filter": {"statuses": list(FAILURES)}}]}}
    own = details_match("response.code_details != 'via_upstream'")
    return logger | {"filter": {"and_filter": {"filters": [failed, own]}}}
