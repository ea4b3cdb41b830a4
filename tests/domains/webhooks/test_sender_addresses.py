"""Egress: which URLs and addresses may be called."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.egress import NOT_HTTPS, Egress

INSIDE = "leads into a private network; the setting PLINTH_WEBHOOK_ALLOWED_NETWORKS allows some"
PUBLIC = Egress()
HOME = Egress(allow_http=True, allowed_networks=["127.0.0.0/8", "::1/128", "10.1.0.0/16"])
PRIVATE = (
    *("127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1"),
    *("192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    *("fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "5f00::1"),
    *("2002:7f00:1::", "2002:808:808::", "2001:0:808:808::", "100::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert PUBLIC.address_fault(address) == INSIDE


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses_are_let_through(address: str) -> None:
    assert PUBLIC.address_fault(address) is None


@pytest.mark.parametrize("address", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "", "1.2.3.4.5"])
def test_what_is_no_address_is_refused(address: str) -> None:
    assert HOME.address_fault(address) == "is no address"


def test_allowed_networks_are_let_through_however_their_addresses_are_written() -> None:
    assert [HOME.address_fault(one) for one in ("127.9.9.9", "::1", "10.1.2.3", "::ffff:10.1.2.3")] == [None] * 4
    assert HOME.address_fault("10.2.0.1") == INSIDE


@given(st.ip_addresses(v=4))
def test_an_address_is_public_or_not_however_it_is_embedded(address: IPv4Address) -> None:
    written = [str(address), str(IPv6Address(f"::ffff:{address}")), str(IPv6Address(f"64:ff9b::{address}"))]
    assert len({PUBLIC.address_fault(one) for one in written}) == 1


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://hooks.example",
            "https://hooks.example:8443/a?b=c",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/x",
        ),
        *("https://xn--bcher-kva.example/", "https://bücher.example/"),
    ],
)
def test_good_urls(url: str) -> None:
    assert PUBLIC.url_fault(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://hooks.example", f"{NOT_HTTPS}; the setting PLINTH_WEBHOOK_ALLOW_HTTP allows http://"),
        ("ftp://hooks.example", NOT_HTTPS),
        ("hooks.example", NOT_HTTPS),
        ("", NOT_HTTPS),
        ("https://", "names no host"),
        ("https:///path", "names no host"),
        ("https://user:password@hooks.example", "holds a user or a password"),
        ("https://@hooks.example", "holds a user or a password"),
        ("https://hooks.example:99999", "is no URL"),
        ("https://hooks.example:0", "names no port that can be connected to"),
        ("https://[::1", "is no URL"),
        ("https://hooks.example/a b", "holds characters that no URL has"),
        ("https://hooks.example\\@127.0.0.1/", "holds characters that no URL has"),
        ("https://hooks.example/\r\nx: y", "holds characters that no URL has"),
        ("https://127.0.0.1/", INSIDE),
        ("https://127.0.0.1./", INSIDE),
        ("https://[::ffff:7f00:1]/", INSIDE),
        ("https://[fe80::1%25eth0]/", INSIDE),
        ("https://\uff11\uff12\uff17\u30020.0.1/", INSIDE),
        ("https://localhost/", INSIDE),
        ("https://a.LocalHost:1/", INSIDE),
        ("https://127.1/", "is no address"),
        ("https://2130706433/", "is no address"),
        ("https://0x7f000001/", "is no address"),
        ("https://0177.0.0.1/", "is no address"),
        ("https://hooks.0x7f/", "is no address"),
    ],
)
def test_bad_urls(url: str, fault: str) -> None:
    assert PUBLIC.url_fault(url) == fault


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "https://localhost/", "http://[::1]:1/", "http://receiver/"]
)
def test_a_deployment_can_allow_more(url: str) -> None:
    assert PUBLIC.url_fault(url) is not None
    assert HOME.url_fault(url) is None


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        Egress(allowed_networks=["home"])
