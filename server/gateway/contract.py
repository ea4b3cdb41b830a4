"""The part of the descriptor set that the gateway needs: methods with their bindings, and the shapes of messages."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from plinth.policy.v1 import policy_pb2

from server.extensions import POLICY
from server.gateway.errors import GatewayConfigurationError

HTTP_BODY = "google.api.HttpBody"
# Messages whose JSON form has any keys. Below them, no key can be called unknown.
FREE_FORM = frozenset(f"google.protobuf.{name}" for name in ("Struct", "Value", "ListValue", "Any"))
# Calls without Plinth's credentials: public ones, and those that a provider signs.
PUBLIC = ("public", "provider_signature")
VARIABLE = re.compile(r"\{([^={}]+)(?:=([^{}]*))?\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP method and pattern of an RPC over REST."""

    verb: str
    pattern: str
    """As in the .proto."""
    body: str
    """`*`, the name of a request field, or empty for no body."""

    @property
    def normal(self) -> str:
        """The pattern with its variables as `*`.

        Envoy's matcher cannot distinguish patterns that are equal in this form.
        """
        return VARIABLE.sub(lambda variable: variable[2] or "*", self.pattern)

    @property
    def variables(self) -> list[str]:
        """The request fields in the path."""
        return [variable[1] for variable in VARIABLE.finditer(self.pattern)]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC of Plinth, which is one with a policy."""

    service: str
    name: str
    request: str
    response: str
    client_streaming: bool
    server_streaming: bool
    timeout: float | None
    """Seconds that the gateway waits for the answer; None for the setting."""
    bindings: tuple[Binding, ...]
    waits: bool = False
    """Whether the realtime role answers it, though it is unary."""
    is_public: bool = False
    """Whether anyone may call, without credentials."""
    max_body_bytes: int = 0
    """Limit of a JSON body; 0 for the limit that follows from the rules of the message."""
    max_upload_bytes: int = 0
    """Limit of a body that arrives in pieces."""
    raw: policy_pb2.RawBody | None = None
    """How its body is taken if it is raw bytes, and no stream of them."""

    @property
    def path(self) -> str:
        """The gRPC path, which routes match after transcoding too."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class Contract:
    """The RPCs of Plinth, and every message and enum of a descriptor set."""

    methods: tuple[Method, ...]
    messages: dict[str, descriptor_pb2.DescriptorProto]
    enums: dict[str, descriptor_pb2.EnumDescriptorProto]

    @classmethod
    def read(cls, files: descriptor_pb2.FileDescriptorSet) -> Self:
        """Read a descriptor set. Raises GatewayConfigurationError for bindings that Envoy would not serve."""
        contract = cls(
            tuple(method for file in files.file for method in _methods(file)),
            {name: message for file in files.file for name, message in messages_below(file.package, file.message_type)},
            {name: enum for file in files.file for name, enum in _enums(file)},
        )
        contract.check()
        return contract

    @property
    def services(self) -> list[str]:
        """The services with at least one binding, which Envoy has to transcode."""
        return sorted({method.service for method in self.methods if method.bindings})

    def check(self) -> None:
        """Raise GatewayConfigurationError, with every fault, for bindings that Envoy would not serve as written."""
        faults = [*self._duplicates(), *self._wrong_fields()]
        if faults:
            raise GatewayConfigurationError("\n".join(faults))

    def body_type(self, method: Method, binding: Binding) -> str | None:
        """The message that a binding takes as body; None without a body."""
        if binding.body == "*":
            return method.request
        body = self.field(method.request, binding.body)
        return body.type_name.lstrip(".") if body else None

    def field(self, message: str, name: str) -> descriptor_pb2.FieldDescriptorProto | None:
        """A field of a message by its name in the .proto."""
        return next((field for field in self.messages[message].field if field.name == name), None)

    def _duplicates(self) -> Iterator[str]:
        # Envoy's matcher makes both unreachable without an error (grpc-httpjson-transcoding,
        # LookupSilentlyFailsOnDuplicate).
        seen: dict[tuple[str, str], Method] = {}
        for method in self.methods:
            for binding in method.bindings:
                key = (binding.verb, binding.normal)
                if key in seen:
                    yield f"{binding.verb} {binding.normal} is bound to {seen[key].path} and to {method.path}"
                seen[key] = method

    def _wrong_fields(self) -> Iterator[str]:
        for method in self.methods:
            for binding in method.bindings:
                for name in binding.variables:
                    if self.field(method.request, name) is None:
                        yield f"{method.path}: {name} in {binding.pattern} is no field of {method.request}"
                body = self.field(method.request, binding.body)
                if binding.body not in {"", "*"} and (body is None or not _is_one_message(body)):
                    yield f"{method.path}: the body {binding.body} is no field of {method.request} that is one message"


def _is_one_message(field: descriptor_pb2.FieldDescriptorProto) -> bool:
    return field.type == field.TYPE_MESSAGE and field.label != field.LABEL_REPEATED


def _methods(file: descriptor_pb2.FileDescriptorProto) -> Iterator[Method]:
    for service in file.service:
        for method in service.method:
            if method.options.HasExtension(POLICY):
                yield _method(f"{file.package}.{service.name}", method)


def _method(service: str, method: descriptor_pb2.MethodDescriptorProto) -> Method:
    policy = method.options.Extensions[POLICY]
    return Method(
        service=service,
        name=method.name,
        request=method.input_type.lstrip("."),
        response=method.output_type.lstrip("."),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        timeout=policy.timeout.ToTimedelta().total_seconds() if policy.HasField("timeout") else None,
        bindings=tuple(_bindings(f"{service}.{method.name}", method)),
        waits=policy.pool == policy_pb2.POOL_WAITING,
        is_public=policy.WhichOneof("access") in PUBLIC,
        max_body_bytes=policy.max_body_bytes,
        max_upload_bytes=policy.upload.max_bytes * max(1, policy.upload.max_files),
        raw=policy.raw if policy.HasField("raw") else None,
    )


def _bindings(name: str, method: descriptor_pb2.MethodDescriptorProto) -> Iterator[Binding]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        if each.response_body:
            # Envoy refuses the configuration or, for HttpBody, answers differently from the .proto (envoy#11136).
            raise GatewayConfigurationError(f"{name}: response_body is not possible; wrap the list in a message")
        verb, pattern = verb_and_pattern(each)
        yield Binding(verb, pattern, each.body)


def verb_and_pattern(rule: http_pb2.HttpRule) -> tuple[str, str]:
    """HTTP method and pattern of a rule. Raises GatewayConfigurationError if it has none."""
    kind = rule.WhichOneof("pattern")
    if kind is None:
        raise GatewayConfigurationError(f"a binding has no pattern: {rule}")
    if kind == "custom":
        return rule.custom.kind, rule.custom.path
    return kind.upper(), getattr(rule, kind)


def _enums(
    file: descriptor_pb2.FileDescriptorProto,
) -> Iterator[tuple[str, descriptor_pb2.EnumDescriptorProto]]:
    for scope, enums in (
        (file.package, file.enum_type),
        *((name, message.enum_type) for name, message in messages_below(file.package, file.message_type)),
    ):
        yield from ((f"{scope}.{enum.name}", enum) for enum in enums)


def messages_below(
    scope: str, messages: Iterable[descriptor_pb2.DescriptorProto]
) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    """These messages of a scope and those within them, by their full names."""
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from messages_below(name, message.nested_type)
