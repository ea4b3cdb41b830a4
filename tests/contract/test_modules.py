"""Modules: each says of its domain what is true, and no two say the same."""

from dataclasses import replace

import pytest

from server import app, modules
from server.domains.sites.module import MODULE as SITES
from server.domains.tenancy.module import MODULE as TENANCY
from server.kernel.jobs import Job
from server.kernel.module import Background, Module, ModuleFault
from server.kernel.ports import Offers, join_offers
from server.kernel.resources import Service
from server.run.worker import distinct_jobs
from server.settings import DomainSettings, Settings
from server.settings_loading import EVERY_SETTING


def faults(*planted: Module, descriptors: bytes = b"") -> tuple[str, ...]:
    """What start-up says of these modules."""
    with pytest.raises(ModuleFault) as refused:
        modules.check(planted, descriptors)
    return refused.value.faults


def test_the_modules_are_sound() -> None:
    modules.check(modules.MODULES, app.descriptors())


def test_a_name_that_two_modules_have_is_refused() -> None:
    assert "the module `sites` is declared twice" in faults(SITES, replace(SITES, services=()))


def test_a_service_that_two_modules_have_is_refused() -> None:
    found = faults(SITES, Module("pages", services=SITES.services))
    assert "the service `plinth.sites.v1.PageService` is declared twice" in found
    assert "`pages` has the service plinth.sites.v1.PageService, which is not of `plinth.pages.v1`" in found


def test_a_service_of_the_contract_that_no_module_has_is_refused() -> None:
    others = [module for module in modules.MODULES if module is not SITES]
    found = faults(*others, descriptors=app.descriptors())
    assert sorted(found) == sorted(
        f"{service.descriptor.file.name} declares {service.descriptor.full_name}: "
        f"name it in server/domains/sites/module.py"
        for service in modules.services([SITES])
    )
    assert len(found) > 1


@pytest.mark.parametrize(
    "pattern", ["sites.stories.read", "tenancy.tenants.read", "*", "-sites.stories.*", "sites.pages.raed"]
)
def test_a_role_that_holds_what_its_domain_does_not_declare_is_refused(pattern: str) -> None:
    planted = replace(SITES, roles={"member": ("sites.*.read", pattern)})
    assert faults(planted) == (f"`sites` gives the role `member` `{pattern}`, which is no permission of that domain",)


def test_a_role_that_is_not_built_in_is_refused() -> None:
    (fault,) = faults(replace(SITES, roles={"membre": ("sites.*.read",)}))
    assert fault.startswith("`sites` declares the role `membre`, which is no built-in one: owner, admin, editor")


def test_settings_bear_the_name_of_their_domain() -> None:
    class Misnamed(DomainSettings):
        pages_most: int = 3

    (fault,) = faults(replace(SITES, settings=Misnamed))
    assert fault == "`sites` has the setting `pages_most`, whose name does not begin with that of the domain"


def test_a_port_is_offered_once() -> None:
    class Counter:
        pass

    with pytest.raises(LookupError, match="the port `api_keys` is offered by no domain"):
        join_offers({"sites": Offers()})
    twice = Offers(api_keys=Counter())  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="the port `api_keys` is offered by one and two"):
        join_offers({"two": twice, "one": twice})


def test_a_job_that_two_domains_have_is_refused() -> None:
    one, other = (Job("pages.count", lambda: None), Job("pages.count", lambda: None))
    with pytest.raises(LookupError, match=r"the job `pages.count` is declared twice"):
        distinct_jobs([Background(jobs=(one,)), Background(jobs=(other,))], [])


def test_every_module_is_that_of_its_folder() -> None:
    """What is read by folder, such as settings, is what the module declares."""
    declared = {module.settings for module in modules.MODULES} - {None}
    assert {kind for kind in EVERY_SETTING.__bases__ if kind is not Settings} == declared
    for module in modules.MODULES:
        for service in module.service_classes:
            assert service.__module__.startswith(f"server.domains.{module.name}."), service
            assert issubclass(service, Service)


def test_what_a_later_module_takes_away_counts() -> None:
    assert modules.roles([SITES, TENANCY])["admin"] == ("*", "-tenancy.tenants.delete")
    assert modules.roles([SITES, TENANCY])["editor"] == ("sites.*", "tenancy.tenants.read", "tenancy.branding.*")
