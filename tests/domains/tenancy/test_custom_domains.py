"""Custom domains: what DNS has to say before a site is at one."""

from typing import Any

import httpx
import pytest

from server.domains.tenancy.settings import name_server
from tests.clients import Rest, Tenant, new_tenant, problem, reason, unique
from tests.domains.tenancy.name_server import BROKEN, records_of
from tests.domains.tenancy.name_server import name_server as started
from tests.stack import Stack


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def claim(tenant: Tenant, hostname: str) -> dict[str, Any]:
    answer = tenant.rest.post(f"{tenant.path}/custom-domains", {"hostname": hostname})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def verify(tenant: Tenant, domain: dict[str, Any]) -> Any:
    return tenant.rest.post(f"{tenant.path}/custom-domains/{domain['id']}/verify", {})


def write(domain: dict[str, Any], stack: Stack, text: str) -> None:
    (records_of(stack) / domain["recordName"]).write_text(text)


def visit(stack: Stack, hostname: str) -> int:
    return Rest(stack, None).get(f"/api/v1/published-sites/{hostname}/robots.txt").status_code


def new_name() -> str:
    return f"{unique('www')}.example.org"


def test_a_domain_is_used_once_dns_says_so(stack: Stack, tenant: Tenant) -> None:
    name = new_name()
    domain = claim(tenant, name)
    assert (domain["recordName"], domain["recordValue"][:7]) == (f"_plinth-challenge.{name}", "plinth=")
    for said, told in (
        (None, f"There is no name `{domain['recordName']}` in DNS."),
        ("", f"There is no TXT record at `{domain['recordName']}`."),
        ("plinth=other\nv=spf1 -all", f"No TXT record at `{domain['recordName']}` says `{domain['recordValue']}`."),
        (BROKEN, "DNS did not answer: try again later."),
    ):
        if said is not None:
            write(domain, stack, said)
        checked = verify(tenant, domain).json()
        assert (checked["lastError"], "verifyTime" in checked, "checkTime" in checked) == (told, False, True)
        assert visit(stack, name) == 404
    write(domain, stack, f"v=spf1 -all\n{domain['recordValue']}")
    verified = verify(tenant, domain).json()
    assert (verified["lastError"], verified["verifyTime"]) == ("", verified["checkTime"])
    assert (visit(stack, name), visit(stack, name.upper())) == (200, 200)
    # A record that goes later does not take the site away.
    write(domain, stack, "")
    again = verify(tenant, domain).json()
    assert (again["verifyTime"], bool(again["lastError"])) == (verified["verifyTime"], True)
    assert visit(stack, name) == 200
    assert tenant.rest.delete(f"{tenant.path}/custom-domains/{domain['id']}").status_code == 204
    assert visit(stack, name) == 404


def test_a_domain_is_the_one_s_who_has_proven_it(stack: Stack, tenant: Tenant) -> None:
    name, other = new_name(), new_tenant(stack)
    ours, theirs = claim(tenant, name), claim(other, name)
    write(ours, stack, f"{ours['recordValue']}\n{theirs['recordValue']}")
    assert verify(other, theirs).json()["verifyTime"]
    assert reason(verify(tenant, ours)) == (409, "RESOURCE_TAKEN")
    assert reason(tenant.rest.post(f"{tenant.path}/custom-domains", {"hostname": name})) == (409, "RESOURCE_TAKEN")
    assert visit(stack, name) == 200


def test_hosts_of_the_deployment_are_refused(tenant: Tenant) -> None:
    answer = tenant.rest.post(f"{tenant.path}/custom-domains", {"hostname": "shop.localhost"})
    assert (answer.status_code, problem(answer).rules) == (422, ("custom_domain.own",))
    claim(tenant, "localhost.example")


@pytest.mark.parametrize(
    "name", ["example", "Example.org", "a..b.org", "-a.org", "a.org.", "10.0.0.1", "a_b.org", "ü.org"]
)
def test_what_is_no_host_name_is_refused(tenant: Tenant, name: str) -> None:
    answer = tenant.rest.post(f"{tenant.path}/custom-domains", {"hostname": name})
    assert (answer.status_code, problem(answer).rules) == (422, ("string.pattern",))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_name_servers_are_addresses_with_ports(written: str, meant: tuple[str, int]) -> None:
    assert name_server(written) == meant


@pytest.mark.parametrize("written", ["ns.example.org", "192.0.2.1:0", "192.0.2.1:70000", "192.0.2.1:x", ""])
def test_other_name_servers_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="addresses of name servers"):
        name_server(written)


@pytest.mark.heavy
def test_a_site_is_at_its_own_domain_where_the_gateway_knows_its_name() -> None:
    stack = Stack(public_url="https://api.plinth.example", log_level="ERROR")
    try:
        with started(stack) as settings:
            stack.set(**settings)
            stack.start()
            tenant = new_tenant(stack)
            page = tenant.rest.post(f"{tenant.path}/pages", {"slug": "home", "title": "At home"}).json()
            assert tenant.rest.post(f"{tenant.path}/pages/{page['id']}/publish", {}).status_code == 200
            domain = claim(tenant, "www.garage.example")
            write(domain, stack, domain["recordValue"])
            assert verify(tenant, domain).json()["verifyTime"]
            for host, path, status, words in (
                ("www.garage.example", "/", 200, "<title>At home</title>"),
                ("www.garage.example", "/docs", 404, "Nothing is at this address"),
                ("www.garage.example", "/api/v1/health", 200, "status"),
                (f"{tenant.subdomain}.localhost", "/", 200, "<title>At home</title>"),
                ("other.example", "/", 404, "Nothing is at this address"),
                ("api.plinth.example", "/", 200, "/docs"),
                ("127.0.0.1", "/", 200, "/docs"),
                ("localhost", "/", 200, "/docs"),
            ):
                answer = httpx.get(f"{stack.url}{path}", headers={"host": host})
                assert (answer.status_code, words in answer.text) == (status, True), (host, path)
    finally:
        stack.remove()
