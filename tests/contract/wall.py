"""How to fill any RPC's request with what belongs to a tenant, so that one tenant can reach for another's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.kernel.policy import VARIABLE, MethodPolicy
from tests.audit.planting import sealer
from tests.clients import Tenant, database, new_tenant, unique
from tests.stack import Stack, wait_for

# Fields by which a caller names what is there already. Who adds a resource adds how one instance of it is made.
Maker = Callable[[Tenant], Mapping[str, Any]]
MARK = "belongs-to"
PERMISSION = "sites.pages.read"


def _page(tenant: Tenant) -> Mapping[str, Any]:
    page = _made(tenant, f"{tenant.path}/pages", {"slug": unique("page"), "title": f"{MARK}-{tenant.subdomain}"})
    return {"page_id": page["id"], "ids": [page["id"]], "slug": page["slug"], "etag": page["etag"]}


def _api_key(tenant: Tenant) -> Mapping[str, Any]:
    body = {"name": f"{MARK}-{tenant.subdomain}", "permissions": [PERMISSION]}
    return {"api_key_id": _made(tenant, f"{tenant.path}/api-keys", body)["id"]}


def _role(tenant: Tenant) -> Mapping[str, Any]:
    body = {"name": unique("role"), "description": f"{MARK}-{tenant.subdomain}", "permissions": [PERMISSION]}
    role = _made(tenant, "rbac/roles", body)
    return {"role_id": role["id"], "role": role["name"]}


def _branding(tenant: Tenant) -> Mapping[str, Any]:
    response = tenant.rest.patch(f"{tenant.path}/branding", {"headingFont": f"{MARK}-{tenant.subdomain}"})
    assert response.status_code == 200, response.text
    return {}


def _webhook(tenant: Tenant) -> Mapping[str, Any]:
    """With a delivery, its attempt and a queue. By SQL: what is sent would change by itself while the wall is tried."""
    url = f"https://example.com/{MARK}-{tenant.subdomain}"
    webhook_id = _made(tenant, f"{tenant.path}/webhooks", {"url": url, "eventTypes": ["branding.reset"]})["id"]
    with database(tenant.stack) as connection:
        row = connection.execute(
            """INSERT INTO webhook_deliveries
                      (tenant_id, id, webhook_id, event_id, event_type, subject, event_time, kind, status)
               SELECT tenant_id, gen_random_uuid(), %s, id, type, resource_id, create_time, 1, 2
                 FROM events WHERE tenant_id = %s LIMIT 1 RETURNING id::text, event_id::text""",
            (webhook_id, tenant.id),
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO webhook_attempts VALUES (%s, %s, 1, now(), 1, 200, '', '{}', '{}', '{}', '')",
            (tenant.id, row["id"]),
        )
        connection.execute(
            "INSERT INTO webhook_queues VALUES (%s, %s, 'later', '2999-01-01', NULL)", (tenant.id, webhook_id)
        )
    return {"webhook_id": webhook_id, "delivery_id": row["id"], "event_id": row["event_id"]}


def _audit_entry(tenant: Tenant) -> Mapping[str, Any]:
    """One that is sealed."""

    (entry,) = tenant.rest.get(f"{tenant.path}/audit", {"pageSize": 1, "orderBy": "create_time"}).json()["auditEntries"]
    size = _sealed_entries(tenant)
    if not size:
        with sealer(tenant.stack) as sealing:
            wait_for(lambda: (sealing.seal(), _sealed_entries(tenant))[1], what="the seal")
        size = _sealed_entries(tenant)
    return {"entry_id": entry["id"], "person_id": tenant.owner.id, "first_tree_size": size}


def _sealed_entries(tenant: Tenant) -> int:
    """How many entries of the tenant its newest checkpoint seals."""
    answer = tenant.rest.get(f"{tenant.path}/audit/checkpoint")
    return int(answer.json()["treeSize"]) if answer.status_code == 200 else 0


def _made(tenant: Tenant, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = tenant.rest.post(path, body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


MAKERS: tuple[Maker, ...] = (
    *(_page, _api_key, _role, _branding, _webhook, _audit_entry),
    lambda tenant: {"user_id": tenant.owner.id},
)
# What a message of this field is filled with where a body is needed.
BODIES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "page": lambda: {"slug": unique("page"), "title": "Planted"},
    "tenant": lambda: {"name": "Planted"},
    "branding": lambda: {"headingFont": "Planted"},
    "api_key": lambda: {"name": "Planted", "permissions": [PERMISSION]},
    "role": lambda: {"name": unique("planted"), "permissions": [PERMISSION]},
    "webhook": lambda: {"url": "https://example.com/planted", "eventTypes": ["page.*"]},
}
# Fields that name nothing of a tenant.
NEUTRAL = (
    *("page_size", "skip", "include_total", "show_deleted", "update_mask"),
    *("filter", "order_by", "page_token", "last_event_id", "access_token", "title", "overlap", "days"),
    *("format", "proofs", "tree_size", "second_tree_size"),
    *("start_time", "end_time", "event_types", "only_failed", "dry_run"),
)
# Fields that name nothing of a tenant either, but without which a request is not valid.
NEEDED = ("person_id", "first_tree_size")
# RPCs whose request names one thing or the other.
EITHER = {"ExplainAccess"}


@dataclass(frozen=True)
class House:
    """A tenant with one instance of every resource in it."""

    tenant: Tenant
    named: Mapping[str, Any]
    """Field of a request to what it names in this tenant."""

    def request(self, method: MethodPolicy, named: Mapping[str, Any], tenant_id: str = "") -> Message:
        """A request to this tenant, however its id is written, that names what is there or belongs to another one."""
        request = GetMessageClass(method.descriptor.input_type)()
        needed = {name: self.named[name] for name in NEEDED}
        fill(request, {**needed, **named, "tenant_id": tenant_id or self.tenant.id})
        return request

    def reaching(self, method: MethodPolicy, field: str, other: "House") -> Message:
        """A request to this tenant that names one thing of another tenant; all else is there."""
        beside = set(identifying(method)) - {field} if method.name in EITHER else set()
        named = {name: value for name, value in self.named.items() if name not in beside}
        return self.request(method, named | {field: other.named[field]})


def furnished(stack: Stack) -> House:
    """A new tenant with everything in it."""
    tenant = new_tenant(stack, name=f"{MARK}-new")
    return House(tenant, {"tenant_id": tenant.id, "permission": PERMISSION} | furnish_again(tenant))


def furnish_again(tenant: Tenant) -> dict[str, Any]:
    """One more of everything, and what names it."""
    return {name: value for make in MAKERS for name, value in make(tenant).items()}


def fill(request: Any, named: Mapping[str, Any]) -> None:
    """Set those fields which the request has."""
    for name, field in request.DESCRIPTOR.fields_by_name.items():
        if field.message_type is not None:
            if name in BODIES:
                json_format.ParseDict(BODIES[name](), getattr(request, name))
        elif name in named:
            value = named[name]
            getattr(request, name).extend(value) if isinstance(value, list) else setattr(request, name, value)


def identifying(method: MethodPolicy) -> list[str]:
    """The fields of a request that name something beside the tenant. An ETag alone names nothing."""
    in_path = {name.strip("{}") for binding in method.bindings for name in VARIABLE.findall(binding.path)}
    found = []
    for field in method.descriptor.input_type.fields:
        is_name = field.name in {"ids", "role"} or field.name.endswith("_id") or field.name in in_path
        is_other = field.name in {"tenant_id", "last_event_id", *NEEDED}
        if is_name and field.type == FieldDescriptor.TYPE_STRING and not is_other:
            found.append(field.name)
    return found


def unknown_fields(methods: list[MethodPolicy], named: Mapping[str, Any]) -> Iterator[str]:
    """Fields of requests for which nobody said what they name: the wall would not be tried there."""
    for method in methods:
        for name in method.descriptor.input_type.fields_by_name:
            if name not in {*named, *BODIES, *NEUTRAL}:
                yield f"{method.name}: nobody made an instance for `{name}`"
