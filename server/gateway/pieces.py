"""Building blocks of Envoy's configuration."""

from collections.abc import Mapping
from pathlib import Path

Config = dict[str, object]
"""A message of Envoy's configuration, as for YAML."""

OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
ADD_IF_ABSENT = "ADD_IF_ABSENT"
APPEND = "APPEND_IF_EXISTS_OR_ADD"


def extension(name: str, message: str, **fields: object) -> Config:
    """An extension of Envoy: its name and its configuration, a message below `envoy.`."""
    return {"name": name, "typed_config": typed(message, **fields)}


def typed(message: str, **fields: object) -> Config:
    """A message below `envoy.`, with its type, for fields that accept several types."""
    return {"@type": f"type.googleapis.com/envoy.{message}", **fields}


def header(name: str, value: str, action: str = OVERWRITE) -> Config:
    """A header to set."""
    return {"header": {"key": name, "value": value}, "append_action": action}


def headers(values: Mapping[str, str], action: str = OVERWRITE) -> list[Config]:
    """Headers to set."""
    return [header(name, value, action) for name, value in values.items()]


def seconds(duration: float) -> str:
    """A duration in the JSON form of google.protobuf.Duration."""
    return f"{duration:.3f}s"


def pipe(path: Path, mode: int | None = None) -> Config:
    """The address of a unix socket."""
    address: Config = {"path": str(path)}
    if mode is not None:
        address["mode"] = mode
    return {"pipe": address}


def status_is(comparison: str, status: int) -> Config:
    """A filter of responses by status."""
    value = {"default_value": status, "runtime_key": "none"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def details_match(expression: str) -> Config:
    """A filter of responses by a CEL expression. `response.code_details` is the cause of Envoy's answer."""
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=expression,
        )
    }
