"""Every RPC has one policy, and contradictory ones keep the server from starting, all faults listed at once."""

from collections.abc import Callable
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions
from plinth.policy.v1 import policy_pb2

from server import app
from server.kernel.policy import Access, PolicyError, read_policies
from tests.contract.contract import AUTH, PAGES, SECTIONS, in_field, in_method, method_of, planted, real

Plant = Callable[[FileDescriptorProto], None]


def change(rpc: str, **facts: Any) -> Plant:
    """Set fields of a policy; None clears one."""

    def plant(options: Any) -> None:
        policy = options.Extensions[policy_pb2.policy]
        for name, value in facts.items():
            if value is None:
                policy.ClearField(name)
            elif isinstance(value, list):
                getattr(policy, name).extend(value)
            else:
                setattr(policy, name, value)

    return in_method(rpc, plant)


def bind(rpc: str, **rule: str) -> Plant:
    """Another HTTP binding instead of the RPC's own."""

    def plant(options: Any) -> None:
        options.ClearExtension(annotations_pb2.http)
        for name, value in rule.items():
            setattr(options.Extensions[annotations_pb2.http], name, value)

    return in_method(rpc, plant)


def cached(*, seconds: int = 60, tag: str = "tenant:{tenant_id}:pages", **facts: Any) -> Callable[[Any], None]:
    """A read whose answer is kept for so long under this tag, if there is one; facts are fields of its policy."""

    def plant(options: Any) -> None:
        policy = options.Extensions[policy_pb2.policy]
        for name, value in facts.items():
            setattr(policy, name, value)
        policy.cache.Clear()
        policy.cache.ttl.seconds = seconds
        policy.cache.tags.extend([tag] if tag else [])

    return plant


def invalidating(tag: str) -> Callable[[Any], None]:
    return lambda options: options.Extensions[policy_pb2.policy].invalidates.append(tag)


def calling(*, pool: int = policy_pb2.POOL_SLOW, seconds: int = 20) -> Callable[[Any], None]:
    """An RPC that calls a provider, with a timeout of so many seconds if there is one."""

    def plant(options: Any) -> None:
        policy = options.Extensions[policy_pb2.policy]
        policy.providers.append("courier")
        policy.pool = pool
        if seconds:
            policy.timeout.seconds = seconds

    return plant


def read_by_post(options: Any) -> None:
    """A cached read that takes its question from a body."""
    rule = options.Extensions[annotations_pb2.http]
    rule.post, rule.body = rule.get, "*"


def stream_in(file: FileDescriptorProto) -> None:
    method_of(file, "WatchPages").client_streaming = True


def writing_stream(options: Any) -> None:
    options.idempotency_level = MethodOptions.IDEMPOTENCY_UNKNOWN


def bound(field: Any, **bounds: int) -> None:
    extension: Any = policy_pb2.free_form
    field.options.Extensions[extension].CopyFrom(policy_pb2.FreeForm(**bounds))


FAULTS: dict[str, tuple[str, Plant, str]] = {
    "no policy": (PAGES, in_method("GetPage", lambda o: o.ClearExtension(policy_pb2.policy)), "GetPage has no policy"),
    "nobody decided": (PAGES, change("GetPage", permission=None), "GetPage: nobody decided who may call"),
    "public in word only": (AUTH, change("SignUp", public=False), "SignUp: access `public` is empty"),
    "permission is empty": (PAGES, change("GetPage", permission=""), "GetPage: access `permission` is empty"),
    "permission misspelt": (PAGES, change("GetPage", permission="sites.pages"), "`sites.pages` is not <domain>"),
    "permission of another domain": (
        PAGES,
        change("GetPage", permission="tenancy.pages.read"),
        "`tenancy.pages.read` is not of the domain `sites`",
    ),
    "mutation without event": (PAGES, change("PublishPage", emits=""), "PublishPage: a mutation names the event"),
    "event misspelt": (PAGES, change("PublishPage", emits="published"), "event `published` is not"),
    "read with event": (PAGES, change("GetPage", emits="page.read"), "GetPage: a read emits no event"),
    "read that changes access": (PAGES, change("GetPage", changes_access=True), "GetPage: a read emits no event"),
    "read that invalidates": (PAGES, in_method("GetPage", invalidating("x")), "GetPage: a read emits no event"),
    "cache on a write": (PAGES, in_method("PublishPage", cached()), "PublishPage: only reads"),
    "cache on a stream": (PAGES, in_method("WatchPages", cached()), "WatchPages: a stream cannot be cached"),
    "a write that waits": (
        PAGES,
        change("PublishPage", pool=policy_pb2.POOL_WAITING),
        "PublishPage: only a unary read that is not cached can wait",
    ),
    "a cached read that waits": (
        PAGES,
        change("GetPage", pool=policy_pb2.POOL_WAITING),
        "GetPage: only a unary read that is not cached can wait",
    ),
    "cache for no time": (PAGES, in_method("GetPage", cached(seconds=0)), "GetPage: what is cached has a time to live"),
    "cache without tags": (PAGES, in_method("GetPage", cached(tag="")), "GetPage: what is cached names the tags"),
    "keys without a permission": (
        PAGES,
        change("GetPage", takes_api_keys=True),
        "GetPage: only reads for everyone who is signed in take API keys",
    ),
    "the whole platform from the cache": (
        PAGES,
        change("GetPage", platform_wide=True),
        "GetPage: what answers for the whole platform is neither cached nor a stream",
    ),
    "the whole platform without a tenant to name": (
        AUTH,
        change("LogOut", platform_wide=True),
        "LogOut: `platform_wide` is for a `permission`, and a request in which a tenant can be named",
    ),
    "a proof from whoever comes": (
        AUTH,
        change("LogIn", step_up=True),
        "LogIn: `step_up` is for unary RPCs whose caller is known",
    ),
    "a proof before a stream": (
        PAGES,
        change("WatchPages", step_up=True),
        "WatchPages: `step_up` is for unary RPCs whose caller is known",
    ),
    "cache for whoever is signed in": (
        PAGES,
        in_method("GetPage", cached(signed_in=True)),
        "GetPage: what is cached is public or has a permission",
    ),
    "cache for the platform": (
        PAGES,
        in_method("GetPage", cached(platform="sites.pages.read")),
        "GetPage: what is cached is public or has a permission",
    ),
    "cache of a question in a body": (
        PAGES,
        in_method("GetPage", read_by_post),
        "GetPage: what is cached is read with",
    ),
    "cache tag names no field": (
        PAGES,
        in_method("GetPage", cached(tag="page:{id}")),
        "GetPage: the tag `page:{id}` names the field `id`, which is not there",
    ),
    "invalidated tag names no field": (
        PAGES,
        in_method("UpdatePage", invalidating("page:{slug}")),
        "UpdatePage: the tag `page:{slug}` names the field `slug`, which is not there",
    ),
    "no binding": (
        PAGES,
        in_method("GetPage", lambda o: o.ClearExtension(annotations_pb2.http)),
        "GetPage: no HTTP binding",
    ),
    "GET that writes": (PAGES, bind("PublishPage", get="/api/v1/publish"), "GET /api/v1/publish has side effects"),
    "GET that changes nothing": (
        PAGES,
        change("GetPage", changes_by_get=True),
        "`changes_by_get` is for a mutation",
    ),
    "changes by GET without one": (
        PAGES,
        change("PublishPage", changes_by_get=True),
        "`changes_by_get` is for a mutation",
    ),
    "path names no field": (PAGES, bind("GetPage", get="/api/v1/pages/{id}"), "names the field `id`"),
    "body names no field": (PAGES, bind("CreatePage", post="/api/v1/pages", body="pgae"), "names the field `pgae`"),
    "same pattern, other variable": (
        PAGES,
        bind("GetPageBySlug", get="/api/v1/tenants/{tenant_id}/pages/{slug}"),
        "both answer GET /api/v1/tenants/{}/pages/{}",
    ),
    "client stream": (
        PAGES,
        stream_in,
        "WatchPages: a client-streaming RPC is an upload: declare `upload` with its `max_bytes`",
    ),
    "file that is no stream of bytes": (
        PAGES,
        change("WatchPages", file=True),
        "WatchPages: a `file` is a stream of google.api.HttpBody",
    ),
    "free-form beyond what can be shown": (
        PAGES,
        in_field("Page", "settings", lambda field: bound(field, max_depth=30)),
        "CreatePage: plinth.sites.v1.Page.settings may hold more than can be shown",
    ),
    "text with bounds of free-form fields": (
        PAGES,
        in_field("Page", "title", lambda field: bound(field, max_bytes=1000)),
        "UpdatePage: plinth.sites.v1.Page.title has bounds of free-form fields, but is not free-form",
    ),
    "standard method that calls a provider": (
        PAGES,
        in_method("CreatePage", calling()),
        "CreatePage: a standard method may run twice, so it calls no provider",
    ),
    "provider on the fast threads": (
        PAGES,
        in_method("PublishPage", calling(pool=policy_pb2.POOL_UNSPECIFIED)),
        "PublishPage: what calls a provider runs in POOL_SLOW",
    ),
    "provider without a timeout": (
        PAGES,
        in_method("PublishPage", calling(seconds=0)),
        "PublishPage: what calls a provider has a timeout",
    ),
    "telemetry of any domain": (
        PAGES,
        change("PublishPage", telemetry=True, emits=""),
        "PublishPage: only the domain `observability` writes telemetry, which nobody audits: drop `telemetry`",
    ),
    "telemetry with an event": (
        PAGES,
        change("PublishPage", telemetry=True),
        "PublishPage: telemetry emits no event: drop `emits`",
    ),
    "telemetry that several events tell of": (
        SECTIONS,
        change("BatchCreateSections", telemetry=True, emits=""),
        "BatchCreateSections: standard methods on several resources emit an event for each: name it otherwise",
    ),
    "telemetry that changes access": (
        PAGES,
        change("PublishPage", telemetry=True, changes_access=True),
        "PublishPage: what changes access or is a security event is audited: drop `telemetry`",
    ),
    "telemetry that is a security event": (
        PAGES,
        change("PublishPage", telemetry=True, security=True),
        "PublishPage: what changes access or is a security event is audited: drop `telemetry`",
    ),
    "telemetry on a read": (PAGES, change("GetPage", telemetry=True), "GetPage: a read writes no telemetry"),
    "telemetry of a provider": (
        PAGES,
        change("PublishPage", telemetry=True, providers=["courier"]),
        "PublishPage: what calls a provider is audited: drop `telemetry`",
    ),
    "telemetry of anyone": (
        AUTH,
        change("SignUp", telemetry=True),
        "SignUp: telemetry is counted by tenant, so its callers have credentials: name a `permission`",
    ),
    "telemetry of another class": (
        PAGES,
        change("PublishPage", telemetry=True, rate_class="analytics"),
        "PublishPage: telemetry has the rate class `telemetry` and is sheddable: drop `rate_class`",
    ),
    "telemetry that is critical": (
        PAGES,
        change("PublishPage", telemetry=True, criticality=policy_pb2.CRITICALITY_CRITICAL),
        "PublishPage: telemetry has the rate class `telemetry` and is sheddable: drop `rate_class`",
    ),
    "stream that writes": (PAGES, in_method("WatchPages", writing_stream), "WatchPages: a stream is a read"),
}


@pytest.mark.parametrize(("file", "plant", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_a_contradictory_contract_is_refused(file: str, plant: Plant, fault: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policies(planted(file, plant).services)
    assert any(fault in found for found in caught.value.faults), caught.value.faults


def test_all_faults_are_listed_at_once() -> None:
    def plant(file: FileDescriptorProto) -> None:
        for file_fault in (FAULTS["no policy"], FAULTS["mutation without event"]):
            file_fault[1](file)
        change("DeletePage", permission="tenancy.pages.delete")(file)

    with pytest.raises(PolicyError) as caught:
        read_policies(planted(PAGES, plant).services)
    assert len(caught.value.faults) == 3
    assert all(f"  - {fault}" in str(caught.value) for fault in caught.value.faults)


def test_every_rpc_of_the_contract_has_one_policy() -> None:
    policies = app.policies()
    declared = {f"/{method.containing_service.full_name}/{method.name}" for method in real().methods}
    assert policies.keys() == declared
    assert len(policies) > 20
    assert {policy.access for policy in policies.values()} >= {Access.PUBLIC, Access.SIGNED_IN, Access.PERMISSION}


def test_an_untouched_copy_is_accepted() -> None:
    copy = read_policies(planted(PAGES, lambda _: None).services)
    assert copy.keys() == app.policies().keys()


def test_every_unary_rpc_has_a_binding_and_no_pattern_answers_twice() -> None:
    seen: dict[tuple[str, str], str] = {}
    for policy in app.policies().values():
        assert policy.bindings or policy.streaming
        for binding in policy.bindings:
            assert seen.setdefault((binding.verb, binding.pattern), policy.path) == policy.path


def test_what_can_be_updated_answers_to_patch_and_put_alike() -> None:
    updates = [policy for policy in app.policies().values() if policy.name.startswith("Update")]
    assert updates
    for policy in updates:
        verbs: dict[tuple[str, str], set[str]] = {}
        for binding in policy.bindings:
            verbs.setdefault((binding.pattern, binding.body), set()).add(binding.verb)
        assert all(found == {"PATCH", "PUT"} for found in verbs.values()), policy.path
