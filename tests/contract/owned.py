"""What belongs to one user of a tenant, by the declarations of the resources: which RPCs show it, and to whom."""

from google.protobuf.message import Message

from server import app
from server.kernel.policy import Access, Kind, MethodPolicy
from server.kernel.resources.resource import AnyResource

RESOURCES: dict[str, AnyResource] = {
    service.descriptor.full_name: service.resource for service in app.SERVICES if service.resource is not None
}
USER_REQUIRED = "USER_REQUIRED"
PERMISSION_MISSING = "PERMISSION_MISSING"
SEEN_BY = sorted({resource.seen_by for resource in RESOURCES.values() if resource.owner})
"""The permissions that show what others own."""
SHOWN = {name for name, resource in RESOURCES.items() if resource.owner and resource.shown is not None}
"""The services of what people own and everyone sees in some states: tests/contract/test_shown_wall.py."""


def resource_of(method: MethodPolicy) -> AnyResource | None:
    """The resource of a method's service."""
    return RESOURCES.get(method.descriptor.containing_service.full_name)


BY_OTHERS = {
    f"/plinth.stories.v1.StoryCommentService/{verb}StoryComment"
    for verb in ("Approve", "Remove", "VoteOn", "WithdrawVoteOn")
}
"""What others than its owner do with what they see: the author of a story, moderators and readers."""


def is_shown(method: MethodPolicy) -> bool:
    """Whether a method is about what people own and everyone sees in some states."""
    return method.descriptor.containing_service.full_name in SHOWN


def owner_field(method: MethodPolicy) -> str:
    """The field with the owner of what a method is about; empty if others see it too."""
    resource = resource_of(method)
    return resource.owner if resource is not None and not is_shown(method) else ""


def seen_by(method: MethodPolicy) -> str:
    """The permission with which a method is about what others own as well; empty if others see it anyway."""
    resource = resource_of(method)
    return resource.seen_by if resource is not None and owner_field(method) else ""


def names_owner(method: MethodPolicy, path: str) -> bool:
    """Whether a list is asked here for what one user owns."""
    return method.kind is Kind.LIST and bool(path) and path == owner_field(method)


def named_in(request: Message) -> set[str]:
    """The fields that a request sets."""
    return {field.name for field, _ in request.ListFields()}


def refusal_of_key(method: MethodPolicy, request: Message, *, sees_all: bool) -> str:
    """The reason with which an API key, which owns nothing, is refused; empty if it is not.

    `sees_all`: the key holds the permission that shows what others own.
    """
    resource = resource_of(method)
    if resource is None or not resource.owner or method.path in BY_OTHERS or (is_shown(method) and method.read_only):
        return ""
    if method.kind is Kind.LIST and resource.owner in named_in(request):
        return "" if sees_all else PERMISSION_MISSING
    if resource.keys_own:
        return ""
    parent = resource.parent
    inherits = parent is not None and bool(parent.resource.owner) and not parent.is_open
    is_new = method.kind in (Kind.CREATE, Kind.BATCH_CREATE, Kind.BATCH_WRITE) and not inherits
    is_list = method.kind is Kind.LIST and resource.owner in method.descriptor.input_type.fields_by_name
    is_the_caller_s = is_new or is_list or method.kind is Kind.REORDER
    return "" if sees_all and not is_the_caller_s else USER_REQUIRED


def is_absent_for_key(method: MethodPolicy, *, sees_all: bool) -> bool:
    """Whether what a user owns is not there for an API key, which owns what it makes itself."""
    resource = resource_of(method)
    return resource is not None and resource.keys_own and not sees_all and method.kind is not Kind.LIST


OWNED = [method for method in app.policies().values() if method.access is Access.PERMISSION and owner_field(method)]
"""The RPCs that are about what users own."""
