"""Envoy's own copy of the descriptor set."""

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from server.extensions import POLICY
from server.gateway.enums import add_short_names

HTTP_BODY = ".google.api.HttpBody"


def parse(descriptors: bytes) -> descriptor_pb2.FileDescriptorSet:
    """Parse a serialised descriptor set. google.api.http is parsed because annotations_pb2 is loaded."""
    return descriptor_pb2.FileDescriptorSet.FromString(descriptors)


def for_envoy(descriptors: bytes) -> bytes:
    """Make Envoy's copy, without source info, which takes memory in Envoy.

    It has a HEAD binding beside every GET, one for Connect at every unary RPC, and short names of enum values.
    """
    files = parse(descriptors)
    add_short_names(files.file)
    raw = {HTTP_BODY} | {
        f".{file.package}.{each.name}" for file in files.file for each in file.message_type if _is_raw(each)
    }
    for file in files.file:
        file.ClearField("source_code_info")
        for service in file.service:
            for method in service.method:
                _add_head(method)
                if not {method.input_type, method.output_type} & raw:
                    _add_connect(f"/{file.package}.{service.name}/{method.name}", method)
    return files.SerializeToString(deterministic=True)


def _add_head(method: descriptor_pb2.MethodDescriptorProto) -> None:
    # The matcher is keyed by HTTP method and does not derive HEAD from GET (envoy#6608). A stream gets no HEAD, which
    # would open the stream, unless it is a file.
    is_open_ended = method.server_streaming and not method.options.Extensions[POLICY].file
    if is_open_ended or not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    paths = [each.get for each in (rule, *rule.additional_bindings) if each.get]
    rule.additional_bindings.extend(
        http_pb2.HttpRule(custom=http_pb2.CustomHttpPattern(kind="HEAD", path=path)) for path in paths
    )


def _is_raw(message: descriptor_pb2.DescriptorProto) -> bool:
    """Whether a body is raw bytes, which the JSON of Connect could not be."""
    return any(field.type_name == HTTP_BODY for field in message.field)


def _add_connect(path: str, method: descriptor_pb2.MethodDescriptorProto) -> None:
    # A unary call of Connect with JSON is a POST of the whole request to the path of gRPC: the transcoder answers it
    # like any other binding.
    if method.client_streaming or method.server_streaming or not method.options.HasExtension(annotations_pb2.http):
        return
    method.options.Extensions[annotations_pb2.http].additional_bindings.add(post=path, body="*")
