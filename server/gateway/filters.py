"""The HTTP filters. Requests pass them from first to last, responses from last to first."""

from pathlib import Path

from server.gateway.connect import BACK, BRIDGE
from server.gateway.contract import Contract
from server.gateway.cors import origin_matchers
from server.gateway.pieces import ADD_IF_ABSENT, APPEND, Config, extension, header, headers
from server.gateway.response_headers import POLICY, security_headers
from server.gateway.scripts import Scripts
from server.settings import Settings

# Smaller answers grow, or cost more CPU time than compression saves.
COMPRESS_FROM_BYTES = 1024
COMPRESSED = ("application/json", "text/html", "application/xml")
# A unary answer is buffered whole while it is transcoded. For a larger one the caller gets 500.
MAX_RESPONSE_BYTES = 32 * 1024 * 1024


def http_filters(settings: Settings, contract: Contract, descriptors: Path, scripts: Scripts) -> list[Config]:
    """The filters. Their order has these reasons.

    header_mutation is first, so that it sees every response last, also those of other filters. cors comes before all
    that refuse (envoy#17148). grpc_web comes before Lua, which then sees gRPC-Web as gRPC. Lua comes before the
    transcoder, whose answers it gives their status, and before the compressor, which would write into the bodies that
    Lua empties. Two filters are only there for calls of Connect (connect.py): the bridge, which makes gRPC of protobuf
    before the transcoder sees it, and a second Lua filter behind the transcoder, where a server's error still has its
    details.
    """
    return [
        _header_mutation(settings),
        extension("envoy.filters.http.cors", "extensions.filters.http.cors.v3.Cors"),
        extension("envoy.filters.http.grpc_web", "extensions.filters.http.grpc_web.v3.GrpcWeb"),
        extension("envoy.filters.http.lua", "extensions.filters.http.lua.v3.Lua",
                  default_source_code={"filename": str(scripts.edge)}),
        _compressor(),
        extension(BRIDGE, "extensions.filters.http.connect_grpc_bridge.v3.FilterConfig") | {"disabled": True},
        _transcoder(settings, contract, descriptors),
        extension(BACK, "extensions.filters.http.lua.v3.Lua",
                  default_source_code={"filename": str(scripts.connect)}) | {"disabled": True},
        extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router",
                  suppress_envoy_headers=True),
    ]  # fmt: skip


def _header_mutation(settings: Settings) -> Config:
    mutations: list[Config] = [{"append": option} for option in headers(security_headers(settings))]
    # A page that the server answers has its own.
    mutations += [{"append": option} for option in headers(POLICY, ADD_IF_ABSENT)]
    mutations.append({"append": header("cache-control", "no-store", ADD_IF_ABSENT)})
    mutations += [{"remove": name} for name in ("server", "x-http-status", "x-plinth-local-reply")]
    if origin_matchers(settings):
        # The cors filter does not declare that its headers depend on the origin.
        mutations.append({"append": header("vary", "origin", APPEND)})
    return extension(
        "envoy.filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "response_mutations": mutations,
            # No call has trailers of its own. Those that gRPC's core parses would otherwise reach it unchecked.
            "request_trailers_mutations": [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".+"}}}}],
        },
    )


def _compressor() -> Config:
    return extension(
        "envoy.filters.http.compressor",
        "extensions.filters.http.compressor.v3.Compressor",
        response_direction_config={
            "common_config": {
                "min_content_length": COMPRESS_FROM_BYTES,
                "content_type_matcher": [{"exact": kind} for kind in COMPRESSED],
            },
            # Otherwise it would remove the ETag (envoy#43755).
            "weaken_etag_on_compress": True,
        },
        compressor_library=extension(
            "gzip",
            "extensions.compression.gzip.compressor.v3.Gzip",
            memory_level=5,
            window_bits=12,
            compression_level="BEST_SPEED",
        ),
    )


def _transcoder(settings: Settings, contract: Contract, descriptors: Path) -> Config:
    return extension(
        "envoy.filters.http.grpc_json_transcoder",
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(descriptors),
        services=contract.services,
        # Front ends want one shape: empty fields are shown, except unset messages.
        print_options={"always_print_primitive_fields": True},
        convert_grpc_status=True,
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        # `published` as well as `PUBLISHED`.
        case_insensitive_enum_parsing=True,
        # URLSearchParams encodes a space as `+`.
        query_param_unescape_plus=True,
        max_request_body_size=settings.max_request_bytes,
        max_response_body_size=MAX_RESPONSE_BYTES,
    )
