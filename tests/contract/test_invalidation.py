"""Whatever changes something drops what is cached of it: a forgotten tag would show the old value for minutes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from plinth.policy.v1 import policy_pb2

from server import app
from server.kernel.policy import MethodPolicy, read_policies
from tests.contract.contract import PAGES, in_method, planted
from tests.contract.test_errors import sources

# Mutations that leave what is cached of their service as it is, each with the reason.
LEAVES = {
    "plinth.tenancy.v1.TenantService.CreateTenant": "nobody has read a tenant that has just been made",
}
# Tags of what is no RPC's answer, each with where it is kept.
OF_THE_CODE = {
    "limits:{tenant_id}": "domains/tenancy/rate_limits.py",
    "tenant:{tenant_id}:section_types": "domains/sites/section_types.py",
    "tenant:{tenant_id}:flags": "domains/flags/flag_evaluation.py",
    "ip-blocks": "kernel/guard/blocks.py",
}


def forgotten_tags(methods: Iterable[MethodPolicy], leaves: Mapping[str, str]) -> Iterator[str]:
    """Tags of a service's cached reads that one of its mutations does not drop, and exceptions that are none."""
    by_service: dict[str, list[MethodPolicy]] = {}
    for method in methods:
        by_service.setdefault(method.descriptor.containing_service.full_name, []).append(method)
    forgetting = set()
    for siblings in by_service.values():
        kept = {tag for method in siblings for tag in method.cache_tags}
        for method in siblings:
            name, missing = method.descriptor.full_name, kept - set(method.invalidates)
            if method.read_only or not missing:
                continue
            forgetting.add(name)
            if name not in leaves:
                yield f"{name} does not drop {', '.join(sorted(missing))}"
    yield from (f"{name} is an exception, but forgets nothing" for name in leaves if name not in forgetting)


def idle_tags(methods: Iterable[MethodPolicy], of_the_code: Mapping[str, str]) -> Iterator[str]:
    """Tags that are dropped though nothing is kept under them: a misspelt one drops nothing."""
    known = list(methods)
    kept = {tag for method in known for tag in method.cache_tags} | {*of_the_code}
    for method in known:
        yield from (f"{method.name} drops {tag}, where nothing is" for tag in method.invalidates if tag not in kept)


def planted_in(rpc: str, *invalidates: str) -> list[MethodPolicy]:
    """The contract with an RPC that drops these tags and no others."""

    def plant(options: Any) -> None:
        options.Extensions[policy_pb2.policy].invalidates[:] = invalidates

    return list(read_policies(planted(PAGES, in_method(rpc, plant)).services).values())


def test_every_mutation_drops_what_its_service_has_in_the_cache() -> None:
    methods = list(app.policies().values())
    assert list(forgotten_tags(methods, LEAVES)) == []
    assert list(idle_tags(methods, OF_THE_CODE)) == []


def test_what_the_code_keeps_it_keeps_under_its_tag() -> None:
    code = sources()
    assert [tag for tag, file in OF_THE_CODE.items() if f'"{tag}"' not in code[file]] == []


def test_a_forgotten_tag_is_found() -> None:
    assert list(forgotten_tags(planted_in("UpdatePage"), LEAVES)) == [
        "plinth.sites.v1.PageService.UpdatePage does not drop tenant:{tenant_id}:pages"
    ]


def test_a_misspelt_tag_is_found() -> None:
    methods = planted_in("PublishPage", "tenant:{tenant_id}:page")
    assert len(list(forgotten_tags(methods, LEAVES))) == 1
    assert list(idle_tags(methods, OF_THE_CODE)) == ["PublishPage drops tenant:{tenant_id}:page, where nothing is"]


def test_an_exception_that_is_none_is_found() -> None:
    leaves = {**LEAVES, "plinth.sites.v1.PageService.UpdatePage": "no reason"}
    assert list(forgotten_tags(app.policies().values(), leaves)) == [
        "plinth.sites.v1.PageService.UpdatePage is an exception, but forgets nothing"
    ]
