"""The tools of agents: which RPCs they are, how they are named, and whom they are shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from plinth.client.rpc import Rpc
from plinth.identity.v1.auth_pb2 import Caller

from server.kernel.messages.fields import has_behavior
from server.kernel.policy import HTTP_BODY, Access, Kind, MethodPolicy
from server.reference.naming import in_words


@dataclass(frozen=True)
class Tool:
    """An RPC as a tool."""

    method: MethodPolicy
    description: str
    """The comment of the RPC."""

    @cached_property
    def name(self) -> str:
        """`sites_publish_page`."""
        return f"{self.group}_{self.title.lower().replace(' ', '_')}"

    @property
    def group(self) -> str:
        """The domain: `sites`."""
        return self.method.domain

    @cached_property
    def title(self) -> str:
        """`Publish page`."""
        return in_words(self.method.name)

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return not self.method.read_only

    @property
    def can_be_previewed(self) -> bool:
        """Whether it can be tried without effect."""
        return self.method.can_be_tried

    @property
    def is_destructive(self) -> bool:
        """Whether it may take something away, where a creation only adds."""
        return self.changes and self.method.kind not in (Kind.CREATE, Kind.BATCH_CREATE, Kind.UNDELETE)

    @cached_property
    def rpc(self) -> Rpc[Message, Message]:
        """What a client calls."""
        method = self.method.descriptor
        return Rpc(
            self.method.path,
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            reads=self.method.read_only,
        )

    def is_permitted_to(self, caller: Caller) -> bool:
        """Whether the caller may call it. The chain decides that anew at every call."""
        method = self.method
        if method.access is Access.PERMISSION:
            return method.permission in caller.permissions
        if method.access is Access.PLATFORM:
            return caller.is_platform_admin
        return method.access is Access.PUBLIC or bool(caller.user_id) or method.takes_api_keys


def tools_of(methods: Iterable[MethodPolicy], comments: Mapping[str, str]) -> dict[str, Tool]:
    """The tools by name, in the order of the contract. Raises ValueError if two RPCs have the same name."""
    found: dict[str, Tool] = {}
    for method in filter(is_offered, methods):
        tool = Tool(method, comments.get(method.descriptor.full_name, ""))
        other = found.setdefault(tool.name, tool)
        if other is not tool:
            raise ValueError(f"{method.path} and {other.method.path} are both the tool {tool.name}: rename one")
    return found


def is_offered(method: MethodPolicy) -> bool:
    """Whether an RPC is a tool. Agents have no use for streams and files, and no text of theirs may have secrets."""
    if method.on_loop or method.raw or method.opening or method.descriptor.output_type.full_name == HTTP_BODY:
        return False
    if method.access is Access.PROVIDER_SIGNATURE or method.is_telemetry:
        return False
    if _takes_secret(method) or _gives_secret(method):
        return False
    return method.read_only or method.access is not Access.PUBLIC


def _takes_secret(method: MethodPolicy) -> bool:
    return any(
        not has_behavior(field, field_behavior_pb2.OUTPUT_ONLY) for field in _secrets(method.descriptor.input_type)
    )


def _gives_secret(method: MethodPolicy) -> bool:
    """Whether it is called to get a secret, which a resource shows only when it is made."""
    shows = (Kind.GET, Kind.LIST, Kind.BATCH_GET, Kind.UPDATE)
    return method.kind not in shows and any(True for _ in _secrets(method.descriptor.output_type))


def _secrets(message: Descriptor, above: frozenset[str] = frozenset()) -> Iterable[FieldDescriptor]:
    if message.full_name in above:
        return
    for field in message.fields:
        if field.GetOptions().debug_redact:
            yield field
        elif field.message_type is not None:
            yield from _secrets(field.message_type, above | {message.full_name})
