"""Addresses as identities: which addresses count as one caller.

A subscriber of IPv6 has at least a /64 (RFC 6177) and can change its address within it at no cost. Counters by address
therefore count a /64 as one caller. Many subscribers have a /56 or a /48, so guesses are counted there too, with higher
limits, because some providers share one of these among several subscribers.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

IPV6_CALLER = 64
"""Length of the shortest prefix that certainly belongs to one caller."""
IPV6_STEPS = {IPV6_CALLER: 1, 56: 4, 48: 16}
"""Lengths of the prefixes that may belong to one subscriber. Each value multiplies the failures allowed to a caller."""
IPV6_WIDEST = min(IPV6_STEPS)
REMEMBERED = 10_000


@lru_cache(maxsize=REMEMBERED)
def parsed_address(written: str) -> IPv4Address | IPv6Address | None:
    """The address, or None for a text that is not an address. An IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        address = ip_address(written)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=REMEMBERED)
def caller_of(written: str) -> str:
    """The identity of the caller at an address: the address itself, or the /64 of an IPv6 address.

    A text that is not an address is returned unchanged.
    """
    address = parsed_address(written)
    if address is None:
        return written
    return str(_network(address, IPV6_CALLER)) if isinstance(address, IPv6Address) else str(address)


def networks_of(written: str) -> list[tuple[Network, int]]:
    """The networks that may belong to one subscriber, narrowest first, each with the number of callers it may hold."""
    address = parsed_address(written)
    if address is None:
        return []
    if isinstance(address, IPv4Address):
        return [(IPv4Network(address), 1)]
    return [(_network(address, length), callers) for length, callers in IPV6_STEPS.items()]


def _network(address: IPv6Address, length: int) -> IPv6Network:
    host_bits = address.max_prefixlen - length
    # Built from the number, because a link-local address may carry the name of an interface.
    return IPv6Network((int(address) >> host_bits << host_bits, length))
