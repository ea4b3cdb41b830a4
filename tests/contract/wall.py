"""How to fill any RPC's request with what belongs to a tenant, so that one tenant can reach for another's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from google.api import resource_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.policy import BATCHES, VARIABLE, MethodPolicy
from server.kernel.resources.service import python_name
from tests.clients import Tenant, new_tenant
from tests.contract.instances import MARK, Instance, Named, instances
from tests.stack import Stack

INSTANCES = instances()
# Fields that name nothing of a tenant.
NEUTRAL = (
    *("page_size", "skip", "include_total", "show_deleted", "update_mask"),
    *("filter", "order_by", "q", "page_token", "last_event_id", "access_token", "title", "overlap", "days"),
    *("format", "proofs", "tree_size", "second_tree_size"),
    *("range", "compare", "include_series", "bucket"),
    *("start_time", "end_time", "event_types", "only_failed", "dry_run"),
)
# Fields that name nothing of a tenant either, but without which a request is not valid.
NEEDED = ("person_id", "first_tree_size", "metric")
# RPCs whose request names one thing or the other.
EITHER = {"/plinth.tenancy.v1.RoleService/ExplainAccess"}


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

    Raises Unknown where that is nothing, or several. An id of a resource that the method's own file declares is never
    taken from another domain, which may have one of the same short name.
    """
    resource = method.descriptor.containing_service.full_name.removesuffix("Service")
    package = resource.rpartition(".")[0]
    declared = own_resources(method).get(field)
    own = declared or resource
    places = [[own] if own in made else []]
    if not declared:
        places += [[name for name in made if name.startswith(f"{package}.")], list(made)]
    for place in places:
        found = [name for name in place if _names(made, name, field)]
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
        """Every field of a method's request that names something, to what it names here."""
        found = {}
        for field in fields_of(method.descriptor.input_type):
            if field.name not in NEUTRAL:
                try:
                    found[field.name] = resolve(method, field.name, self.made)
                except Unknown:
                    continue
        return found

    def of(self, resource: str) -> Named:
        """What names the instance of a resource, by the full name of its message without `plinth.`."""
        return self.made[f"plinth.{resource}"]

    def request(self, method: MethodPolicy, named: Mapping[str, Any] | None = None, tenant_id: str = "") -> Message:
        """A request to this tenant, however its id is written, that names what is there, or what it is told."""
        request = GetMessageClass(method.descriptor.input_type)()
        own = self.named(method)
        needed = {name: own[name] for name in NEEDED if name in own}
        chosen = own if named is None else named
        fill(request, {**needed, **chosen, "tenant_id": tenant_id or self.tenant.id})
        return request

    def reaching(self, method: MethodPolicy, field: str, other: "House") -> Message:
        """A request to this tenant that names one thing of another tenant; all else is there."""
        beside = set(identifying(method)) - {field} if method.path in EITHER else set()
        named = {name: value for name, value in self.named(method).items() if name not in beside}
        return self.request(method, named | {field: other.named(method)[field]})

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


def fill(request: Any, named: Mapping[str, Any], declared: Mapping[str, Instance] = INSTANCES) -> None:
    """Set those fields which the request has; a resource in it becomes one that can be stored."""
    for name, field in request.DESCRIPTOR.fields_by_name.items():
        if is_batch(field):
            inside = getattr(request, name).add()
            fill(inside.update if inside.DESCRIPTOR.oneofs else inside, named, declared)
        elif field.message_type is not None:
            instance = declared.get(field.message_type.full_name)
            if instance is not None and instance.body is not None and not field.is_repeated:
                json_format.ParseDict({**instance.body(), **named.get(name, {})}, getattr(request, name))
        elif name in named:
            value = named[name]
            getattr(request, name).extend(value) if isinstance(value, list) else setattr(request, name, value)


def is_batch(field: FieldDescriptor) -> bool:
    """Whether a field of a request has further requests."""
    return field.is_repeated and field.name in BATCHES.values()


def fields_of(request: Descriptor) -> list[FieldDescriptor]:
    """The fields of a request, and those of the requests in a batch."""
    found = {field.name: field for field in request.fields if not is_batch(field)}
    for field in request.fields:
        if is_batch(field):
            inside: Any = field.message_type
            chosen = inside.fields_by_name["update"].message_type if inside.oneofs else inside
            found |= {each.name: each for each in chosen.fields if each.name not in found}
    return list(found.values())


def identifying(method: MethodPolicy) -> list[str]:
    """The fields of a request that name something beside the tenant. An ETag alone names nothing."""
    in_path = {name.strip("{}") for binding in method.bindings for name in VARIABLE.findall(binding.path)}
    found = []
    for field in fields_of(method.descriptor.input_type):
        is_name = field.name in {"ids", "role"} or field.name.endswith("_id") or field.name in in_path
        is_other = field.name in {"tenant_id", "last_event_id", *NEEDED}
        if is_name and field.type == FieldDescriptor.TYPE_STRING and not is_other:
            found.append(field.name)
    return found


def unknown_fields(
    methods: list[MethodPolicy], made: Mapping[str, Named], declared: Mapping[str, Instance] = INSTANCES
) -> Iterator[str]:
    """Fields of requests for which nobody said what they name: the wall would not be tried there."""
    for method in methods:
        for field in fields_of(method.descriptor.input_type):
            name = field.name
            if name in NEUTRAL:
                continue
            if field.message_type is not None:
                instance = declared.get(field.message_type.full_name)
                if instance is None or instance.body is None:
                    yield f"{method.path}: no {field.message_type.full_name} can be created: {remedy(method)}"
                continue
            try:
                resolve(method, name, made)
            except Unknown as unknown:
                yield str(unknown)
