"""Egress: the addresses that the server may call when someone else chose the URL. Public ones only, by default.

A host name decides nothing: its owner can point it at any address, and at another one a moment later. Each connection
is therefore checked twice: all addresses that the name resolves to, and the very address that is connected to.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from unicodedata import normalize
from urllib.parse import SplitResult, urlsplit

NOT_ALLOWED = (
    "the address is not allowed: see the settings PLINTH_WEBHOOK_ALLOWED_NETWORKS and PLINTH_WEBHOOK_ALLOW_HTTP"
)
TIMEOUT = "timeout"
"""The causes of failures, in the same words in logs, delivery logs and metrics."""

# Faults that a setting would allow name the setting, because developers who try webhooks locally see them first.
NOT_HTTPS = "does not begin with https://"
HTTP_IS_OFF = f"{NOT_HTTPS}; the setting PLINTH_WEBHOOK_ALLOW_HTTP allows http://"
HTTP_IS_ON = f"{NOT_HTTPS} or http://"
PRIVATE = "leads into a private network; the setting PLINTH_WEBHOOK_ALLOWED_NETWORKS allows some"
LOOPBACK = "127.0.0.1"
# Addresses outside of this that ipaddress calls global are tunnelled, reserved or not routed.
GLOBAL_UNICAST = ip_network("2000::/3")
# NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
TRANSLATED = ip_network("64:ff9b::/96")
# 6to4, and documentation addresses (RFC 9637), which Python 3.11 considers global.
NEVER = (ip_network("2002::/16"), ip_network("3fff::/20"))
# A global address by number. Inside Azure it is the host of the virtual machine.
INFRASTRUCTURE = IPv4Address("168.63.129.16")
UNWRITTEN = re.compile(r"[\x00-\x20\x7f\\]")
# Some resolvers read a host whose last label looks like this as an IPv4 address: `127.1`, `2130706433`, `0x7f.1`.
NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
# Full stops that IDNA treats as dots.
DOTS = re.compile("[\u3002\uff0e\uff61]")

Address = IPv4Address | IPv6Address


class Egress:
    """The rules of a deployment."""

    def __init__(self, *, allow_http: bool = False, allowed_networks: Sequence[str] = ()) -> None:
        """`allowed_networks` are private networks, such as `10.1.0.0/16`.

        Raises ValueError for a text that is no network.
        """
        self._allow_http = allow_http
        self._allowed = [ip_network(network) for network in allowed_networks]

    def url_fault(self, url: str) -> str | None:
        """The fault of a URL, as far as it shows without DNS; None if there is no fault."""
        if UNWRITTEN.search(url):
            return "holds characters that no URL has"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return "is no URL"
        if parts.scheme != "https" and not (parts.scheme == "http" and self._allow_http):
            return self._scheme_fault(parts.scheme)
        if "@" in parts.netloc:
            return "holds a user or a password"
        if port == 0:
            return "names no port that can be connected to"
        return self._host_fault(parts)

    def address_fault(self, address: str) -> str | None:
        """The fault of an address that is about to be connected to; None if there is no fault."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return "is no address"
        candidates = _with_embedded(parsed)
        if any(candidate in network for candidate in candidates for network in self._allowed):
            return None
        return None if _is_public(candidates[-1]) else PRIVATE

    def _scheme_fault(self, scheme: str) -> str:
        if self._allow_http:
            return HTTP_IS_ON
        return HTTP_IS_OFF if scheme == "http" else NOT_HTTPS

    def _host_fault(self, parts: SplitResult) -> str | None:
        host = DOTS.sub(".", normalize("NFKC", parts.hostname or "")).lower().rstrip(".")
        if not host:
            return "names no host"
        if ":" in host:
            return self.address_fault(host)
        last = host.rpartition(".")[2]
        if NUMBER.fullmatch(last):
            # An odd spelling gets `is no address`: it has no honest use.
            return self.address_fault(host)
        return self.address_fault(LOOPBACK) if last == "localhost" else None


def _with_embedded(address: Address) -> tuple[Address, ...]:
    """An address, and the IPv4 address to which its packets are translated, if there is one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address, address.ipv4_mapped
        if address in TRANSLATED:
            return address, IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        routed = address in GLOBAL_UNICAST and not any(address in network for network in NEVER)
        return routed and address.is_global
    return address.is_global and not address.is_multicast and address != INFRASTRUCTURE
