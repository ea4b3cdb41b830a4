"""What a request changes of a resource (AIP-133 to 135): which fields it names, and what the resource is with them.

A service whose resource is no table of its own, such as that of a view, checks requests with RequestedChanges, and
writes the changes itself.
"""

from collections.abc import Collection
from typing import Generic

from google.protobuf.message import Message

from server.kernel.call import Call
from server.kernel.chain import Request
from server.kernel.messages.fields import descriptor_of
from server.kernel.messages.masks import check_mask, set_fields
from server.kernel.problems import broken_rules
from server.kernel.resources.convert import ETAG
from server.kernel.resources.read_only import ImmutableFields, ReadOnlyFields
from server.kernel.resources.resource import M
from server.kernel.resources.rows import check_etag, with_fields


def mask_of(call: Call, request: Request, source: Message, read_only: Collection[str]) -> tuple[str, ...]:
    """The fields to change: over REST the keys of the body, over gRPC the mask, or without one the fields that are set.

    `*` means every field, but output-only fields only if they are set.
    """
    paths = tuple(request.update_mask.paths)
    if call.is_rest and paths != ("*",):
        return paths
    if not paths:
        return set_fields(source)
    checked = check_mask(descriptor_of(source), paths)
    if checked != ("*",):
        return checked
    given = set_fields(source)
    return tuple(name for name in descriptor_of(source).fields_by_name if name not in read_only or name in given)


class RequestedChanges(Generic[M]):
    """Creations, updates and deletions of a message that no table holds."""

    def __init__(self, message: type[M], singular: str) -> None:
        """`singular` is the name of the message in requests."""
        descriptor = descriptor_of(message)
        self._singular = singular
        self._read_only = ReadOnlyFields(descriptor, singular)
        self._immutable = ImmutableFields(descriptor, singular)

    def refuse_read_only(self, sent: M) -> None:
        """Raise RuleViolated if a new resource sets fields that are output only."""
        violations = self._read_only.violations(self._read_only.set_in(sent))
        if violations:
            raise broken_rules(violations)

    def check_etag(self, call: Call, before: M, etag: str) -> None:
        """Raise EtagMismatch if the caller demands another version, in the request or in If-Match."""
        check_etag(call, before, etag)

    def apply(self, call: Call, request: Request, before: M) -> M:
        """The resource with the fields that an Update names.

        Raises RuleViolated if that changes what cannot be changed, and EtagMismatch for another ETag than that of the
        request.
        """
        source: M = getattr(request, self._singular)
        self.check_etag(call, before, getattr(source, ETAG))
        mask = mask_of(call, request, source, self._read_only.names)
        named = {path.partition(".")[0] for path in mask}
        after = with_fields(source, before, mask, self._read_only.names)
        changed = self._read_only.changed(source, before, named & self._read_only.names)
        fixed = self._immutable.violations(after, before, call.method.name)
        violations = [*self._read_only.violations(changed), *fixed]
        if violations:
            raise broken_rules(violations)
        return after
