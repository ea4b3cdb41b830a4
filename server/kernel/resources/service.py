"""Services: the code of a domain. It writes hooks and custom methods; the kernel provides the standard methods."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from server.kernel.policy import Kind, is_read_only, kind_of, options_of
from server.kernel.ports import Part
from server.kernel.resources.resource import Hooks, M, Resource
from server.kernel.resources.rows import ResourceRows
from server.kernel.resources.singletons import OnePerParentRows, OnePerTenantRows, OnePerUserRows
from server.kernel.sinks import Begin

_BOUNDARY = re.compile(r"(?<!^)(?=[A-Z])")


class EventFacts(NamedTuple):
    """Facts about an event that the policy of its RPC does not contain."""

    payload: type[Message]
    description: str = ""
    """Empty for the event of an RPC, which is described by the comment of the RPC."""
    webhooks: bool = True
    """Whether webhooks get it."""


class Service(Hooks[M], Generic[M]):
    """One service of a .proto. Custom methods are Python methods named like the RPC in snake_case: (call, request)."""

    descriptor: ClassVar[ServiceDescriptor]
    resource: Resource[M] | None = None
    rows: ResourceRows[M]
    """The rows of `resource`. A service without a resource has no such attribute."""
    events: ClassVar[Mapping[str, EventFacts]] = {}
    """Events whose payload differs from the answer of their RPC, and further events that no policy names."""
    uploads: Mapping[str, Begin] = {}
    """Where the bytes of each upload go, by the name of its RPC."""
    parts: Sequence[Part] = ()
    """Parts that run beside its calls, from the start of the process to its end."""

    def __init__(self) -> None:
        if self.resource is not None:
            self.rows = _rows_of(self.resource)(self, self.resource)


def _rows_of(resource: Resource[M]) -> type[ResourceRows[M]]:
    if not resource.singleton:
        return ResourceRows
    if resource.parent:
        return OnePerParentRows
    return OnePerUserRows if resource.owner else OnePerTenantRows


AnyService = Service[Any]
"""A service with any resource."""


class ServiceFault(Exception):
    """A service and its .proto do not match, and the server must not start. Lists every fault."""


_DECLARED = frozenset(("descriptor", "resource", "rows", "events", "uploads", "parts"))
_HOOKS = frozenset(name for name, value in vars(Hooks).items() if callable(value) and not name.startswith("_"))


def check_methods(service: type[AnyService]) -> None:
    """Raise ServiceFault for a public method that is neither a hook nor an RPC, or is both."""
    rpcs = {python_name(method.name): method.full_name for method in service.descriptor.methods}
    own = service.__mro__[: service.__mro__.index(Service)]
    public = {name for each in own for name in vars(each) if not name.startswith("_")} - _DECLARED
    faults = [
        *(
            f"{service.__name__}.{name} is neither a hook nor an RPC of {service.descriptor.full_name}: "
            f"name it as one of them, or begin its name with `_`"
            for name in sorted(public - _HOOKS - rpcs.keys())
        ),
        *(
            f"{rpcs[name]} would be served by the hook `{name}`: name the RPC otherwise"
            for name in rpcs
            if name in _HOOKS
        ),
    ]
    if faults:
        raise ServiceFault("\n".join(faults))


def python_name(rpc: str) -> str:
    """`GetPageBySlug` as `get_page_by_slug`."""
    return _BOUNDARY.sub("_", rpc).lower()


def camel(name: str) -> str:
    """`start_over` as `StartOver`."""
    return "".join(word.capitalize() for word in name.split("_"))


def events_emitted(service: type[AnyService]) -> set[str]:
    """The types of all events of a service."""
    options = [options_of(method) for method in service.descriptor.methods]
    return {option.emits for option in options if option is not None and option.emits} | service.events.keys()


def readable_by(services: Iterable[type[AnyService]]) -> dict[str, str]:
    """By type of event: the permission to read the resource of its service. Others have no events that are streamed."""
    found: dict[str, str] = {}
    for service in services:
        permission = _reading(service)
        if permission:
            found |= dict.fromkeys(events_emitted(service), permission)
    return found


def _reading(service: type[AnyService]) -> str:
    """The permission of Get, else of List, else of another read; empty if nobody needs one."""
    kinds = (Kind.GET, Kind.LIST, Kind.CUSTOM)
    reads = [method for method in service.descriptor.methods if is_read_only(method)]
    for method in sorted(reads, key=lambda method: kinds.index(kind) if (kind := kind_of(method)) in kinds else 1):
        option = options_of(method)
        if option is not None and option.permission:
            return option.permission
    return ""


def revealed_by(services: Iterable[type[AnyService]]) -> dict[str, str]:
    """By type of event: the permission that shows events of this type to others than the user whose they are."""
    return {
        event: service.resource.seen_by
        for service in services
        if service.resource is not None and service.resource.is_narrowed
        for event in events_emitted(service)
    }


def seen_by(services: Iterable[type[AnyService]]) -> dict[str, tuple[str, ...]]:
    """Each permission that shows what other users own, with the RPCs that it widens, such as `TripService.GetTrip`."""
    found: dict[str, tuple[str, ...]] = {}
    for service in services:
        if service.resource is not None and service.resource.is_narrowed:
            name = service.descriptor.name
            rpcs = tuple(f"{name}.{method.name}" for method in service.descriptor.methods)
            found[service.resource.seen_by] = (*found.get(service.resource.seen_by, ()), *rpcs)
    return found


def private_events(services: Iterable[type[AnyService]]) -> frozenset[str]:
    """The types of events that webhooks do not get."""
    return frozenset(name for service in services for name, facts in service.events.items() if not facts.webhooks)


def narrowed_services(services: Iterable[type[AnyService]]) -> dict[str, str]:
    """The services whose rows depend on the caller, beyond the tenant, by their full names.

    Each with the permission on which alone they depend; empty where each caller sees others.
    """
    return {
        service.descriptor.full_name: "" if service.resource.owner else service.resource.seen_by
        for service in services
        if service.resource is not None and service.resource.is_narrowed
    }


def by_name(services: Iterable[AnyService]) -> dict[str, AnyService]:
    """Services by the full name of their descriptor."""
    return {service.descriptor.full_name: service for service in services}
