"""Headers that the gateway puts aside for Lua, and takes away before a request goes to a server."""

# The values of callers are kept here until Lua has checked them. No header that begins with `grpc-` is passed on
# unchecked: gRPC's core parses it, and keeps what it cannot parse. Envoy generates a new request id meanwhile.
CALLERS = {
    "x-request-id": "x-plinth-callers-request-id",
    "grpc-timeout": "x-plinth-callers-timeout",
    "grpc-encoding": "x-plinth-callers-encoding",
}
# The size of the headers, for Lua, which could only count them one by one.
HEADER_BYTES = "x-plinth-header-bytes"
PUT_ASIDE = (*CALLERS.values(), HEADER_BYTES)
