"""Errors of the contract: reasons exist and are used, permissions are held, and failures have one shape."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import grpc
import pytest
from plinth.errors.v1.reason_pb2 import Reason
from plinth.sites.v1.page_pb2 import GetPageRequest, ListPagesRequest
from plinth.sites.v1.section_pb2 import ReorderSectionsRequest

import server
from server import app, modules
from server.kernel.call import HTTP_STATUS, LIMIT
from server.kernel.guard.access import Permissions
from server.kernel.policy import PERMISSION, Access, MethodPolicy
from server.kernel.resources import seen_by
from server.kernel.roles import ADMIN, OWNER
from tests.clients import STATUS_DETAILS, Rest, Tenant, new_tenant, problem, refused, stubs
from tests.stack import Stack

SOURCES = Path(server.__file__).parent
READ = ".read"
# For what a provider signs, the policy names an adapter in place of a permission.
GUARDED = [
    method for method in app.policies().values() if method.permission and method.access is not Access.PROVIDER_SIGNATURE
]
EVERYTHING = ("*",)
Held = Mapping[str, Collection[str]]
"""Built-in role to the permissions that it holds."""
Declared = Mapping[str, Mapping[str, Sequence[str]]]
"""Domain to role to the patterns that the domain declares for it."""
NEVER_SENT = "REASON_UNSPECIFIED"


def sources() -> dict[str, str]:
    """Every source of the server."""
    files = [path for kind in ("*.py", "*.lua") for path in SOURCES.rglob(kind)]
    return {str(path.relative_to(SOURCES)): path.read_text() for path in files}


def reason_faults(declared: Iterable[str], code: Mapping[str, str]) -> Iterator[str]:
    """Reasons that nothing sends, and names in the code that are no reasons."""
    names = set(declared)
    text = "\n".join(code.values())
    used = set(re.findall(r"\bREASON_[A-Z_]+\b", text)) | {
        f"REASON_{name}" for name in re.findall(r"[\"'](?:REASON_)?([A-Z]+(?:_[A-Z]+)*)[\"']", text)
    }
    yield from (f"{name} is declared, but nothing sends it" for name in sorted(names - used - {NEVER_SENT}))
    written = set(re.findall(r"\bReason\.(REASON_[A-Z_]+)\b", text))
    yield from (f"{name} is sent, but not declared" for name in sorted(written - names))


def permission_faults(methods: Iterable[MethodPolicy]) -> Iterator[str]:
    """Permissions that are misspelt, and those to read, which readers hold, by which something can be changed."""
    for method in methods:
        if not PERMISSION.match(method.permission):
            yield f"{method.path}: `{method.permission}` is not <domain>.<resource>.<verb>"
        if method.permission.endswith(READ) and not method.read_only:
            yield f"{method.path} changes something, and asks for `{method.permission}`: give it a verb of its own"


def role_faults(catalogue: Iterable[str], held: Held, declared: Declared) -> Iterator[str]:
    """Built-in roles that hold more than the permission's own domain declares for them, or less."""
    for name in catalogue:
        domain = name.partition(".")[0]
        for role, names in held.items():
            patterns = (EVERYTHING if role in (OWNER, ADMIN) else ()) + tuple(declared.get(domain, {}).get(role, ()))
            is_declared, place = grants(patterns, name), f"server/domains/{domain}/module.py"
            if name in names and not is_declared:
                yield f"{role} holds {name}: declare it in the roles of {place}, or take it away"
            if name not in names and is_declared:
                yield f"{role} does not hold {name}, which the roles of {place} declare"


def grants(patterns: Iterable[str], name: str) -> bool:
    """Whether these patterns give a permission: the last one that matches decides."""
    matching = [pattern for pattern in patterns if fnmatchcase(name, pattern.removeprefix("-"))]
    return bool(matching) and not matching[-1].startswith("-")


def pattern_faults(catalogue: Iterable[str], roles: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Patterns of roles that match no permission: a misspelt one silently gives nothing."""
    names = list(catalogue)
    for role, patterns in roles.items():
        for pattern in patterns:
            if not Permissions({role: [pattern.removeprefix("-")]}, names).built_in[role]:
                yield f"{role}: {pattern} matches no permission"


def permissions_of(access: Access) -> set[str]:
    """What the RPCs of this kind of access ask for."""
    return {method.permission for method in app.policies().values() if method.access is access}


@pytest.fixture(scope="module")
def catalogue() -> list[str]:
    """What roles can be made of."""
    return sorted(permissions_of(Access.PERMISSION) | seen_by(app.SERVICES).keys())


@pytest.fixture(scope="module")
def permissions(catalogue: list[str]) -> Permissions:
    """The catalogue, and what the built-in roles hold of it."""
    return Permissions(modules.roles(), catalogue)


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def test_every_reason_is_declared_and_sent() -> None:
    assert list(reason_faults(Reason.keys(), sources())) == []


def test_a_reason_that_nothing_sends_is_found() -> None:
    faults = list(reason_faults([*Reason.keys(), "REASON_NEVER_HEARD_OF"], sources()))
    assert faults == ["REASON_NEVER_HEARD_OF is declared, but nothing sends it"]


def test_a_reason_that_is_not_declared_is_found() -> None:
    code = sources() | {"new.py": "raise Denied(reason=Reason.REASON_MOOD)"}
    assert list(reason_faults(Reason.keys(), code)) == ["REASON_MOOD is sent, but not declared"]


def test_every_permission_is_well_formed_and_every_pattern_gives_one(catalogue: list[str]) -> None:
    assert list(permission_faults(GUARDED)) == []
    assert list(pattern_faults(catalogue, modules.roles())) == []
    assert len(catalogue) > 8


def test_permissions_that_cannot_work_are_found(catalogue: list[str]) -> None:
    method = app.policies()["/plinth.sites.v1.PageService/PublishPage"]
    (misspelt,) = permission_faults([replace(method, permission="Sites")])
    assert misspelt == f"{method.path}: `Sites` is not <domain>.<resource>.<verb>"
    (reading,) = permission_faults([replace(method, permission="sites.pages.read")])
    assert reading.startswith(f"{method.path} changes something, and asks for `sites.pages.read`")
    assert list(pattern_faults(catalogue, {"admin": ("stes.*",)})) == ["admin: stes.* matches no permission"]


def test_what_only_the_platform_may_do_is_no_part_of_the_catalogue(catalogue: list[str]) -> None:
    """A role of a tenant cannot hold it, not even by `*`."""
    assert permissions_of(Access.PLATFORM)
    assert not permissions_of(Access.PLATFORM) & set(catalogue)


def test_only_the_owner_deletes_the_tenant(permissions: Permissions) -> None:
    held = [role for role, names in permissions.built_in.items() if "tenancy.tenants.delete" in names]
    assert held == ["owner"]
    assert permissions.built_in["owner"] == permissions.every


def declared_roles() -> Declared:
    """What each domain declares."""
    return {module.name: module.roles for module in modules.MODULES}


def test_every_built_in_role_holds_what_the_domains_declare(permissions: Permissions) -> None:
    assert list(role_faults(permissions.catalogue, permissions.built_in, declared_roles())) == []


def test_a_role_that_holds_what_nobody_declares_is_found(permissions: Permissions) -> None:
    held, name = dict(permissions.built_in), "sites.pages.delete"
    assert list(role_faults([name], held | {"viewer": {*held["viewer"], name}}, declared_roles())) == [
        f"viewer holds {name}: declare it in the roles of server/domains/sites/module.py, or take it away"
    ]
    assert list(role_faults([name], held | {"editor": ()}, declared_roles())) == [
        f"editor does not hold {name}, which the roles of server/domains/sites/module.py declare"
    ]


def test_an_unknown_role_holds_nothing(permissions: Permissions) -> None:
    assert permissions.of(["super_admin", "", "Owner"], ()) == frozenset()


def test_permissions_are_of_the_domain_that_declares_them() -> None:
    assert all(method.permission.startswith(f"{method.domain}.") for method in GUARDED)


def test_failures_have_one_shape_at_both_doors(tenant: Tenant) -> None:
    absent = "01900000-0000-7000-8000-000000000000"
    pages = tenant.stubs.pages
    over_grpc = refused(lambda: pages.GetPage(GetPageRequest(tenant_id=tenant.id, page_id=absent)))
    over_rest = problem(tenant.rest.get(f"{tenant.path}/pages/{absent}"))
    assert over_rest.domain == over_grpc.domain == "plinth"
    assert over_rest.request_id
    assert over_grpc.request_id
    for known in (over_rest, over_grpc):
        assert known.reason == "RESOURCE_NOT_FOUND"
        assert known.metadata == {"resource_type": "plinth.dev/Page", "resource": absent}
        assert known.resource_type == "plinth.dev/Page"
    assert over_rest.message == over_grpc.message


def test_more_violations_than_an_answer_holds_are_counted(tenant: Tenant) -> None:
    """A status with all of them would be larger than gRPC's metadata may be, and the call would fail instead."""
    ids, page_id = [f"no-uuid-{number}" for number in range(1000)], "01900000-0000-7000-8000-000000000000"
    request = ReorderSectionsRequest(tenant_id=tenant.id, page_id=page_id, ids=ids)
    over_rest = problem(tenant.rest.put(f"{tenant.path}/pages/{page_id}/sections/reorder", {"ids": ids}))
    over_grpc = refused(lambda: tenant.stubs["plinth.sites.v1.SectionService"].ReorderSections(request))
    for known in (over_rest, over_grpc):
        assert known.reason == "RULE_VIOLATED"
        assert known.message.endswith("and 999 more.")
        assert list(known.violations)[:2] == ["ids[0]", "ids[1]"]


def test_a_request_without_fields_has_no_keys_either(tenant: Tenant) -> None:
    refused_key = problem(tenant.rest.post("realtime/tickets", {"types": "page.*"}))
    assert (refused_key.reason, refused_key.metadata["field"]) == ("UNKNOWN_FIELD", "types")
    assert tenant.rest.post("realtime/tickets", {}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/no/such/path", {}),
        ("GET", "/api/v1/health?nope=1", {}),
        ("POST", "/api/v1/auth/login", {"content": b"{bad", "headers": {"content-type": "application/json"}}),
        ("POST", "/api/v1/auth/login", {"content": b"a=b", "headers": {"content-type": "text/plain"}}),
        ("POST", "/api/v1/auth/login", {"json": {"emial": "a"}}),
        ("POST", "/api/v1/auth/login", {"json": {"email": 7}}),
        ("POST", "/api/v1/auth/login", {"json": {}}),
        ("POST", "/api/v1/auth/login", {"json": {"email": "a@example.com", "password": "wrong"}}),
        ("GET", "/api/v1/auth/me", {}),
        ("GET", "/api/v1/tenants", {"headers": {"authorization": "Basic eDp5"}}),
        ("DELETE", "/api/v1/health", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_whoever_refuses_answers_with_a_reason_of_the_contract(
    stack: Stack, method: str, path: str, options: dict[str, object]
) -> None:
    found = problem(Rest(stack).request(method, path, **options))  # type: ignore[arg-type]
    assert found.domain == "plinth"
    assert f"REASON_{found.reason}" in set(Reason.keys())
    assert found.message


def test_what_rest_shows_as_headers_is_no_metadata_over_grpc(tenant: Tenant) -> None:
    """The gateway makes headers of it for REST, and passes everything on for gRPC."""
    inner, pages = {LIMIT, HTTP_STATUS}, tenant.stubs.pages
    _, call = pages.ListPages.with_call(ListPagesRequest(tenant_id=tenant.id))
    assert not inner & {name for name, _ in call.trailing_metadata()}
    with pytest.raises(grpc.RpcError) as caught:
        pages.GetPage(GetPageRequest(tenant_id=tenant.id, page_id=tenant.id))
    trailing: Any = caught.value.trailing_metadata()
    assert STATUS_DETAILS in dict(trailing)
    assert not inner & dict(trailing).keys()


def test_an_anonymous_stub_learns_what_is_missing(stack: Stack, tenant: Tenant) -> None:
    found = refused(lambda: stubs(stack).pages.GetPage(GetPageRequest(tenant_id=tenant.id, page_id=tenant.id)))
    assert (found.domain, found.reason) == ("plinth", "CREDENTIALS_MISSING")
