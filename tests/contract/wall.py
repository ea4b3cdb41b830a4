"""How to fill any RPC's request with what belongs to a tenant, so that one tenant can reach for another's."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from google.api import field_behavior_pb2, resource_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.extensions import RULES
from server.kernel.policy import BATCHES, VARIABLE, Kind, MethodPolicy
from server.kernel.raw_bodies import RawBody
from server.kernel.resources.service import python_name
from tests.clients import Tenant, new_tenant
from tests.contract.instances import IMAGE, MARK, ZIP, Instance, Named, instances
from tests.stack import Stack

INSTANCES = instances()
# Fields that name nothing of a tenant.
NEUTRAL = (
    *("page_size", "skip", "include_total", "show_deleted", "update_mask"),
    *(
        "filter",
        "order_by",
        "q",
        "page_token",
        "last_event_id",
        "access_token",
        "ticket",
        "types",
        "title",
        "note",
        *("language", "part_of_speech", "limit", "licence", "mixed_licences", "format", "on_conflict", "publish"),
        *("day.year", "day.month", "day.day", "year", "month", "day"),
        "overlap",
        "days",
        "credentials",
        *("prefix", "stars", "position", "is_helpful", "rule"),
    ),
    # Of files.
    *(
        "filename",
        "folder",
        "alt",
        "seal",
        "content",
        "archive",
        "file",
        "length",
        "metadata",
        "offset",
        "expires",
        "signature",
        "copy",
    ),
    "lifetime_seconds",
    *("as_of", "group_key", "workflow"),
    *("format", "proofs", "tree_size", "second_tree_size"),
    *("range", "compare", "include_series", "bucket"),
    *("start_time", "end_time", "event_types", "only_failed", "dry_run"),
    *("publish_time", "unpublish_time"),
)
# Fields that name nothing of a tenant either, but without which a request is not valid.
NEEDED = ("person_id", "first_tree_size", "metric")
# The same, each of one message: elsewhere a field of this name may name something of a tenant.
NEEDED_THERE = {
    "plinth.billing.v1.GetPlanRequest.plan_id",
    "plinth.billing.v1.Subscription.plan_id",
    "plinth.sites.v1.ApplyPageTemplateRequest.page_template_id",
    "plinth.sites.v1.Page.page_template_id",
    "plinth.tenancy.v1.GetTenantSettingsCategoryRequest.category",
    "plinth.notifications.v1.SendNotificationRequest.user_ids",
    "plinth.stories.v1.AppealModerationDecisionRequest.text",
    "plinth.stories.v1.ListTaggedStoriesRequest.tag",
    "plinth.stories.v1.ReportStoryRequest.text",
    # Only those of one author, whoever that is.
    "plinth.stories.v1.ListStoriesRequest.author_id",
    "plinth.stories.v1.ListStoryCommentsRequest.author_id",
    # A published entry, which everyone in the tenant sees.
    "plinth.dictionary.v1.DictionaryProposal.dictionary_entry_id",
}
# Tables that workers change at any time, and nobody by an RPC: seals, and how far pushes and mail have come.
MOVING = ("audit_leaves", "audit_nodes", "audit_checkpoints", "notification_deliveries")
# Resources of the platform, which every tenant sees.
SHARED = {"plinth.billing.v1.Plan", "plinth.sites.v1.PageTemplate"}
# RPCs whose request names one thing or the other.
ETAG = "etag"
EITHER = {
    "/plinth.tenancy.v1.RoleService/ExplainAccess",
    "/plinth.tenancy.v1.RateLimitsService/ExplainRateLimits",
}
# RPCs that say in their own answer, by the protocol of others, that something is not found. Their domains test that.
BY_PROTOCOL = {"/plinth.flags.v1.FlagEvaluationService/EvaluateFlag"}
UPDATE = "update"
"""What a change in a batch of several kinds is, if nothing is said."""


class Unknown(LookupError):
    """Nobody said what a field of a request names."""


def own_resources(method: MethodPolicy) -> dict[str, str]:
    """Of the resources that a method's package declares: the field that names one, to the full name of its message."""
    found = {}
    service: Any = method.descriptor.containing_service
    for message in service.file.message_types_by_name.values():
        if message.GetOptions().Extensions[resource_pb2.resource].type:
            found[f"{python_name(message.name)}_id"] = str(message.full_name)
    return found


def resolve(method: MethodPolicy, field: str, made: Mapping[str, Named]) -> Any:
    """What a field of a request names: of the service's own resource, else of its domain, else of any other one.

    Of several, it is the one that is called like the field. Raises Unknown where that is nothing, or none of them. An
    id of a resource that the method's own file declares is never taken from another domain, which may have one of the
    same short name; nor is an ETag, which is that of the service's own resource.
    """
    resource = method.descriptor.containing_service.full_name.removesuffix("Service")
    package = resource.rpartition(".")[0]
    declared = own_resources(method).get(field)
    own = declared or resource
    places = [[own] if own in made else []]
    if not declared and field != ETAG:
        places += [[name for name in made if name.startswith(f"{package}.")], list(made)]
    for place in places:
        found = [name for name in place if _names(made, name, field)]
        called = [name for name in found if f"{python_name(name.rpartition('.')[2])}_id" == field]
        if len(called) == 1:
            return made[called[0]][field]
        if len(found) > 1:
            raise Unknown(f"{method.path}: `{field}` names one of {' and '.join(sorted(found))}: rename it there")
        if found:
            return made[found[0]][field]
    wanted = f" of {declared}" if declared else ""
    raise Unknown(f"{method.path}: nobody made an instance{wanted} for `{field}`: {remedy(method)}")


def _names(made: Mapping[str, Named], resource: str, field: str) -> bool:
    return made.names(resource, field) if isinstance(made, Furniture) else field in made[resource]


class Furniture(Mapping[str, Named]):
    """One instance of every resource in a tenant, each made when it is asked for.

    A sweep that needs one page would otherwise pay for one of everything, and with every resource more.
    """

    # What names an instance of a resource is alike in every tenant.
    _fields: ClassVar[dict[str, frozenset[str]]] = {}

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._made: dict[str, Named] = {}

    def __getitem__(self, resource: str) -> Named:
        if resource not in self._made:
            self._made[resource] = INSTANCES[resource].make(self._tenant)
            self._fields[resource] = frozenset(self._made[resource])
        return self._made[resource]

    def __iter__(self) -> Iterator[str]:
        return iter(INSTANCES)

    def __len__(self) -> int:
        return len(INSTANCES)

    def names(self, resource: str, field: str) -> bool:
        """Whether this field of a request names an instance of the resource."""
        known = self._fields.get(resource)
        return field in (self[resource] if known is None else known)


def is_shared(method: MethodPolicy) -> bool:
    """Whether a method is about a resource of the platform, which every tenant sees."""
    return str(method.descriptor.containing_service.full_name).removesuffix("Service") in SHARED


def remedy(method: MethodPolicy) -> str:
    """Where an instance is declared."""
    return f"declare it in tests/domains/{method.domain}/instances.py"


@dataclass(frozen=True)
class House:
    """A tenant with one instance of every resource in it."""

    tenant: Tenant
    made: Mapping[str, Named]
    """Full name of a resource's message to the fields of requests that name the instance."""

    def named(self, method: MethodPolicy) -> dict[str, Any]:
        """Every field of a method's request that names something, by its path, to what it names here.

        What the requests of a batch take from the batch is left out.
        """
        found = {}
        for spot in spots(method.descriptor.input_type):
            if spot.name not in NEUTRAL and not spot.is_carried and spot.field.message_type is None:
                try:
                    found[spot.path] = self.at(method, spot.path)
                except Unknown:
                    continue
        return found

    def at(self, method: MethodPolicy, path: str) -> Any:
        """What the field at this path of a method's request names here. Raises Unknown."""
        name = path.rpartition(".")[2]
        return self.tenant.id if name == "tenant_id" else resolve(method, name, self.made)

    def of(self, resource: str) -> Named:
        """What names the instance of a resource, by the full name of its message without `plinth.`."""
        return self.made[f"plinth.{resource}"]

    def request(
        self, method: MethodPolicy, named: Mapping[str, Any] | None = None, tenant_id: str = "", at: str = ""
    ) -> Message:
        """A request to this tenant, however its id is written, that names what is there, or what it is told.

        `named` is by path. Of the changes that a request of a batch may be, it is the one in which the path `at` is.
        """
        request = GetMessageClass(method.descriptor.input_type)()
        own = self.named(method)
        needed = {path: own[path] for path in needed_by(method) if path in own}
        chosen = own if named is None else named
        fill(request, {**needed, **chosen, "tenant_id": tenant_id or self.tenant.id}, at=at)
        if "timeout_seconds" in request.DESCRIPTOR.fields_by_name:
            # What waits for an event that does not come.
            setattr(request, "timeout_seconds", 1)  # noqa: B010 - of a message that is known by its descriptor alone
        fill_examples(request)
        if method.upload is not None:
            getattr(request, method.upload.field).CopyFrom(body_of(method.upload))
        if method.raw is not None and method.raw.content_types:
            getattr(request, method.raw.field).content_type = min(method.raw.content_types)
        return request

    def reaching(self, method: MethodPolicy, path: str, other: "House") -> Message:
        """A request to this tenant that names one thing of another tenant; all else is there."""
        return self.naming(method, path, other.at(method, path))

    def naming(self, method: MethodPolicy, path: str, value: Any) -> Message:
        """A request to this tenant with this value at one path; all else is there."""
        beside = set(identifying(method)) - {path} if method.path in EITHER else set()
        named = {each: known for each, known in self.named(method).items() if each not in beside}
        return self.request(method, named | {path: value}, at=path)

    def again(self) -> "House":
        """The same tenant, with one more of everything."""
        return House(self.tenant, furnish(self.tenant))

    def one_more(self) -> "House":
        """The same tenant, with one more of what will be asked for."""
        return House(self.tenant, Furniture(self.tenant))


def open_house(stack: Stack) -> House:
    """A new tenant with what will be asked for in it."""
    tenant = new_tenant(stack, name=f"{MARK}-new")
    return House(tenant, Furniture(tenant))


def furnished(stack: Stack) -> House:
    """A new tenant with everything in it."""
    tenant = new_tenant(stack, name=f"{MARK}-new")
    return House(tenant, furnish(tenant))


def furnish(tenant: Tenant) -> dict[str, Named]:
    """Make one of everything."""
    return {name: instance.make(tenant) for name, instance in INSTANCES.items()}


class Spot(NamedTuple):
    """A field of a request: at its top, in a request of a batch, or in the resource that it brings."""

    path: str
    """`operations.update.section_id`."""
    field: FieldDescriptor
    is_carried: bool = False
    """Whether a request of a batch takes it from the batch, and may not differ (AIP-233)."""
    in_resource: bool = False

    @property
    def name(self) -> str:
        """The field's."""
        return str(self.field.name)


def spots(request: Descriptor, above: str = "", carried: Collection[str] = ()) -> Iterator[Spot]:
    """Every field of a request. In a resource: only those with the id of what it belongs to."""
    texts = {field.name for field in request.fields if is_text(field) and not field.is_repeated}
    for field in request.fields:
        path = f"{above}{field.name}"
        if is_batch(field):
            for option, inside in choices(field).items():
                yield from spots(inside, f"{path}.{option}." if option else f"{path}.", texts)
            continue
        yield Spot(path, field, is_carried=field.name in carried)
        for parent in parents_in(field.message_type):
            yield Spot(f"{path}.{parent.name}", parent, in_resource=True)


def is_text(field: FieldDescriptor) -> bool:
    """Whether a field may hold an id."""
    return bool(field.type == FieldDescriptor.TYPE_STRING)


def behaves(field: FieldDescriptor, behavior: int) -> bool:
    """Whether a field has this google.api.field_behavior."""
    return behavior in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def parents_in(message: Descriptor | None) -> list[FieldDescriptor]:
    """The fields of a resource with the id of another one that a caller may set."""
    if message is None or not message.GetOptions().Extensions[resource_pb2.resource].type:
        return []
    named = [field for field in message.fields if is_text(field) and field.name.endswith("_id")]
    return [field for field in named if not behaves(field, field_behavior_pb2.OUTPUT_ONLY)]


def is_batch(field: FieldDescriptor) -> bool:
    """Whether a field of a request has further requests."""
    return field.is_repeated and field.name in BATCHES.values() and field.message_type is not None


def choices(batch: FieldDescriptor) -> dict[str, Descriptor]:
    """What a request of a batch may be: by the field that has it, which is empty if it is the request itself."""
    inside: Any = batch.message_type
    if not inside.oneofs:
        return {"": inside}
    return {option.name: option.message_type for option in inside.oneofs[0].fields}


def fill_examples(request: Any) -> None:
    """Set required numbers, and reasons, to the examples of their rules."""
    for field in request.DESCRIPTOR.fields:
        if not behaves(field, field_behavior_pb2.REQUIRED):
            continue
        if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
            setattr(request, field.name, field.GetOptions().Extensions[RULES].int32.example[0])
        elif field.enum_type is not None:
            setattr(request, field.name, field.enum_type.values[1].number)
        elif field.name == "reason" and not request.reason:
            request.reason = field.GetOptions().Extensions[RULES].string.example[0]


def body_of(upload: RawBody) -> HttpBody:
    """A small image as the body of an upload: of one of its types, or the only file of a form."""
    if "application/zip" in upload.content_types:
        return HttpBody(content_type="application/zip", data=ZIP)
    if "text/csv" in upload.content_types:
        return HttpBody(content_type="text/csv", data=b"headword,definition\nplanted,Planted.\n")
    if not upload.max_files:
        return HttpBody(content_type=min(upload.content_types, default="image/png"), data=IMAGE)
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return HttpBody(content_type="multipart/form-data; boundary=b", data=head + IMAGE + b"\r\n--b--\r\n")


def fill(
    request: Any,
    named: Mapping[str, Any],
    declared: Mapping[str, Instance] = INSTANCES,
    *,
    above: str = "",
    at: str = "",
) -> None:
    """Set those fields which the request has; a resource in it becomes one that can be stored.

    `named` is by path. A batch gets one request: of several it may be, the one in which the path `at` is.
    """
    for name, field in request.DESCRIPTOR.fields_by_name.items():
        path = f"{above}{name}"
        if is_batch(field):
            options = choices(field)
            chosen = next((option for option in options if at.startswith(f"{path}.{option}.")), "")
            chosen = chosen or ("" if "" in options else UPDATE)
            inside = getattr(request, name).add()
            if chosen:
                fill(getattr(inside, chosen), named, declared, above=f"{path}.{chosen}.", at=at)
            else:
                fill(inside, named, declared, above=f"{path}.", at=at)
        elif field.message_type is not None:
            instance = declared.get(field.message_type.full_name)
            if instance is not None and instance.body is not None and not field.is_repeated:
                resource = getattr(request, name)
                json_format.ParseDict(instance.body(), resource)
                for parent in parents_in(field.message_type):
                    setattr(resource, parent.name, named.get(f"{path}.{parent.name}", ""))
        elif path in named:
            value = named[path]
            getattr(request, name).extend(value) if isinstance(value, list) else setattr(request, name, value)


def needed_by(method: MethodPolicy) -> list[str]:
    """The paths without which a request is not valid."""
    required = field_behavior_pb2.REQUIRED
    named = [spot for spot in naming_spots(method) if spot.in_resource or behaves(spot.field, required)]
    every = spots(method.descriptor.input_type)
    return [
        *(spot.path for spot in named if not spot.is_carried),
        *(spot.path for spot in every if spot.path in NEEDED or spot.field.full_name in NEEDED_THERE),
    ]


def identifying(method: MethodPolicy) -> list[str]:
    """The paths of a request that name something beside the tenant. An ETag alone names nothing.

    In a batch they include those that its requests take from it: the tenant too.
    """
    return [spot.path for spot in naming_spots(method)]


def naming_spots(method: MethodPolicy) -> list[Spot]:
    """The same, with their fields."""
    if method.path in BY_PROTOCOL:
        return []
    in_path = {name.strip("{}") for binding in method.bindings for name in VARIABLE.findall(binding.path)}
    found = []
    for spot in spots(method.descriptor.input_type):
        is_name = spot.name in {"ids", "role"} or spot.name.endswith("_id") or spot.path in in_path
        is_other = spot.name in {"last_event_id", *NEEDED} or spot.path == "tenant_id"
        is_other = is_other or spot.field.full_name in NEEDED_THERE
        if is_name and is_text(spot.field) and not is_other:
            found.append(spot)
    return found


def must_name(method: MethodPolicy) -> bool:
    """Whether a request has to name something beside the tenant, other than what its resource belongs to."""
    required = field_behavior_pb2.REQUIRED
    named = [spot for spot in naming_spots(method) if not spot.in_resource]
    return method.path in EITHER or any(behaves(spot.field, required) for spot in named)


def rules_broken(method: MethodPolicy, path: str) -> set[str]:
    """The rules that any id at this path breaks, other than what stands there. Else it is looked for, and not found."""
    (spot,) = (spot for spot in naming_spots(method) if spot.path == path)
    if spot.is_carried:
        return {"batch.same"}
    if spot.in_resource and method.kind is Kind.UPDATE and behaves(spot.field, field_behavior_pb2.IMMUTABLE):
        return {"immutable"}
    return {"ids.known", "ids.all"} if method.kind is Kind.REORDER and path == "ids" else set()


def unknown_fields(
    methods: list[MethodPolicy], made: Mapping[str, Named], declared: Mapping[str, Instance] = INSTANCES
) -> Iterator[str]:
    """Fields of requests for which nobody said what they name: the wall would not be tried there."""
    for method in methods:
        for spot in spots(method.descriptor.input_type):
            message = spot.field.message_type
            is_free_form = message is not None and message.full_name == "google.protobuf.Struct"
            if spot.field.type == FieldDescriptor.TYPE_BOOL or (is_free_form and not spot.in_resource):
                # Neither can name anything.
                continue
            if spot.name in (*NEUTRAL, ETAG) or spot.is_carried:
                continue
            if message is not None:
                instance = declared.get(message.full_name)
                if instance is None or instance.body is None:
                    yield f"{method.path}: no {message.full_name} can be created: {remedy(method)}"
                continue
            try:
                resolve(method, spot.name, made)
            except Unknown as unknown:
                yield str(unknown)
