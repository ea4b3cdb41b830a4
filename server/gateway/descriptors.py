"""Envoy's own copy of the descriptor set."""

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from server.gateway.enums import add_short_names


def parse(descriptors: bytes) -> descriptor_pb2.FileDescriptorSet:
    """Parse a serialised descriptor set. google.api.http is parsed because annotations_pb2 is loaded."""
    return descriptor_pb2.FileDescriptorSet.FromString(descriptors)


def for_envoy(descriptors: bytes) -> bytes:
    """Make Envoy's copy: with a HEAD binding beside every GET, and with short names of enum values.

    It has no source info, which takes memory in Envoy.
    """
    files = parse(descriptors)
    add_short_names(files.file)
    for file in files.file:
        file.ClearField("source_code_info")
        for service in file.service:
            for method in service.method:
                _add_head(method)
    return files.SerializeToString(deterministic=True)


def _add_head(method: descriptor_pb2.MethodDescriptorProto) -> None:
    # The matcher is keyed by HTTP method and does not derive HEAD from GET (envoy#6608). A stream gets no HEAD, which
    # would open the stream.
    if method.server_streaming or not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    paths = [each.get for each in (rule, *rule.additional_bindings) if each.get]
    rule.additional_bindings.extend(
        http_pb2.HttpRule(custom=http_pb2.CustomHttpPattern(kind="HEAD", path=path)) for path in paths
    )
