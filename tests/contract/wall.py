"""How to fill any RPC's request with what belongs to a tenant, so that one tenant can reach for another's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.policy import MethodPolicy
from tests.clients import Tenant, new_tenant, unique
from tests.stack import Stack

# Fields by which a caller names what is there already. Who adds a resource adds how one instance of it is made.
Maker = Callable[[Tenant], Mapping[str, Any]]
MARK = "belongs-to"


def _page(tenant: Tenant) -> Mapping[str, Any]:
    body = {"slug": unique("page"), "title": f"{MARK}-{tenant.subdomain}"}
    response = tenant.rest.post(f"{tenant.path}/pages", body)
    assert response.status_code == 201, response.text
    page = response.json()
    return {"page_id": page["id"], "ids": [page["id"]], "slug": page["slug"], "etag": page["etag"]}


MAKERS: tuple[Maker, ...] = (_page,)
# What a message of this field is filled with where a body is needed.
BODIES: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "page": lambda: {"slug": unique("page"), "title": "Planted"},
    "tenant": lambda: {"name": "Planted"},
    "branding": lambda: {"heading_font": "Planted"},
}
# Fields that name nothing of a tenant.
NEUTRAL = (
    *("page_size", "skip", "include_total", "show_deleted", "update_mask"),
    *("filter", "order_by", "page_token", "last_event_id", "access_token", "title"),
)


@dataclass(frozen=True)
class House:
    """A tenant with one instance of every resource in it."""

    tenant: Tenant
    named: Mapping[str, Any]
    """Field of a request to what it names in this tenant."""

    def request(self, method: MethodPolicy, named: Mapping[str, Any]) -> Message:
        """A request to this tenant that names what belongs to another one (or to this one)."""
        request = GetMessageClass(method.descriptor.input_type)()
        fill(request, {"tenant_id": self.tenant.id} | {k: v for k, v in named.items() if k != "tenant_id"})
        return request


def furnished(stack: Stack) -> House:
    """A new tenant with everything in it."""
    tenant = new_tenant(stack, name=f"{MARK}-new")
    named: dict[str, Any] = {"tenant_id": tenant.id}
    for make in MAKERS:
        named |= make(tenant)
    return House(tenant, named)


def fill(request: Any, named: Mapping[str, Any]) -> None:
    """Set those fields which the request has."""
    for name, field in request.DESCRIPTOR.fields_by_name.items():
        if name in named:
            value = named[name]
            getattr(request, name).extend(value) if isinstance(value, list) else setattr(request, name, value)
        elif field.message_type is not None and name in BODIES:
            for key, value in BODIES[name]().items():
                setattr(getattr(request, name), key, value)


def identifying(request: Descriptor) -> set[str]:
    """The fields of a request that name something beside the tenant. An ETag alone names nothing."""
    return {name for name in request.fields_by_name if name in {"ids", "slug"} or name.endswith("_id")} - {
        "tenant_id",
        "last_event_id",
    }


def unknown_fields(methods: list[MethodPolicy], named: Mapping[str, Any]) -> Iterator[str]:
    """Fields of requests for which nobody said what they name: the wall would not be tried there."""
    for method in methods:
        for name in method.descriptor.input_type.fields_by_name:
            if name not in {*named, *BODIES, *NEUTRAL}:
                yield f"{method.name}: nobody made an instance for `{name}`"
