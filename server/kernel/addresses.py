"""Addresses as identities: which addresses count as one caller.

A subscriber of IPv6 has at least a /64 (RFC 6177), within which the next address costs nothing. Whatever counts by
address therefore counts a /64 as one. Many subscribers have a /56 or a /48, so guesses are counted there as well, with
more patience, since some providers spread several subscribers over one.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

IPV6_CALLER = 64
"""Length of the prefix that one caller has for certain."""
IPV6_STEPS = {IPV6_CALLER: 1, 56: 4, 48: 16}
"""Lengths of the prefixes that may be one subscriber's, and how many times a caller's failures each has."""
IPV6_WIDEST = min(IPV6_STEPS)
REMEMBERED = 10_000


@lru_cache(maxsize=REMEMBERED)
def parsed_address(written: str) -> IPv4Address | IPv6Address | None:
    """The address; None for a text that is not one. An IPv4 address that is written as IPv6 is the IPv4 address."""
    try:
        address = ip_address(written)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=REMEMBERED)
def caller_of(written: str) -> str:
    """What names the caller at an address: the address itself, or the /64 of an IPv6 address.

    A text that is not an address names itself; the empty text stays empty.
    """
    address = parsed_address(written)
    if address is None:
        return written
    return str(_network(address, IPV6_CALLER)) if isinstance(address, IPv6Address) else str(address)


def networks_of(written: str) -> list[tuple[Network, int]]:
    """The networks that may be those of one subscriber, the narrowest first, and how many callers each may be.

    The list is empty for a text that is not an address.
    """
    address = parsed_address(written)
    if address is None:
        return []
    if isinstance(address, IPv4Address):
        return [(IPv4Network(address), 1)]
    return [(_network(address, length), callers) for length, callers in IPV6_STEPS.items()]


def _network(address: IPv6Address, length: int) -> IPv6Network:
    host_bits = address.max_prefixlen - length
    # From the number, since an address of a link also has the name of an interface.
    return IPv6Network((int(address) >> host_bits << host_bits, length))
